"""The facts of a row in the audit log, beside its document's digest: short values as they are, others as a digest.

A row is a mapping of its columns, before or after it is stored. Entries omit facts that are None.
"""

from collections.abc import Callable, Mapping
from typing import Any

from domain.log.audit import digest
from domain.pauses.content import CONTENT_FIELDS
from domain.pauses.serialization import instant

Facts = dict[str, Any]


def _hex(value: bytes) -> str:
    return bytes(value).hex()


def _columns(kinds: Mapping[Callable[[Any], Any], tuple[str, ...]]) -> Mapping[str, Callable[[Any], Any]]:
    return {name: kind for kind, names in kinds.items() for name in names}


def _as_is(value: Any) -> Any:
    return value


# Times have milliseconds, as in the documents.
_OF_PAUSE = _columns(
    {
        _as_is: (
            "kind",
            "created_by",
            "priority",
            "on_timeout",
            "stage",
            "revision",
            "decided_auth",
            "outcome_status",
            "outcome_by",
        ),
        instant: ("created_at", "expires_at", "escalated_at", "consumed_at", "outcome_at", "outcome_due_at"),
        _hex: ("arguments_digest",),
        digest: (
            "action",
            # `arguments` have a digest of their own, and `priority` is short.
            *(name for name in CONTENT_FIELDS if name not in ("arguments", "priority")),
            *("posted_arguments", "review", "response", "votes", "asked"),
            *("consumed_with", "outcome_note", "outcome_result", "outcome_by_name"),
        ),
    }
)
_OF_STEP = _columns(
    {
        _as_is: ("attempt", "retries", "revision", "unsure"),
        str: ("watch_id",),
        instant: ("started_at",),
        digest: ("output", "proposal", "facts", "error", "evidence", "guidance", "correction"),
    }
)
PAUSE_FACTS, STEP_FACTS = frozenset(_OF_PAUSE), frozenset(_OF_STEP)
# Columns that a change may set. An entry of a release that wrote no facts leaves them unknown.
CHANGING = frozenset(
    {
        *("on_timeout", "expires_at", "escalated_at", "stage", "response", "votes", "asked", "posted_arguments"),
        *("decided_auth", "consumed_at", "consumed_with", "outcome_due_at"),
        *("outcome_status", "outcome_at", "outcome_note", "outcome_result", "outcome_by", "outcome_by_name"),
    }
)


def pause_facts(row: Mapping[str, Any]) -> Facts:
    return _facts(_OF_PAUSE, row)


def step_facts(row: Mapping[str, Any]) -> Facts:
    return _facts(_OF_STEP, row)


def changed_facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Facts:
    """Return the changed facts of a pause with their new values, None for a value that was removed."""
    changing = {name: kind for name, kind in _OF_PAUSE.items() if name in CHANGING and before[name] != after[name]}
    return dict.fromkeys(changing) | _facts(changing, after)


def _facts(columns: Mapping[str, Callable[[Any], Any]], row: Mapping[str, Any]) -> Facts:
    return {name: kind(value) for name, kind in columns.items() if (value := row[name]) is not None}
