"""Comparison of rows with the entries of the audit log.

An entry is read as it is stored: older releases wrote less, and a table may have been tampered with. Columns that no
entry mentions are not compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.log.audit import digest
from domain.log.audit_facts import CHANGING, PAUSE_FACTS, STEP_FACTS, Facts, pause_facts, step_facts
from domain.pauses.pause import SYSTEM
from domain.pauses.serialization import instant, instant_or_none
from domain.sagas.saga import TERMINAL
from domain.sagas.serialization import span_text
from domain.sagas.step import BROKEN, StepStatus
from domain.sagas.step_transitions import ENDED
from domain.values import canonical_json

_DECIDED = ("pause.approved", "pause.rejected", "pause.expired", "pause.cancelled")
_VOTED = ("pause.voted", "pause.edited")
_CLAIMS = ("review.claimed", "review.released")
_STEP_ENDS = {f"step.{status.lower()}": str(status) for status in ENDED}
_SAGA_ENDS = {f"saga.{status.lower()}": str(status) for status in TERMINAL}
# After one of these, a step, an undo or a saga that has ended may continue.
_REOPENS = ("step.retried", "step.resolved")


class RowKind(StrEnum):
    PAUSE = "pause"
    SAGA = "saga"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Difference:
    """A column whose value is not the logged one. `seq` is the entry's, or None if no entry mentions the row."""

    field: str
    logged: Any
    found: Any
    seq: int | None


@dataclass
class Logged:
    """The row according to the entries read so far.

    Attributes:
        fields: logged values, each with the `seq` of its entry.
        votes: the `seq` and the entry of each vote, in their order.
        entries: the number of entries.
        partly: an older release wrote one of the entries, so facts are missing.
    """

    fields: dict[str, tuple[Any, int]] = field(default_factory=dict)
    votes: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    entries: int = 0
    partly: bool = False

    def record(self, seq: int, values: Mapping[str, Any]) -> None:
        self.fields |= {name: (value, seq) for name, value in values.items()}

    def forget(self, names: frozenset[str]) -> None:
        self.fields = {name: logged for name, logged in self.fields.items() if name not in names}

    def differences(self, found: Mapping[str, Any]) -> Iterator[Difference]:
        for name, value in found.items():
            if name in self.fields and self.fields[name][0] != value:
                yield Difference(name, self.fields[name][0], value, self.fields[name][1])


class LoggedPause(Logged):
    @property
    def ended(self) -> bool:
        return bool(self.fields.get("status", ("pending", 0))[0] != "pending")

    def read(self, seq: int, entry: Mapping[str, Any]) -> None:
        details, type_ = _mapping(entry.get("details")), entry.get("type")
        facts = details.get("row")
        self.entries += 1
        if type_ in _CLAIMS:
            self._record_facts(seq, facts, frozenset({"claim"}))
            return
        if type_ == "pause.created":
            undecided = dict.fromkeys(("decided_by", "decided_by_name", "comment", "resolved_at", "claim"))
            self.record(seq, {"status": "pending", **undecided})
            if isinstance(facts, dict):
                self.record(seq, dict.fromkeys(PAUSE_FACTS))
        else:
            revision = {name: details[name] for name in ("revision",) if name in details}
            self.record(seq, revision | {"arguments_digest": details.get("arguments_digest")})
        self._record_facts(seq, facts, CHANGING)
        if type_ in _DECIDED:
            self._record_decision(seq, entry, str(type_), details)
        if type_ in _VOTED or (type_ in _DECIDED[:2] and entry.get("by") != SYSTEM):
            self.votes.append((seq, entry))

    def _record_facts(self, seq: int, facts: Any, otherwise: frozenset[str]) -> None:
        if isinstance(facts, dict):
            self.record(seq, facts)
        else:
            self.partly = True
            self.forget(otherwise)

    def _record_decision(self, seq: int, entry: Mapping[str, Any], type_: str, details: Mapping[str, Any]) -> None:
        decision = {"decided_by": entry.get("by"), "decided_by_name": entry.get("by_name")}
        if "comment" in details:
            decision["comment"] = details["comment"]
        self.record(seq, {"status": type_.removeprefix("pause."), "resolved_at": entry.get("at"), **decision})

    def against(self, row: "PauseRow") -> Iterator[Difference]:
        if not self.entries:
            yield Difference("status", None, row.found["status"], None)
        votes = list(self._votes_against(row.votes))
        yield from votes
        for each in self.differences(row.found):
            if each.field != "votes" or not votes:
                yield each
        if row.own_digest != row.digest:
            seq = self.fields["arguments_digest"][1] if "arguments_digest" in self.fields else None
            yield Difference("arguments", row.own_digest, row.digest, seq)

    def _votes_against(self, found: list[Any]) -> Iterator[Difference]:
        logged = self.votes
        if not found and all(entry.get("type") not in _VOTED for _, entry in logged):
            # A policy that requires one vote stores only the decision, not the vote.
            return
        if len(logged) != len(found):
            yield Difference("votes", len(logged), len(found), logged[-1][0] if logged else None)
        for place, ((seq, entry), vote) in enumerate(zip(logged, found, strict=False)):
            found_vote = _vote_found(vote)
            for name, value in _vote_logged(entry).items():
                if value != found_vote[name]:
                    yield Difference(f"votes[{place}].{name}", value, found_vote[name], seq)


@dataclass(frozen=True, slots=True)
class PauseRow:
    """The compared part of a row. `own_digest` is the stored digest of its arguments, `digest` the computed one."""

    found: Facts
    votes: list[Any]
    own_digest: str | None
    digest: str | None


def pause_row(row: Mapping[str, Any]) -> PauseRow:
    facts = dict.fromkeys(sorted(PAUSE_FACTS)) | pause_facts(row)
    arguments, claim = row["arguments"], row["claim"]
    found = {name: row[name] for name in ("status", "decided_by", "decided_by_name", "comment")} | facts
    found["resolved_at"] = instant_or_none(row["resolved_at"])
    found["claim"] = None if claim is None else digest(claim)
    votes = row["votes"] if isinstance(row["votes"], list) else []
    computed = None if arguments is None else canonical_json.digest(arguments).hex()
    return PauseRow(found, votes, facts["arguments_digest"], computed)


def _vote_logged(entry: Mapping[str, Any]) -> Facts:
    details = _mapping(entry.get("details"))
    always = {"by": entry.get("by"), "by_name": entry.get("by_name"), "at": entry.get("at")}
    optional = {name: details[name] for name in ("outcome", "comment", "revision") if name in details}
    return always | optional | {"on_behalf_of": details.get("on_behalf_of")}


def _vote_found(vote: Any) -> Facts:
    vote = _mapping(vote)
    by, other = _mapping(vote.get("by")), _mapping(vote.get("on_behalf_of"))
    return {
        "by": by.get("id"),
        "by_name": by.get("name"),
        "at": _instant(vote.get("at")),
        "outcome": "approved" if vote.get("approves") else "rejected",
        "comment": vote.get("comment"),
        "revision": vote.get("revision"),
        "on_behalf_of": other.get("id"),
    }


def _instant(text: Any) -> Any:
    try:
        return instant(datetime.fromisoformat(text))
    except (TypeError, ValueError):
        return text


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class LoggedStep(Logged):
    """A step in the log. `ended` is the type of its last end entry; `reopened`: an operator continued it afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: str | None = None
        self.reopened = False

    def read(self, seq: int, entry: Mapping[str, Any]) -> None:
        details, type_ = _mapping(entry.get("details")), entry.get("type")
        self.entries += 1
        self.record(seq, {name: details.get(name) for name in ("step", "compensates")})
        if type_ in _STEP_ENDS:
            self.ended, self.reopened = str(type_), False
            self._record_end(seq, entry, details)
        elif type_ == "step.resolved" and self.ended is not None and details.get("done") is False:
            # The undo stays failed; only its evidence changes.
            self.record(seq, {"evidence": digest(f"{entry.get('by_name')}: {details.get('evidence')}")})
        elif type_ in _REOPENS:
            self.reopened = True

    def _record_end(self, seq: int, entry: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        self.record(seq, {"status": _STEP_ENDS[str(entry["type"])], "ended_at": entry.get("at")})
        self.record(seq, {"call_began": details.get("called"), "arguments_digest": details.get("arguments_digest")})
        self.record(seq, {"error_code": details.get("error")})
        facts = details.get("row")
        if isinstance(facts, dict):
            self.record(seq, dict.fromkeys(STEP_FACTS) | facts)
        else:
            self.partly = True
            self.forget(STEP_FACTS)

    def against(self, row: "StepRow") -> Iterator[Difference]:
        own, real = row.own_digest, row.digest
        if own != real:
            yield Difference("arguments", own, real, self.fields.get("arguments_digest", (None, None))[1])
        status = row.found["status"]
        if self.ended is None:
            if status in ENDED:
                yield Difference("status", "not ended", status, None)
            return
        if status in ENDED:
            yield from self.differences(row.found)
        elif status == StepStatus.COMPENSATING and self.fields["status"][0] in _MAY_BE_UNDONE:
            yield from self.differences({**row.found, "status": self.fields["status"][0], "ended_at": self._end})
        elif not self.reopened:
            yield Difference("status", *self._status(status))

    @property
    def _end(self) -> Any:
        return self.fields["ended_at"][0]

    def _status(self, found: str) -> tuple[Any, Any, int]:
        logged, seq = self.fields["status"]
        return logged, found, seq


_MAY_BE_UNDONE = frozenset({str(StepStatus.COMPLETED), *map(str, BROKEN)})


@dataclass(frozen=True, slots=True)
class StepRow:
    """The compared part of a step's row, as in `PauseRow`."""

    span: str
    found: Facts
    own_digest: str | None
    digest: str | None


def step_row(row: Mapping[str, Any]) -> StepRow:
    facts = dict.fromkeys(sorted(STEP_FACTS)) | step_facts(row)
    own = None if row["arguments_digest"] is None else bytes(row["arguments_digest"]).hex()
    compensates = None if row["compensates"] is None else span_text(row["compensates"])
    found = {
        "step": row["step_id"],
        "compensates": compensates,
        "status": row["status"],
        "ended_at": instant_or_none(row["ended_at"]),
        "call_began": row["call_began"],
        "arguments_digest": own,
        "error_code": _mapping(row["error"]).get("code"),
    }
    real = None if row["arguments"] is None else canonical_json.digest(row["arguments"]).hex()
    return StepRow(span_text(row["span_id"]), found | facts, own, real)


class LoggedSaga(Logged):
    """A saga in the log, with its steps by their spans. `reopened` is as in `LoggedStep`."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, LoggedStep] = {}
        self.reopened = False

    def read(self, seq: int, entry: Mapping[str, Any]) -> None:
        details, type_ = _mapping(entry.get("details")), entry.get("type")
        self.entries += 1
        if type_ == "saga.started":
            self.record(seq, {"input": details.get("input_digest"), "cancelled": None, "ended_at": None})
            self.record(seq, {"definition": f"{details.get('name')} {details.get('version')}"})
        elif type_ == "saga.cancelled":
            self.record(seq, {"cancelled": details.get("reason") or f"cancelled by {entry.get('by_name')}"})
        elif type_ in _SAGA_ENDS:
            self.record(seq, {"status": _SAGA_ENDS[str(type_)], "ended_at": entry.get("at")})
            self.reopened = False
        elif isinstance(span := details.get("span"), str):
            self.steps.setdefault(span, LoggedStep()).read(seq, entry)
            self.reopened = self.reopened or type_ in _REOPENS

    @property
    def ended(self) -> bool:
        return "status" in self.fields

    def against(self, row: Mapping[str, Any]) -> Iterator[Difference]:
        """Yield the differences. The column `definition` of `row` is the definition's name and version."""
        found = {"definition": row["definition"], "input": digest(row["input"]), "cancelled": row["cancelled"]}
        if not self.entries:
            yield Difference("status", None, row["status"], None)
        elif row["status"] not in TERMINAL and ("status" not in self.fields or self.reopened):
            # It is running, and only its row has its current state.
            pass
        elif "status" not in self.fields:
            yield Difference("status", "not ended", row["status"], None)
        else:
            found |= {"status": row["status"], "ended_at": instant_or_none(row["ended_at"])}
        yield from self.differences(found)
