"""The laws of sagas over the real services on PostgreSQL; few examples, as each takes a second."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import select

from domain.pauses.pause import Pause
from domain.sagas.outcome import Outcome
from domain.sagas.reasoning import Report, Thought
from domain.sagas.saga import Saga
from domain.sagas.step import Step
from domain.values import ids
from models.pauses import pause_of, pauses
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import expire_due
from services.reviews.decisions import decide_pause
from services.reviews.step_decisions import rerun_step
from services.sagas.engine import advance, record, record_thought
from services.sagas.lifecycle import cancel_saga
from services.sagas.recovery import Retry, resolve, retry_compensation, retry_step
from services.sagas.work import Ask, Call, Work
from tests.domain.saga_fates import Spec
from tests.domain.saga_laws import SagaMachine
from tests.services.saga_world import die, is_due, looked_up, ref, saga_of, start, step
from tests.services.thought_world import reason
from tests.services.world import OPERATOR, REVIEWER, approve, change, let_time_approve, reject


class OnPostgres:
    def __init__(self, store: Store, specs: list[Spec]) -> None:
        self._store = store
        let_time_approve(store)
        self._id = start(store, *(_manifest(chr(97 + place), spec) for place, spec in enumerate(specs)))

    def advance(self) -> Work | None:
        return looked_up(self._store, advance(self._store, self._id))

    def record(self, call: Call, outcome: Outcome) -> Work | None:
        return looked_up(self._store, record(self._store, call, outcome, {}, 0.5))

    def record_thought(self, ask: Ask, outcome: Outcome, acted: bool) -> None:
        record_thought(self._store, ask, Thought(outcome, Report("mock", None, mock=True, acted=acted)), {}, 0.5)

    def die(self) -> None:
        die(self._store, self._id)

    def pass_time(self) -> None:
        change(self._store, "UPDATE sagas SET due_at = now(), hint_at = now() WHERE due_at IS NOT NULL")

    def saga(self) -> Saga:
        return saga_of(self._store, self._id)

    def is_due(self) -> bool:
        return is_due(self._store, self._id)

    def pauses(self) -> dict[UUID, Pause]:
        """Of this saga: others are in the same database."""
        with self._store.reading() as conn:
            found = [pause_of(row) for row in conn.execute(select(pauses)).mappings()]
        return {each.id: each for each in found if each.context and each.context["trace_id"] == self._id.hex}

    def approve(self, watch_id: UUID, arguments: dict[str, Any] | None) -> None:
        decide_pause(self._store, REVIEWER, ids.text(ids.WATCH, watch_id), approve(arguments=arguments))

    def reject(self, watch_id: UUID) -> None:
        decide_pause(self._store, REVIEWER, ids.text(ids.WATCH, watch_id), reject())

    def expire(self, watch_id: UUID) -> None:
        late = "UPDATE pauses SET expires_at = now() - interval '1 s' WHERE id = :id AND status = 'pending'"
        change(self._store, late, id=watch_id)
        expire_due(self._store)

    def rerun(self, step: Step) -> None:
        rerun_step(self._store, REVIEWER, ref(self._id, step), "again", None)

    def cancel(self) -> None:
        cancel_saga(self._store, OPERATOR, self._id, None)

    def resolve(self, step: Step, done: bool) -> None:
        resolve(self._store, OPERATOR, ref(self._id, step), done=done, output=None, evidence="looked")

    def retry(self, step: Step, force: bool, allow_destructive: bool) -> str:
        act = retry_step if step.compensates is None else retry_compensation
        wish = Retry(force, allow_destructive)
        return str(act(self._store, OPERATOR, ref(self._id, step), wish)["status"])


def _manifest(id_: str, spec: Spec) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if spec.hitl:
        more |= {"hitl": True, "hitl_timeout_seconds": 3600, "hitl_on_timeout": str(spec.on_timeout)}
    if not spec.runs:
        more["when"] = {"cel": "input.n == 2"}
    more["policy"] = {"name": "p", "cel": f"input.n == {1 if spec.allowed else 2}"}
    if spec.thinks:
        more |= {"tools": {"allow": ["look"]}} if spec.acts else {}
        return reason(id_, undo=spec.undoable, **more)
    if spec.idempotent is not None:
        more["idempotent"] = spec.idempotent
    return step(id_, undo=spec.undoable, **more)


class PostgresMachine(SagaMachine):
    store: ClassVar[Store]

    def open(self, specs: list[Spec]) -> OnPostgres:
        return OnPostgres(self.store, specs)


class TestSagaMachine(PostgresMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )

    @pytest.fixture(autouse=True)
    def _on_a_database(self, store: Store) -> Iterator[None]:
        PostgresMachine.store = store
        yield
        del PostgresMachine.store
