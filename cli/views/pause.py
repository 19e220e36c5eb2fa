"""Views of pauses for reviewers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cli.client import ServerRefused
from cli.views.changes import print_edited
from cli.views.output import clean, facts, page, pretty_json, short, status, table, tree, when
from domain.pauses.client_words import client_words
from domain.pauses.use_summary import UseState, use_of

INDENT = 2
# The effect of `onTimeout` in words.
BECOMES = {
    "expire": "expires",
    "reject": "is rejected",
    "approve": "is approved",
    "escalate": "is escalated",
}


def one_line(screen: Console, pause: dict[str, Any]) -> None:
    """Print `wch_… approved by ann, 5 s ago: looks fine`."""
    screen.print(_line(pause), soft_wrap=True)


def outcome(pause: dict[str, Any]) -> str:
    """Return the same line without colours, for an error message."""
    return _line(pause).plain


_READ = "read it, then decide with --revision"


@contextmanager
def reporting_late_decision() -> Iterator[None]:
    """Add to a refused decision who decided before and when, or the current revision."""
    try:
        yield
    except ServerRefused as refused:
        current = refused.problem.get("current")
        if current and current["status"] == "pending":
            why = f"{refused.problem['detail'].split(':')[0]}; the current revision is {current['revision']}: {_READ}"
            raise ServerRefused(refused.status, refused.body, refused.problem, why) from None
        if current:
            why = f"{outcome(current)} (this decision is final)"
            raise ServerRefused(refused.status, refused.body, refused.problem, why) from None
        raise


def _line(pause: dict[str, Any]) -> Text:
    line = Text(clean(pause["watchId"])).append(" ").append(status(pause["status"]))
    if pause["decision"] is None:
        needed = f", {waits_for(pause)}" if pause["votes"] else ""
        claimed = f", claimed by {clean(pause['claim']['byName'])}" if pause["claim"] else ""
        return line.append(f"{needed}{claimed}, {deadline(pause)}")
    use = use_of(pause, datetime.now(UTC))
    # An agent that reports no use would make each of its lines longer.
    shown = "" if use is None or not use.state.used else f" ({clean(use.words)})"
    return line.append(f"{_decided(pause['decision'])}{shown}")


def list_view(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            item["watchId"],
            status(item["status"]),
            short(when(item["createdAt"])),
            short(item["agentContext"]["action"]),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("WATCH ID", "STATUS", "CREATED", "ACTION"), rows), "no pauses")


def decided_view(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            item["watchId"],
            status(item["status"]),
            short(_decided(item["decision"]).strip()),
            short(item["agentContext"]["action"]),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("WATCH ID", "STATUS", "DECIDED", "ACTION"), rows), "no decided pauses")


def use_view(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            item["watchId"],
            short(_use(item) or "-"),
            short(item["agentContext"]["action"]),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("WATCH ID", "USE", "ACTION"), rows), "no pauses")


def _use(pause: dict[str, Any]) -> str | None:
    """Return `not used yet, valid for 14 min` or `used 12 s later, succeeded`."""
    use = use_of(pause, datetime.now(UTC))
    if use is None:
        return None
    until = pause["decision"].get("validUntil")
    if use.state is UseState.UNUSED and until is not None:
        return f"{use.words}, valid until {until} ({when(until)})"
    if use.state is UseState.LAPSED:
        return f"{use.words}, it was valid until {until}"
    note = (pause["consumption"].get("outcome") or {}).get("note") if use.state.used else None
    return use.words if note is None else f"{use.words}: {note}"


def describe(screen: Console, pause: dict[str, Any]) -> None:
    """Print everything that a reviewer needs."""
    agent = pause["agentContext"]
    screen.print(Text(clean(agent["action"]), style="bold"))
    screen.print()
    facts(screen, _facts(pause))
    if agent["context"]:
        screen.print()
        screen.print(tree("Context", agent["context"]))
    if agent["arguments"] is not None:
        screen.print()
        screen.print("Arguments, exactly as they will be executed", style="bold")
        screen.print(Padding.indent(pretty_json(agent["arguments"]), INDENT))
    print_edited(screen, pause, "arguments")
    if pause["responseSchema"] is not None:
        screen.print()
        screen.print("An approval needs a --response that matches this JSON Schema", style="bold")
        screen.print(Padding.indent(pretty_json(pause["responseSchema"]), INDENT))
    if pause["decision"] is None:
        screen.print()
        for verb in ("approve", "reject"):
            screen.print(f"sagahold pause {verb} {clean(pause['watchId'])}", style="dim", soft_wrap=True)


def _facts(pause: dict[str, Any]) -> list[tuple[str, Any]]:
    decision = pause["decision"]
    state = status(pause["status"])
    tags = " ".join(pause["tags"])
    if decision is not None:
        state.append(_decided(decision), style="default")
    return [
        ("status", state),
        ("deadline", deadline(pause) if decision is None else None),
        ("use", _use(pause)),
        ("result", _result(pause)),
        *review_facts(pause),
        ("answer", None if decision is None or decision["response"] is None else pretty_json(decision["response"])),
        ("watch id", pause["watchId"]),
        ("created", f"{when(pause['createdAt'])}, by {pause['createdBy']}"),
        *_client(pause),
        ("namespace", pause["namespace"]),
        ("priority", str(pause["priority"]) if pause["priority"] else None),
        ("tags", tags or None),
        (
            "revision",
            f"{pause['revision']}, digest {pause['argumentsDigest'][:16]}…" if pause["argumentsDigest"] else None,
        ),
        ("callback", pause["callbackUrl"]),
    ]


def _client(pause: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return what the client says about itself."""
    client = client_words(pause["metadata"])
    texts = "; ".join(f"{label}: {text}" for label, text in client.facts)
    return [("came through", client.title), ("client", clean(texts) or None)]


def _result(pause: dict[str, Any]) -> Text | None:
    result = ((pause.get("consumption") or {}).get("outcome") or {}).get("result")
    return None if result is None else pretty_json(result)


def review_facts(pause: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return the votes and the missing approvals, or nothing where a single vote decides."""
    several = pause["review"] != {"approvals": 1}
    claim = pause["claim"]
    votes = [f"{vote['outcome']} by {_voter(vote)}, {when(vote['at'])}{_counts(vote)}" for vote in pause["votes"]]
    return [
        ("waits for", waits_for(pause) if pause["waitingFor"] and several else None),
        ("votes", clean("; ".join(votes)) if votes and (several or len(votes) > 1) else None),
        ("escalated", when(pause["escalatedAt"]) if pause["escalatedAt"] else None),
        ("claimed", clean(f"by {claim['byName']}, until {when(claim['until'])}") if claim else None),
    ]


def waits_for(pause: dict[str, Any]) -> str:
    """Return `1 of 2 approvals, from ops (stage 2 of 3: money)`."""
    needed = pause["waitingFor"]
    voters = ", ".join((*needed["groups"], *needed["assignees"]))
    name = f": {needed['name']}" if needed["name"] else ""
    stage = f" (stage {needed['stage'] + 1} of {needed['stages']}{name})" if needed["stages"] > 1 else ""
    text = f"{needed['approved']} of {needed['approvals']} approvals{f', from {voters}' if voters else ''}{stage}"
    return clean(text)


def _voter(vote: dict[str, Any]) -> str:
    other = vote["onBehalfOf"]
    return f"{vote['byName']} for {other['name']}" if other else str(vote["byName"])


def _counts(vote: dict[str, Any]) -> str:
    return "" if vote["counts"] else " (no longer counts)"


def deadline(pause: dict[str, Any]) -> str:
    """Return `is approved in 2 h`."""
    if pause["expiresAt"] is None:
        return "never expires"
    becomes = BECOMES.get(pause["onTimeout"], pause["onTimeout"])
    return f"{becomes} {when(pause['expiresAt'])}"


def _decided(decision: dict[str, Any]) -> str:
    by = "because its time ran out" if decision["decidedBy"] == "system" else f"by {decision['decidedByName']}"
    comment = f": {decision['comment']}" if decision["comment"] else ""
    return clean(f" {by}, {when(decision['decidedAt'])}{comment}")
