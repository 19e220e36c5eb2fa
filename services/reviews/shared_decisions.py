"""Decisions of several callers in one transaction.

A batch executes the usual decisions: one vote decides, and edits nothing. It sets any other one `Aside`, and one that
would wait for a lock: the caller's own thread then executes it alone. A batch waits for no lock of a pause or a saga,
so it is part of no deadlock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.identity.access import Principal
from domain.pauses.pause import STEP, Approve, Cancel, Pause, Reject, is_satisfied_by
from domain.pauses.serialization import pause_document
from domain.values.errors import AlreadyResolved, DomainError
from models.pauses import pause_of
from services.kernel.group_commit import Aside
from services.kernel.leases import make_sagas_due
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.changes import PauseChange, Resolution, decide_by, store_resolutions
from services.pauses.lifecycle import SHARED_WAIT, lock_free_pauses, may_see
from services.reviews.decisions import decide_in
from services.reviews.step_decisions import decide_step_in
from services.sagas.queries import StepRef, held_pauses


@dataclass(frozen=True, slots=True)
class DecisionCall:
    """One caller's decision on a pause, or on the pause that holds a step."""

    by: Principal
    which: UUID | StepRef
    command: Approve | Reject | Cancel


def decide_pauses(database: Database, wanted: Callable[[], Sequence[DecisionCall]]) -> list[PauseChange | Exception]:
    """Decide for all callers that are there once the transaction is open. Return one outcome per caller, in order.

    `AlreadyResolved` is the outcome of one that another decision came before. A caller who is alone may also get its
    error raised.
    """
    with database.transaction() as uow:
        calls = wanted()
        if len(calls) == 1:
            return [_decide_alone(database, uow, calls[0])]
        uow.set_lock_timeout(SHARED_WAIT)
        return _decide_together(database, uow, calls)


def _decide_alone(database: Database, uow: UnitOfWork, call: DecisionCall) -> PauseChange | Exception:
    command = call.command
    if isinstance(call.which, UUID):
        change = decide_in(database, uow, call.by, call.which, command)
    else:
        assert not isinstance(command, Cancel), "a step is approved or rejected"
        change, command = decide_step_in(database, uow, call.by, call.which, command)
    # Returned, not raised: an expiry that this request was the first to notice is committed.
    return change if is_satisfied_by(change.pause, command) else AlreadyResolved(change.document)


def _decide_together(
    database: Database, uow: UnitOfWork, calls: Sequence[DecisionCall]
) -> list[PauseChange | Exception]:
    ids = _pause_ids(uow, calls)
    rows = lock_free_pauses(uow, sorted({id_ for id_ in ids if id_ is not None}))
    pauses = {row["id"]: pause_of(row) for row in rows}
    resolved: dict[UUID, Resolution] = {}
    # A caller's own error, or whether its decision changed the pause.
    decided: list[Exception | bool] = []
    for call, id_ in zip(calls, ids, strict=True):
        pause = None if id_ is None else pauses.get(id_)
        try:
            resolution = _decide(database, uow, call, pause)
        except (DomainError, Aside) as error:
            decided.append(error)
            continue
        if resolution is not None:
            # The next decision on this pause sees this one.
            pauses[resolution.before.id], resolved[resolution.before.id] = resolution.event.pause, resolution
        decided.append(resolution is not None)
    held = {id_ for id_, each in resolved.items() if each.before.kind == STEP}
    waiting = held - make_sagas_due(uow, sorted(held))
    stored = store_resolutions(database, uow, [each for id_, each in resolved.items() if id_ not in waiting])
    documents = {change.pause.id: change.document for change in stored}
    outcomes: list[PauseChange | Exception] = []
    for call, id_, outcome in zip(calls, ids, decided, strict=True):
        if id_ is None or id_ in waiting:
            outcomes.append(Aside())
        elif isinstance(outcome, Exception):
            outcomes.append(outcome)
        else:
            pause = pauses[id_]
            document = documents.get(id_) or pause_document(pause, database.public_url)
            satisfied = is_satisfied_by(pause, call.command)
            outcomes.append(PauseChange(pause, document, outcome) if satisfied else AlreadyResolved(document))
    return outcomes


def _pause_ids(uow: UnitOfWork, calls: Sequence[DecisionCall]) -> list[UUID | None]:
    steps = [(call.by, call.which) for call in calls if isinstance(call.which, StepRef)]
    held = iter(held_pauses(uow.conn, steps))
    return [next(held) if isinstance(call.which, StepRef) else call.which for call in calls]


def _decide(database: Database, uow: UnitOfWork, call: DecisionCall, pause: Pause | None) -> Resolution | None:
    """Return how the decision resolves the pause; None if the pause was resolved before. Raise `Aside`."""
    command = call.command
    if pause is None or not may_see(call.by, pause):
        raise Aside
    if not pause.review.plain or (isinstance(command, Approve) and command.arguments is not None):
        raise Aside
    _, events = decide_by(database, pause, command, uow.now)
    if len(events) > 1:
        # The pause was out of time and got more of it.
        raise Aside
    return Resolution(call.by, pause, events[0]) if events else None
