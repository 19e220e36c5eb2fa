"""Views of sagas and steps, with possible next commands."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.views.changes import print_changes
from cli.views.output import clean, facts, lines, page, pretty_json, short, status, table, when
from cli.views.pause import INDENT
from domain.sagas.step import BROKEN, OUTCOME_UNKNOWN, STUCK


def next_command(screen: Console, *commands: str) -> None:
    for command in commands:
        screen.print(clean(f"sagahold {command}"), style="dim", soft_wrap=True)


def started(screen: Console, document: dict[str, Any]) -> None:
    result = "is started" if document["created"] else "was already started"
    screen.print(f"{clean(document['trace_id'])} {result}", soft_wrap=True)
    next_command(screen, f"list steps {document['trace_id']} --watch")


def sagas(screen: Console, document: dict[str, Any]) -> None:
    page(screen, document, saga_table(document["items"]), "no sagas")


def saga_table(items: Sequence[dict[str, Any]]) -> Table:
    rows = [
        (
            f"{clean(item['trace_id'])}\n",
            lines(status(item["status"]), _trouble(item)),
            lines(
                short(f"{item['name']} {item['version']}"), short(f"{item['namespace']}, {when(item['started_at'])}")
            ),
        )
        for item in items
    ]
    return table(("TRACE ID", "STATUS", "SAGA, STARTED"), rows)


def _trouble(item: dict[str, Any]) -> Text:
    if item["needs_operator"]:
        return Text("needs operator", style="bold red")
    return short(item["error_details"]["code"] if item["error_details"] else "")


def steps(screen: Console, document: dict[str, Any]) -> None:
    page(screen, document, step_table(document["items"]), "no steps")
    for line in _retries(document["items"]):
        screen.print(line, soft_wrap=True)


def step_table(items: Sequence[dict[str, Any]]) -> Table:
    names = {item["step_span_id"]: item["step_id"] for item in items}
    rows = [
        (clean(item["step_span_id"]), short(_what(item, names)), status(item["status"]), short(_note(item)))
        for item in items
    ]
    return table(("SPAN ID", "STEP", "STATUS", "NOTE"), rows)


def _retries(items: Sequence[dict[str, Any]]) -> list[Text]:
    """Return why each unfinished step is retried, for example because its tool server is unreachable."""
    waiting = [item for item in items if item["status"] in ("PENDING", "IN_PROGRESS") and item["error_details"]]
    lines = [
        f"{item['step_id']} is retried automatically: {item['error_details']['message']}"
        for item in waiting
        if item["error_details"]["code"] != OUTCOME_UNKNOWN
    ]
    return [Text(clean(line), style="yellow") for line in lines]


def _what(item: dict[str, Any], names: dict[str, str]) -> str:
    undone = item["compensates_span_id"]
    return item["step_id"] if undone is None else f"undo {names.get(undone, item['step_id'])}"


def _note(item: dict[str, Any]) -> str:
    if item["error_details"] is not None:
        return str(item["error_details"]["code"])
    if item["status"] == "AWAITING_HUMAN":
        return f"held {when(item['started_at'])}"
    attempts = f", attempt {item['attempt']}" if item["attempt"] > 1 else ""
    return f"{when(item['started_at'], nothing='')}{attempts}"


def watched(saga: dict[str, Any], items: Sequence[dict[str, Any]]) -> RenderableType:
    """Return the steps with the saga's status and the commands that it waits for."""
    title = Text(clean(f"{saga['name']} {saga['version']} ")).append(status(saga["status"]))
    waits = [f"sagahold {command}" for command in next_steps(saga, items) if "--watch" not in command]
    return Group(title, step_table(items), *_retries(items), *(Text(clean(line), style="dim") for line in waits))


def errors(screen: Console, document: dict[str, Any]) -> None:
    """Print all errors in full."""
    broken = [item for item in document["items"] if item["error_details"] is not None]
    if not broken:
        screen.print("no errors")
    for item in broken:
        undo = "undo of " if item["compensates_span_id"] else ""
        title = Text(f"{clean(item['step_span_id'])} {undo}{clean(item['step_id'])} ").append(status(item["status"]))
        screen.print(title, soft_wrap=True)
        screen.print(Padding.indent(_error(item["error_details"]), INDENT))


def _error(error: dict[str, Any]) -> Text:
    said = Text(clean(f"{error['code']}: {error['message']}", lines=True))
    # A reviewer may add fields to the code and message.
    rest = {name: value for name, value in error.items() if name not in ("code", "message")}
    rest = rest["details"] if rest.keys() == {"details"} else rest
    return said.append("\n").append(pretty_json(rest)) if rest else said


def saga(screen: Console, document: dict[str, Any]) -> None:
    screen.print(Text(clean(f"{document['name']} {document['version']}"), style="bold"))
    screen.print()
    state = status(document["status"])
    if document["needs_operator"]:
        state.append(", needs an operator", style="bold red")
    facts(
        screen,
        [
            ("status", state),
            ("error", None if document["error_details"] is None else _error(document["error_details"])),
            ("cancelled", document["cancel_reason"]),
            ("trace id", document["trace_id"]),
            ("namespace", document["namespace"]),
            ("started", when(document["started_at"])),
            ("ended", None if document["ended_at"] is None else when(document["ended_at"])),
            ("started with", document["start_idempotency_key"]),
        ],
    )
    screen.print()
    screen.print(step_table(document["steps"]))
    for line in _retries(document["steps"]):
        screen.print(line, soft_wrap=True)
    _block(screen, "Input", document["context"]["input"])
    if commands := [*next_steps(document, document["steps"])]:
        screen.print()
        next_command(screen, *commands)


def next_steps(saga: dict[str, Any], steps: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the commands that a person must or can run next."""
    trace_id = saga["trace_id"]
    if saga["status"] == "AWAITING_HUMAN":
        yield f"review show {trace_id}"
    if saga["needs_operator"] and (saga["error_details"] or {}).get("code") == STUCK:
        yield f"saga retry-step {trace_id} {steps[0]['step_span_id']}  # once its cause is fixed"
        return
    for step in steps:
        which = f"{trace_id} {step['step_span_id']}"
        undo = step["compensates_span_id"] is not None
        error = step["error_details"] or {}
        if saga["needs_operator"] and step["status"] == "IN_PROGRESS" and error.get("code") == OUTCOME_UNKNOWN:
            again = "retry-compensation" if undo else "retry-step"
            yield f"saga resolve {which} --outcome done --evidence 'how you know'"
            yield f"saga resolve {which} --outcome not_done --evidence 'how you know'"
            yield f"saga {again} {which} --allow-destructive  # only if a second call does no harm"
        elif saga["status"] == "FAILED" and undo and step["status"] in BROKEN:
            yield f"saga retry-compensation {which}"
            if saga["needs_operator"]:
                yield f"saga resolve {which} --outcome done --evidence 'how it was undone by hand'"
                yield f"saga resolve {which} --outcome not_done --evidence 'why it stays'"
    if saga["status"] in ("PENDING", "RUNNING", "COMPENSATING") and not saga["needs_operator"]:
        yield f"list steps {trace_id} --watch"


def step(screen: Console, document: dict[str, Any]) -> None:
    undo = "Undo of " if document["compensates_span_id"] else ""
    screen.print(Text(clean(f"{undo}{document['step_name']}"), style="bold"))
    screen.print()
    facts(
        screen,
        [
            ("status", status(document["status"])),
            ("error", None if document["error_details"] is None else _error(document["error_details"])),
            ("step id", document["step_id"]),
            ("kind", document["step_kind"]),
            ("undoes", document["compensates_span_id"]),
            ("span id", document["step_span_id"]),
            ("idempotency key", document["idempotency_key"]),
            ("trace id", document["saga_trace_id"]),
            ("namespace", document["namespace"]),
            ("worker", f"{document['worker']} {document['worker_version']}"),
            ("started", when(document["started_at"], nothing="not yet")),
            ("ended", None if document["end_time"] is None else when(document["end_time"])),
            ("model", model(document)),
            ("prompt", document["prompt_ref"]),
            ("took", _times(document["timing"])),
            ("tokens", _tokens(document["usage"])),
            ("attempts", str(document["attempt"])),
            ("re-runs", str(document["retries"]) if document["retries"] else None),
            ("guidance", document["guidance"]),
            ("evidence", document["evidence"]),
            ("corrected", _corrected(document["correction"])),
            ("watch id", document["watch_id"]),
        ],
    )
    _contents(screen, document)
    if document["status"] == "AWAITING_HUMAN":
        screen.print()
        next_command(screen, f"review show {document['saga_trace_id']} {document['step_span_id']}")


def _corrected(correction: dict[str, Any] | None) -> str | None:
    if correction is None:
        return None
    why = f": {correction['reason']}" if correction["reason"] else ""
    return f"its arguments, by {correction['by']} {when(correction['at'])}{why}"


def _contents(screen: Console, document: dict[str, Any]) -> None:
    if document["resolved_arguments"] is not None:
        _block(screen, "Arguments", document["resolved_arguments"])
    if (correction := document["correction"]) is not None:
        before, after = correction["before"], document["resolved_arguments"]
        print_changes(screen, "\nCorrected", before, after, "arguments")
    if document["output_payload"] is not None:
        held = document["status"] == "AWAITING_HUMAN"
        _block(screen, "Output, held for review" if held else "Output", document["output_payload"])
    if document["facts"]:
        _block(screen, "Facts from the tools' own responses", document["facts"])
    if document["tool_calls"]:
        _block(screen, "Tool calls of the model", document["tool_calls"])
    if document["transcript"] is not None:
        _block(screen, "Transcript", document["transcript"])


def model(document: Mapping[str, Any]) -> Text | None:
    """Return the model of an output, marked so that a mock's output never passes for a model's."""
    if document.get("mock"):
        return Text("mock, no model was called", style="bold yellow")
    provider = document.get("provider")
    return None if provider is None else Text(clean(f"{provider} {document.get('model') or ''}".strip()))


def _times(timing: Mapping[str, float]) -> str | None:
    """Return the parts of at least 1 ms, longest first."""
    parts = sorted(((ms, name.removesuffix("_ms")) for name, ms in timing.items() if ms >= 1), reverse=True)
    return ", ".join(f"{name} {ms:,.0f} ms" for ms, name in parts) or None


def _tokens(usage: Mapping[str, int]) -> str | None:
    if not usage:
        return None
    turns = "1 turn" if usage["requests"] == 1 else f"{usage['requests']} turns"
    return f"{usage['input_tokens']:,} in, {usage['output_tokens']:,} out, {turns}"


def _block(screen: Console, title: str, value: Any) -> None:
    screen.print()
    screen.print(title, style="bold")
    screen.print(Padding.indent(pretty_json(value), INDENT))
