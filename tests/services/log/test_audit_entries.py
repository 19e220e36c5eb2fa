"""Every use case that changes something leaves its entry, in the right chain, and none of them holds a secret."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from domain.log.audit import digest
from domain.sagas.outcome import Failed, Lost
from domain.sagas.step import Error
from domain.values.errors import DomainError, Forbidden
from services.identity.keys import NewKey, create_key, ensure_first_keys, revoke_key
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest
from services.kernel.unit_of_work import Database
from services.log.audit import record_export, verify
from services.manifests.definitions import deploy
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import StartRequest, cancel_saga, start_saga
from services.sagas.recovery import CLAIM_ACTIVE, Retry, resolve, retry_compensation, retry_step
from services.webhooks.deliveries import recover, redeliver
from services.webhooks.endpoints import (
    EndpointChange,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    get_endpoint,
    rotate_endpoint_secret,
)
from services.webhooks.endpoints import test_endpoint as send_test
from services.webhooks.signing import namespace_secret, read_namespace_secret, rotate_namespace_secret
from tests.services.saga_world import (
    WORKER,
    approve_held,
    claimed,
    current_ref,
    ref,
    start,
    step,
    step_of,
    tools,
    undo_of,
    work,
)
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    OPERATOR,
    REVIEWER,
    change,
    claim,
    deliveries,
    finish,
    linked,
    one,
    prune,
    rows,
    someone,
)

BROKE_OFF = Lost("the connection broke off", False)
FAILED = Failed(Error("TOOL_INVOKE_FAILED", "no"))


class Log:
    """`log.new()`: the entries since the last time, as (chain, type, subject, by)."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seen: dict[str, int] = {}
        self.entries: list[dict[str, Any]] = []

    def new(self) -> list[tuple[str, str, str, str]]:
        query = "SELECT namespace, seq, entry FROM audit_events ORDER BY namespace, seq"
        found = [row for row in rows(linked(self.database), query) if row["seq"] > self.seen.get(row["namespace"], 0)]
        self.seen |= {row["namespace"]: row["seq"] for row in found}
        self.entries = [row["entry"] for row in found]
        return [tuple(entry[name] for name in ("namespace", "type", "subject", "by")) for entry in self.entries]

    def details(self) -> dict[str, Any]:
        """Return the details of the only new entry."""
        (entry,) = self.entries
        return entry["details"] or {}

    def digests(self) -> tuple[str | None, str | None]:
        (entry,) = self.entries
        return entry["before"], entry["after"]

    def secrets(self) -> list[str]:
        """Return entries that contain a secret."""
        said = "SELECT entry::text FROM audit_events WHERE entry::text ~ 'hitl_|whsec_|hunter2|http://'"
        return [row["entry"] for row in rows(linked(self.database), said)]


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


def refuses(call: Callable[[], object]) -> None:
    with pytest.raises((DomainError, RepeatedRequest)):
        call()


def test_keys(database: Database, log: Log) -> None:
    idempotency = IdempotentRequest("key-0001", bytes(32))
    made, _ = create_key(database, ADMIN, NewKey("ci", Role.AGENT, ("shop",)), idempotency)
    assert log.new() == [("shop", "key.created", made["id"], ADMIN.id)]
    assert log.details() == {"name": "ci", "role": "agent", "namespaces": ["shop"]}
    assert log.digests() == (None, digest({name: value for name, value in made.items() if name != "key"}))
    assert create_key(database, ADMIN, NewKey("ci", Role.AGENT, ("shop",)), idempotency)[1]
    assert log.new() == []
    revoked = revoke_key(database, ADMIN, made["id"])
    assert log.new() == [("shop", "key.revoked", made["id"], ADMIN.id)]
    assert log.digests() == (digest(revoked | {"revoked_at": None}), digest(revoked))
    revoke_key(database, ADMIN, made["id"])
    assert log.new() == []
    wide, _ = create_key(database, ADMIN, NewKey("both", Role.ADMIN, ("shop", "bank")), None)
    assert log.new() == [("*", "key.created", wide["id"], ADMIN.id)]
    ensure_first_keys(database, {})
    assert [entry[:2] + entry[3:] for entry in log.new()] == [("*", "key.created", "system")] * len(Role)
    refuses(lambda: create_key(database, someone(Role.ADMIN, "bank"), NewKey("x", Role.AGENT, ("shop",)), None))
    assert (log.new(), log.secrets()) == ([], [])


def test_endpoints(database: Database, log: Log) -> None:
    new = EndpointChange(url=f"{CALLBACK}?token=hunter2", namespaces=("shop",), headers={"X-Key": "hunter2"})
    made, _ = create_endpoint(database, ADMIN, new, None)
    id_, by = made["id"], ADMIN.id
    assert log.new() == [("shop", "endpoint.created", id_, by)]
    created = log.digests()[1]
    # A password in a header may be a short one: from its digest it could be guessed.
    assert created == digest(get_endpoint(database, ADMIN, id_) | {"headers": ["X-Key"]})
    send_test(database, ADMIN, id_)
    assert log.new() == [("shop", "endpoint.tested", id_, by)]
    assert log.digests() == (created, created)
    rotate_endpoint_secret(database, ADMIN, id_)
    assert log.new() == [("shop", "endpoint.secret_rotated", id_, by)]
    change_endpoint(database, ADMIN, id_, EndpointChange(headers={"X-Key": "hunter2!"}, enabled=False))
    assert log.new() == [("shop", "endpoint.changed", id_, by)]
    assert log.details() == {"changed": ["enabled", "headers"]}
    assert log.digests()[0] == created != log.digests()[1]
    refuses(lambda: send_test(database, ADMIN, id_))
    assert log.new() == []
    change_endpoint(database, ADMIN, id_, EndpointChange(namespaces=("bank",)))
    assert log.new() == [("*", "endpoint.changed", id_, by)]
    delete_endpoint(database, ADMIN, id_)
    assert log.new() == [("bank", "endpoint.deleted", id_, by)]
    assert (log.digests()[1], log.secrets()) == (None, [])


def test_deliveries(database: Database, log: Log) -> None:
    made, _ = create_endpoint(database, ADMIN, EndpointChange(url=CALLBACK, namespaces=("shop",)), None)
    send_test(database, ADMIN, made["id"])
    finish(database, claim(database, deliveries(database)[0]), 500, schedule=())
    log.new()
    operator = someone(Role.OPERATOR, "shop")
    since = deliveries(database)[0]["created_at"] - timedelta(minutes=1)
    assert recover(database, operator, made["id"], since) == 1
    assert log.new() == [("shop", "endpoint.recovered", made["id"], operator.id)]
    assert log.details()["deliveries"] == 1
    delivery_id = f"dlv_{deliveries(database)[0]['id'].hex}"
    redeliver(database, operator, delivery_id)
    assert log.new() == [("shop", "delivery.redelivered", delivery_id, operator.id)]
    claim(database, deliveries(database)[0])
    # It is just being sent: nothing is changed.
    redeliver(database, operator, delivery_id)
    assert (log.new(), log.secrets()) == ([], [])


def test_an_endpoint_that_is_switched_off_by_itself(database: Database, log: Log) -> None:
    made, _ = create_endpoint(database, ADMIN, EndpointChange(url=CALLBACK, namespaces=("shop",)), None)
    send_test(database, ADMIN, made["id"])
    log.new()
    finish(database, claim(database, deliveries(database)[0]), 410)
    assert log.new() == [("shop", "endpoint.disabled", made["id"], "system")]
    assert log.details() == {"reason": "the receiver answered 410 Gone"}


def test_signing_secrets(database: Database, log: Log) -> None:
    secret = namespace_secret(database, ADMIN, "shop")
    assert log.new() == []
    assert read_namespace_secret(database, ADMIN, "shop") == secret
    assert log.new() == [("shop", "signing_secret.read", "shop", ADMIN.id)]
    rotate_namespace_secret(database, ADMIN, "shop")
    assert log.new() == [("shop", "signing_secret.rotated", "shop", ADMIN.id)]
    assert (log.details(), log.digests(), log.secrets()) == ({}, (None, None), [])


def test_definitions(database: Database, log: Log) -> None:
    first, _ = deploy(database, ADMIN, WORKER, replace=False)
    assert log.new() == [("default", "definition.deployed", first, ADMIN.id)]
    assert log.details() == {"kind": "worker", "name": "w", "version": "1"}
    assert log.digests() == (None, digest(WORKER))
    deploy(database, ADMIN, WORKER, replace=True)
    assert log.new() == []
    other = {**WORKER, "description": "another"}
    refuses(lambda: deploy(database, ADMIN, other, replace=False))
    second, _ = deploy(database, ADMIN, other, replace=True)
    assert log.new() == [("default", "definition.replaced", second, ADMIN.id)]
    assert log.digests() == (digest(WORKER), digest(other))


def test_a_saga_from_start_to_cancel(database: Database, log: Log) -> None:
    trace_id = start(database, step("a", undo=True), step("b", hitl=True), n=1)
    assert log.new()[-1] == ("default", "saga.started", trace_id.hex, AGENT.id)
    started = log.entries[-1]["details"]
    assert started == {"name": "s", "version": "1", "input_digest": digest({"n": 1})}
    again = StartRequest("default", "s", "1", {"n": 1}, trace_id=trace_id)
    assert start_saga(database, AGENT, again) == (trace_id, False)
    assert log.new() == []
    work(database, trace_id, tools())
    assert [entry[1] for entry in log.new()] == ["step.completed", "pause.created"]
    cancel_saga(database, OPERATOR, trace_id, "the customer called")
    assert [entry[1:] for entry in log.new()] == [
        ("pause.cancelled", one(database, "SELECT 'wch_' || replace(id::text, '-', '') FROM pauses"), OPERATOR.id),
        ("saga.cancelled", trace_id.hex, OPERATOR.id),
    ]
    assert log.entries[1]["details"] == {"reason": "the customer called"}
    # Asked again before a worker came by: it is cancelled already.
    cancel_saga(database, OPERATOR, trace_id, "again")
    assert log.new() == []
    work(database, trace_id, tools())
    assert log.new()[-1] == ("default", "saga.compensated", trace_id.hex, "system")


def test_a_held_step_that_is_run_again(database: Database, log: Log) -> None:
    trace_id = start(database, step("a", hitl=True))
    work(database, trace_id, tools())
    which = current_ref(database, trace_id)
    log.new()
    rerun_step(database, REVIEWER, which, "be kinder", "token-1")
    assert [entry[1::2] for entry in log.new()] == [("pause.cancelled", REVIEWER.id), ("step.rerun", REVIEWER.id)]
    assert log.entries[1]["details"] == {"step": "a", "span": which.span, "guidance": "be kinder"}
    rerun_step(database, REVIEWER, which, "be kinder", "token-1")
    assert log.new() == []


def test_recoveries(database: Database, log: Log) -> None:
    """The entry has what the operator said; a request that did nothing has no entry."""
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_a=BROKE_OFF))
    which = ref(trace_id, step_of(database, trace_id, "a"))
    log.new()
    refuses(lambda: retry_step(database, OPERATOR, which, Retry()))
    assert log.new() == []
    request = Retry(allow_destructive=True, token="token-1", reason="looked")
    for _ in range(2):
        retry_step(database, OPERATOR, which, request)
    assert log.new() == [("default", "step.retried", trace_id.hex, OPERATOR.id)]
    said = {"force": False, "allow_destructive": True, "reason": "looked", "outcome": "requeued"}
    assert log.details() == {"step": "a", "span": which.span, "compensates": None, **said}
    claimed(database, trace_id)
    assert retry_step(database, OPERATOR, which, Retry())["status"] == CLAIM_ACTIVE
    assert log.new() == []


def test_an_outcome_that_an_operator_settled(database: Database, log: Log) -> None:
    trace_id = start(database, step("a"), step("b"))
    work(database, trace_id, tools(do_a=BROKE_OFF))
    which = ref(trace_id, step_of(database, trace_id, "a"))
    log.new()
    resolve(database, OPERATOR, which, done=True, output={"id": 7}, evidence="order 7 is there")
    assert [entry[1::2] for entry in log.new()] == [("step.resolved", OPERATOR.id), ("step.completed", "system")]
    about = {"done": True, "evidence": "order 7 is there", "output_digest": digest({"id": 7})}
    assert log.entries[0]["details"] == {"step": "a", "span": which.span, "compensates": None, **about}


def test_an_undo_that_is_tried_again(database: Database, log: Log) -> None:
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=FAILED, undo_a=FAILED))
    undo = undo_of(database, trace_id, "a")
    which = ref(trace_id, undo)
    log.new()
    retry_compensation(database, OPERATOR, which, Retry(allow_destructive=True))
    assert log.new()[-1] == ("default", "step.retried", trace_id.hex, OPERATOR.id)
    assert log.entries[-1]["details"]["compensates"] == ref(trace_id, step_of(database, trace_id, "a")).span


def test_what_is_pruned_stays_in_the_log(database: Database) -> None:
    """Sagas and pauses go, what was decided on them is still told, and the chain is whole."""
    trace_id = start(database, step("a", hitl=True))
    work(database, trace_id, tools())
    approve_held(database, trace_id)
    work(database, trace_id, tools())
    change(database, "UPDATE sagas SET ended_at = ended_at - interval '91 days'")
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '91 days'")
    told = one(linked(database), "SELECT count(*) FROM audit_events")
    pruned = prune(database, timedelta(days=90))
    assert (pruned["sagas"], pruned["pauses"], "audit_events" in pruned) == (1, 1, False)
    assert verify(database, OPERATOR)["checked"] == told
    assert verify(database, OPERATOR)["ok"]
    assert one(linked(database), "SELECT count(*) FROM audit_events WHERE entry ->> 'type' = 'pause.approved'") == 1


def test_exports(database: Database, log: Log) -> None:
    """The exported chains have no entry of it, so a second export is the same."""
    record_export(database, someone(Role.ADMIN, "shop", id_="key_scoped"))
    assert log.new() == [("*", "audit.exported", "*", "key_scoped")]
    assert log.details() == {"namespaces": ["shop"]}
    with pytest.raises(Forbidden):
        record_export(database, someone(Role.ADMIN, "shop"), "bank")
