"""The use of an approval in a few words, from the document of the pause."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.pauses.pause import AGENT, Status


class UseState(StrEnum):
    """The state of an approval.

    A lapsed one was not used in time. A running one has no outcome yet. An unreported one never gets an outcome,
    because its client cannot report one.
    """

    UNUSED = "unused"
    LAPSED = "lapsed"
    RUNNING = "running"
    MISSING = "missing"
    UNREPORTED = "unreported"
    UNKNOWN = "unknown"
    FAILED = "failed"
    SUCCEEDED = "succeeded"

    @property
    def used(self) -> bool:
        return self not in (UseState.UNUSED, UseState.LAPSED)

    @property
    def is_final(self) -> bool:
        return self in (UseState.LAPSED, UseState.UNREPORTED, UseState.FAILED, UseState.SUCCEEDED)

    @property
    def needs_look(self) -> bool:
        return self in (UseState.MISSING, UseState.UNKNOWN)


_WORDS = {
    UseState.UNUSED: "not used yet",
    UseState.LAPSED: "not used in time",
    UseState.RUNNING: "outcome not reported yet",
    UseState.MISSING: "outcome not reported: needs a look",
    UseState.UNREPORTED: "its client reports no outcome",
    UseState.UNKNOWN: "outcome unknown: needs a look",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class UseSummary:
    """The state of an approval, and words like `used 12 s later, succeeded`."""

    state: UseState
    words: str


def use_of(pause: Mapping[str, Any], now: datetime) -> UseSummary | None:
    """Return the summary; None for a pause that is not approved, and for a held step that was not used."""
    used, decision = pause.get("consumption"), pause["decision"]
    if pause["status"] != Status.APPROVED or (used is None and pause["kind"] != AGENT):
        return None
    if used is None:
        until = decision.get("validUntil")
        state = UseState.UNUSED if until is None or now < datetime.fromisoformat(until) else UseState.LAPSED
        return UseSummary(state, _WORDS[state])
    state = _state_of(used, now)
    later = datetime.fromisoformat(used["consumedAt"]) - datetime.fromisoformat(decision["decidedAt"])
    who = (used.get("outcome") or {}).get("settledByName")
    settled = "" if who is None else f", settled by {who}"
    return UseSummary(state, f"used {_short(later)} later, {_WORDS.get(state, state)}{settled}")


def _state_of(used: Mapping[str, Any], now: datetime) -> UseState:
    outcome = used.get("outcome")
    if outcome is None:
        due = used["outcomeDueAt"]
        if due is None:
            return UseState.UNREPORTED
        return UseState.RUNNING if now < datetime.fromisoformat(due) else UseState.MISSING
    # A newer release may know more outcomes.
    return UseState(outcome["status"]) if outcome["status"] in list(UseState) else UseState.UNKNOWN


def _short(duration: timedelta) -> str:
    seconds = max(0, int(duration.total_seconds()))
    return next((f"{seconds // size} {unit}" for size, unit in _UNITS if seconds >= size), f"{seconds} s")
