"""`sagahold keys …`: API keys (admin)."""

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.client import part
from cli.parameters import IDEMPOTENCY_KEY, NEVER, SPAN_OR_NEVER
from cli.session import CommandContext, command, given, page_options, reach_option
from cli.views.output import clean, facts, lines, page, short, table, when
from domain.identity.access import Role
from domain.pauses.door import title_of

PATH = "/v1/keys"


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


@command(keys, "create", Role.ADMIN)
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in Role]), required=True, help="Give the key this role.")
@reach_option
@click.option(
    "--expires-at",
    metavar="TIME",
    help="Let the key expire at this time, such as 2026-12-31T00:00:00Z (default: never).",
)
def create(session: CommandContext, namespaces: tuple[str, ...], **options: Any) -> None:
    """Create a key for NAME.

    The secret is shown only once.
    """
    session.show(session.request("POST", PATH, body={"namespaces": list(namespaces), **given(**options)}), _new)


@command(keys, "list", Role.ADMIN)
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List keys, newest first."""
    session.show(session.request("GET", PATH, query=query), _list)


@command(keys, "rotate", Role.ADMIN)
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap", type=SPAN_OR_NEVER, metavar="3600|2h|never", help="Accept the old secret for this long (default 24h)."
)
@click.option("--idempotency-key", type=IDEMPOTENCY_KEY, help="Rotate once even if the request repeats.")
def rotate(session: CommandContext, key_id: str, overlap: int | str | None, idempotency_key: str | None) -> None:
    """Give a key a new secret.

    The new secret is shown only once. The old one stays valid for --overlap.
    """
    body = given(overlap_seconds=0 if overlap == NEVER else overlap)
    headers = given(**{"Idempotency-Key": idempotency_key})
    session.show(session.request("POST", f"{PATH}/{part(key_id)}/rotate", body=body, headers=headers), _rotated)


@command(keys, "revoke", Role.ADMIN)
@click.argument("key_id", metavar="ID")
def revoke(session: CommandContext, key_id: str) -> None:
    """Revoke a key.

    Every server rejects it within 5 s.
    """
    session.show(session.request("POST", f"{PATH}/{part(key_id)}/revoke"), _revoked)


def _new(screen: Console, key: dict[str, Any]) -> None:
    facts(
        screen,
        [
            ("key", Text(key["key"], style="bold", no_wrap=True)),
            ("id", key["id"]),
            ("role", f"{key['role']} in {', '.join(key['namespaces'])}"),
            ("expires", when(key["expires_at"])),
        ],
    )
    screen.print("Copy the key now: it is not shown again.", style="dim")


def _rotated(screen: Console, key: dict[str, Any]) -> None:
    if key["key"] is None:
        screen.print(f"{clean(key['id'])} was already rotated by this request; its secret is not shown again")
        return
    _new(screen, key)
    screen.print(f"The old secret works until {clean(key['previous_valid_until'])}.", style="dim", soft_wrap=True)


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{key['id']}\n{key['prefix']}…",
            f"{key['role']}\n{_state(key)}",
            lines(short(key["name"]), short(", ".join(key["namespaces"])), *_doors(key)),
        )
        for key in document["items"]
    ]
    page(screen, document, table(("ID, PREFIX", "ROLE, STATE", "NAME, NAMESPACES, DOORS"), rows), "no keys")


def _doors(key: dict[str, Any]) -> list[Text]:
    """Return the doors that the key used, the last one first, as one line or none."""
    used = [f"{title_of(each['door'])} {when(each['last_used_at'])}" for each in key["doors"]]
    return [short(", ".join(used))] if used else []


def _revoked(screen: Console, key: dict[str, Any]) -> None:
    screen.print(f"{clean(key['id'])} ({clean(key['name'])}) is revoked", soft_wrap=True)


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {when(key['revoked_at'])}"
    if key["expires_at"] and when(key["expires_at"]).endswith("ago"):
        return f"expired {when(key['expires_at'])}"
    return f"used {when(key['last_used_at'])}" if key["last_used_at"] else "never used"
