"""A verified receipt in words."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from adapters.receipts.verification import Receipt
from cli.views.output import clean, facts, status
from domain.pauses.pause import SYSTEM

_AUTHENTICATED = {
    "api_key": "with an API key",
    "password": "signed in with a password",
    "oidc": "signed in at the identity provider",
    "sign_in_link": "signed in by a link",
    "review_link": "by the link in a message",
    "anonymous": "without authentication",
    "unknown": "it is unknown how they authenticated",
}
_TIMED_OUT = "no person: time ran out"


def describe(screen: Console, receipt: Receipt, checked: Sequence[str] = ()) -> None:
    """Print who decided what, and when. `checked`: what was compared with the receipt and is the same."""
    claims = receipt.claims
    screen.print(Text("✔ ", style="green").append("the receipt is genuine", style="default"))
    facts(
        screen,
        [
            ("outcome", status(claims["outcome"])),
            ("decided", _time(claims["decided_at"])),
            ("by", _deciders(claims)),
            ("pause", f"{claims['watch_id']}, revision {claims['revision']}"),
            ("requested by", claims["requested_by"]),
            ("policy", _policy(claims["policy"])),
            ("valid until", _limit(claims["valid_until"])),
            ("used", None if "consumed_at" not in claims else _time(claims["consumed_at"])),
            ("execution", _execution(claims.get("execution"))),
            ("action", _digest(claims, "action", checked)),
            ("arguments", _digest(claims, "arguments", checked)),
            ("issued by", f"{claims['iss']}, key {receipt.kid}"),
        ],
    )


def _deciders(claims: Mapping[str, Any]) -> str:
    if not claims["votes"]:
        return _TIMED_OUT if claims["decided_by"] == SYSTEM else str(claims["decided_by"])
    return "\n".join(map(_vote, claims["votes"]))


def _vote(vote: Mapping[str, Any]) -> str:
    how = _AUTHENTICATED.get(vote["auth"], f"authenticated by {vote['auth']}")
    other = vote.get("on_behalf_of")
    on_behalf = f", for {clean(other.get('name'))}" if isinstance(other, dict) else ""
    return f"{clean(vote['name'])} ({vote['person']}){on_behalf}: {vote['outcome']} {_time(vote['at'])}, {how}"


def _policy(policy: Mapping[str, Any]) -> str:
    approvals = policy["approvals"]
    needed = f"{approvals} approval{'s' if approvals != 1 else ''}"
    return f"{needed} by {', '.join(policy['groups'])}" if policy["groups"] else needed


def _execution(execution: Mapping[str, Any] | None) -> str | None:
    if execution is None:
        return None
    settled = f", settled by {execution['settled_by']}" if "settled_by" in execution else ", reported"
    return f"{execution['status']}{settled} {_time(execution['at'])}"


def _digest(claims: Mapping[str, Any], name: str, checked: Sequence[str]) -> str:
    digest = claims[f"{name}_sha256"]
    if digest is None:
        return "none"
    if name in checked:
        return f"exactly {'these' if name == 'arguments' else 'this one'} ({digest[:16]}…)"
    return f"sha256 {digest}"


def _limit(until: str | None) -> str | None:
    if until is None:
        return None
    try:
        is_past = datetime.fromisoformat(until) <= datetime.now(UTC)
    except (ValueError, TypeError):
        is_past = False
    return f"{_time(until)}{' (past)' if is_past else ''}"


def _time(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return clean(text)
