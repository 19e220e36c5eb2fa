"""The laws of sagas over the real services on PostgreSQL; few examples, as each takes a second."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import select

from domain.pauses.pause import Pause
from domain.sagas.outcome import Outcome
from domain.sagas.reasoning import ModelResult, RunReport
from domain.sagas.saga import Saga
from domain.sagas.step import Step
from domain.values import ids
from models.pauses import pause_of, pauses
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import expire_due
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import cancel_saga
from services.sagas.recovery import Retry, resolve, retry_compensation, retry_step
from services.sagas.work import ModelRequest, ToolCall, Work
from tests.domain.saga_fates import Spec
from tests.domain.saga_laws import SagaMachine
from tests.services.by_watch_id import decide_pause
from tests.services.model_world import reason
from tests.services.saga_turns import advance, record, record_model_result
from tests.services.saga_world import die, is_due, looked_up, ref, saga_of, start, step
from tests.services.world import OPERATOR, REVIEWER, approve, change, let_time_approve, reject


class OnPostgres:
    def __init__(self, database: Database, specs: list[Spec]) -> None:
        self._database = database
        let_time_approve(database)
        self._id = start(database, *(_manifest(chr(97 + place), spec) for place, spec in enumerate(specs)))

    def advance(self) -> Work | None:
        return looked_up(self._database, advance(self._database, self._id))

    def record(self, call: ToolCall, outcome: Outcome) -> Work | None:
        return looked_up(self._database, record(self._database, call, outcome, {}, 0.5))

    def record_model_result(self, ask: ModelRequest, outcome: Outcome, acted: bool) -> None:
        record_model_result(
            self._database, ask, ModelResult(outcome, RunReport("mock", None, mock=True, acted=acted)), {}, 0.5
        )

    def die(self) -> None:
        die(self._database, self._id)

    def pass_time(self) -> None:
        change(self._database, "UPDATE sagas SET due_at = now(), hint_at = now() WHERE due_at IS NOT NULL")

    def saga(self) -> Saga:
        return saga_of(self._database, self._id)

    def is_due(self) -> bool:
        return is_due(self._database, self._id)

    def pauses(self) -> dict[UUID, Pause]:
        """Return this saga's pauses: other sagas share the database."""
        with self._database.reading() as conn:
            found = [pause_of(row) for row in conn.execute(select(pauses)).mappings()]
        return {each.id: each for each in found if each.context and each.context["trace_id"] == self._id.hex}

    def approve(self, watch_id: UUID, arguments: dict[str, Any] | None) -> None:
        decide_pause(self._database, REVIEWER, ids.text(ids.WATCH, watch_id), approve(arguments=arguments))

    def reject(self, watch_id: UUID) -> None:
        decide_pause(self._database, REVIEWER, ids.text(ids.WATCH, watch_id), reject())

    def expire(self, watch_id: UUID) -> None:
        late = "UPDATE pauses SET expires_at = now() - interval '1 s' WHERE id = :id AND status = 'pending'"
        change(self._database, late, id=watch_id)
        expire_due(self._database)

    def rerun(self, step: Step) -> None:
        rerun_step(self._database, REVIEWER, ref(self._id, step), "again", None)

    def cancel(self) -> None:
        cancel_saga(self._database, OPERATOR, self._id, None)

    def resolve(self, step: Step, done: bool) -> None:
        resolve(self._database, OPERATOR, ref(self._id, step), done=done, output=None, evidence="looked")

    def retry(self, step: Step, force: bool, allow_destructive: bool) -> str:
        act = retry_step if step.compensates is None else retry_compensation
        request = Retry(force, allow_destructive)
        return str(act(self._database, OPERATOR, ref(self._id, step), request)["status"])


def _manifest(id_: str, spec: Spec) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if spec.hitl:
        more |= {"hitl": True, "hitl_timeout_seconds": 3600, "hitl_on_timeout": str(spec.on_timeout)}
    if not spec.runs:
        more["when"] = {"cel": "input.n == 2"}
    more["policy"] = {"name": "p", "cel": f"input.n == {1 if spec.allowed else 2}"}
    if spec.reasons:
        more |= {"tools": {"allow": ["look"]}} if spec.acts else {}
        return reason(id_, undo=spec.undoable, **more)
    if spec.idempotent is not None:
        more["idempotent"] = spec.idempotent
    return step(id_, undo=spec.undoable, **more)


class PostgresMachine(SagaMachine):
    database: ClassVar[Database]

    def open(self, specs: list[Spec]) -> OnPostgres:
        return OnPostgres(self.database, specs)


class TestSagaMachine(PostgresMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )

    @pytest.fixture(autouse=True)
    def _on_a_database(self, database: Database) -> Iterator[None]:
        PostgresMachine.database = database
        yield
        del PostgresMachine.database
