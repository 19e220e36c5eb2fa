"""Views of held steps for reviewers."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cli.views.changes import print_edited
from cli.views.output import clean, facts, lines, page, pretty_json, short, table, when
from cli.views.pause import INDENT, deadline, review_facts
from cli.views.saga import model, next_command


def queue(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{clean(item['saga_trace_id'])}\n{clean(item['step_span_id'])}",
            lines(short(item["step_name"]), short(item["namespace"])),
            lines(short(when(item["started_at"])), short(when(item["expires_at"], nothing="never expires"))),
            f"{item['waiting_for']['approved']} of {item['waiting_for']['approvals']}",
        )
        for item in document["items"]
    ]
    page(
        screen,
        document,
        table(("TRACE ID, SPAN ID", "STEP, NAMESPACE", "HELD, EXPIRES", "VOTES"), rows),
        "no held steps",
    )
    if document["items"]:
        next_command(screen, f"review show {document['items'][0]['saga_trace_id']}")


def describe(screen: Console, item: dict[str, Any], pause: dict[str, Any]) -> None:
    """Print everything that a reviewer needs. `pause` is the held step's pause."""
    context = pause["agentContext"]["context"]
    screen.print(Text(clean(pause["agentContext"]["action"]), style="bold"))
    screen.print()
    facts(
        screen,
        [
            ("tool", context.get("tool")),
            ("model", model(context)),
            ("worker", f"{item['worker']} {item['worker_version']}"),
            ("deadline", deadline(pause)),
            *review_facts(pause),
            ("held", when(item["started_at"])),
            ("step", f"{item['step_id']} ({item['step_kind']})"),
            ("namespace", item["namespace"]),
            ("trace id", item["saga_trace_id"]),
            ("span id", item["step_span_id"]),
            ("watch id", item["watch_id"]),
            ("digest", pause["argumentsDigest"]),
        ],
    )
    is_output = item["review_subject"] == "output"
    screen.print()
    title = "Output of the step" if is_output else "Arguments, exactly as they will be executed"
    screen.print(title, style="bold")
    screen.print(Padding.indent(pretty_json(item["review_payload"]), INDENT))
    print_edited(screen, pause, item["review_subject"])
    if context.get("facts"):
        screen.print()
        screen.print("Facts from the tools' own responses", style="bold")
        screen.print(Padding.indent(pretty_json(context["facts"]), INDENT))
    screen.print()
    which = f"{item['saga_trace_id']} {item['step_span_id']}"
    read = f"{which} --revision {item['revision']}"
    next_command(screen, f"review approve {read}", f"review reject {read} --comment 'why'", f"review retry {read}")
