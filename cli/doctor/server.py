"""The checks of a running Sagahold server, through its own endpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from cli.client import Server, ServerRefused, ServerUnreachable, open_server
from cli.commands.ping import version_of
from cli.doctor.check import Check
from cli.session import CommandContext
from domain.identity.access import Role

# Work that is overdue for longer means too few workers, or none.
OVERDUE_SECONDS = 60.0
UNAUTHORIZED, FORBIDDEN = 401, 403
BEHIND = {
    "database": "its PostgreSQL does not answer",
    "writable": "its PostgreSQL is read-only or a standby (check its failover)",
    "migrations": "its database is not migrated (run `sagahold release`)",
    "broker": "its Redis does not answer or accepts no writes (its /readyz says why)",
    "workers": "no worker was seen within 15 s (start one, or read its log)",
    "beat": "no sweep ran within 15 s (start beat, or read its log; a worker must serve the queue `maintenance`)",
}


def checks_of_server(url: str | None, data_dir: Path) -> Iterator[Check]:
    try:
        with open_server(url, data_dir) as server:
            version = version_of(CommandContext(server, Role.AGENT, as_json=True))
            yield Check("server", True, f"{server.url} answers (Sagahold {version})")
            yield _behind(server)
            yield _receipts(server)
            yield from _work(server)
    except (ServerUnreachable, ServerRefused) as error:
        yield Check("server", False, error.message)


def _behind(server: Server) -> Check:
    try:
        workers = server.request(Role.AGENT, "GET", "/readyz").document["checks"]["workers"]
    except ServerRefused as refused:
        failed = [name for name, good in refused.problem.get("checks", {}).items() if not good]
        return Check("ready", False, "; ".join(BEHIND.get(name, name) for name in failed) or refused.message)
    return Check("ready", True, f"database, migrations, broker and beat work; workers seen: {workers}")


def _receipts(server: Server) -> Check:
    """Check the key that signs receipts."""
    try:
        key = server.request(Role.ADMIN, "GET", "/v1/receipt-keys").document["items"][0]
    except ServerRefused as refused:
        if refused.status in (UNAUTHORIZED, FORBIDDEN):
            return Check("receipts", None, f"needs a key of an admin of all namespaces ({refused.message})")
        return Check("receipts", False, refused.message)
    if key["problem"]:
        return Check("receipts", False, f"the key that signs them cannot be used: {key['problem']}")
    if key["encrypted"]:
        return Check("receipts", True, f"the key that signs them is encrypted, in the {key['place']}")
    todo = "to encrypt it, set SAGAHOLD_ENCRYPTION_KEY and run `sagahold receipt rotate-key`"
    return Check("receipts", True, f"the key that signs them is not encrypted, in the {key['place']}; {todo}")


def _work(server: Server) -> Iterator[Check]:
    try:
        text = server.request(Role.OPERATOR, "GET", "/metrics").text
    except ServerRefused as refused:
        bad_key = refused.status == UNAUTHORIZED
        yield Check("work", False if bad_key else None, f"needs an operator key ({refused.message})")
        return
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    gauge = {sample.name: sample.value for sample in samples if not sample.labels}
    overdue, waiting = gauge["sagahold_overdue_seconds"], int(gauge["sagahold_pending_deliveries"])
    held = f"{int(gauge['sagahold_pending_pauses'])} pauses wait for a decision"
    late = f"; some work is {overdue:.0f} s overdue: start more workers, or read their logs and beat's"
    if overdue > OVERDUE_SECONDS:
        yield Check("work", False, held + late)
    else:
        yield Check("work", True, f"{held}, {waiting} webhook deliveries are pending")
    yield from (_counted(each, int(gauge[each.gauge])) for each in _COUNTS)


@dataclass(frozen=True, slots=True)
class _Count:
    """A metric that counts problems: the `problem` and its `fix` if the count is positive, else `none`."""

    name: str
    gauge: str
    problem: str
    fix: str
    none: str


_COUNTS = (
    _Count(
        "sagas",
        "sagahold_sagas_needing_operator",
        "need an operator",
        "run `sagahold list sagas --needs-operator`, then `sagahold show saga TRACE`",
        "none needs an operator",
    ),
    _Count(
        "endpoints",
        "sagahold_disabled_endpoints",
        "disabled because they failed",
        "run `sagahold webhooks endpoints`, then `change ID --enable` and `recover ID --since …`",
        "none is disabled for failing",
    ),
    _Count(
        "receivers",
        "sagahold_failing_receivers",
        "failed the last three attempts or more",
        "fix those that /webhooks lists, with since when and why; pending deliveries then follow automatically",
        "none fails repeatedly",
    ),
    _Count(
        "deliveries",
        "sagahold_exhausted_deliveries",
        "exhausted",
        "run `sagahold webhooks deliveries --status exhausted`, then `redeliver ID`",
        "none is exhausted",
    ),
    _Count(
        "rows",
        "sagahold_quarantined_rows",
        "in quarantine because processing them fails",
        "read the workers' log for which and why, and upgrade workers to the newest release",
        "none is in quarantine",
    ),
)


def _counted(what: _Count, count: int) -> Check:
    message = f"{count} {what.problem}: {what.fix}" if count else what.none
    return Check(what.name, not count, message)
