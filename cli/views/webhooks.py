"""Views of endpoints and deliveries."""

from typing import Any

from rich.console import Console
from rich.text import Text

from cli.views.output import clean, facts, lines, page, short, status, table, when


def endpoints(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{item['id']}\n",
            lines(_state(item), short(", ".join(item["namespaces"]))),
            lines(short(item["url"]), short(item["description"] or _events(item))),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("ID", "STATE, NAMESPACES", "URL, DESCRIPTION"), rows), "no endpoints")


def endpoint(screen: Console, item: dict[str, Any]) -> None:
    secret = item.get("secret")
    facts(
        screen,
        [
            ("id", item["id"]),
            ("url", item["url"]),
            ("state", _state(item)),
            ("reason", item["disabled_reason"]),
            ("failing", f"since {when(item['failing_since'])}" if item["failing_since"] else None),
            ("events", _events(item)),
            ("namespaces", ", ".join(item["namespaces"])),
            ("description", item["description"] or None),
            ("headers", "\n".join(f"{name}: {value}" for name, value in item["headers"].items()) or None),
            ("secret", Text(secret, style="bold", no_wrap=True) if secret else None),
        ],
    )
    if secret:
        screen.print("Copy the secret now: it is not shown again.", style="dim")


def deliveries(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{item['id']}\n{clean(item['watch_id'] or '')}",
            lines(status(item["status"]), short(when(item["created_at"]))),
            lines(short(item["type"]), short(item["last_error"] or item["url"])),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("ID, WATCH ID", "STATUS", "EVENT, ERROR OR URL"), rows), "no deliveries")


def delivery(screen: Console, item: dict[str, Any]) -> None:
    facts(
        screen,
        [
            ("id", item["id"]),
            ("status", status(item["status"])),
            ("event", item["type"]),
            ("url", item["url"]),
            ("webhook-id", item["webhook_id"]),
            ("watch id", item["watch_id"]),
            ("endpoint", item["endpoint_id"]),
            ("created", when(item["created_at"])),
            ("next attempt", when(item["next_attempt_at"]) if item["next_attempt_at"] else None),
            ("attempts", str(item["attempts"])),
            ("error", item["last_error"]),
        ],
    )
    attempts = item.get("attempts_made")
    if attempts:
        screen.print()
        screen.print(table(("#", "WHEN", "OUTCOME", "HTTP", "MS", "RESPONSE"), map(_attempt, attempts)))


def secret(screen: Console, document: dict[str, Any]) -> None:
    screen.print(document["secret"], soft_wrap=True)


def _attempt(attempt: dict[str, Any]) -> tuple[str | Text, ...]:
    return (
        str(attempt["number"]),
        when(attempt["started_at"]),
        status(attempt["outcome"]),
        str(attempt["status_code"] or "–"),
        str(attempt["duration_ms"]),
        short(attempt["error"] or attempt["excerpt"] or ""),
    )


def _state(item: dict[str, Any]) -> Text:
    if item["enabled"]:
        return Text("failing", style="yellow") if item["failing_since"] else Text("enabled", style="green")
    return Text("disabled", style="red")


def _events(item: dict[str, Any]) -> str:
    return ", ".join(item["event_types"]) or "all events"
