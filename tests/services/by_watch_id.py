"""Use cases of pauses, called with the id as a caller writes it: the views parse it in the same way."""

from typing import Any

from domain.identity.access import Principal
from domain.pauses.consumption import ExecutionStatus
from domain.pauses.pause import Approve, Cancel, Pause, Reject
from domain.pauses.serialization import pause_id
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses import execution, lifecycle
from services.reviews import claims, decisions


def get_pause(database: Database, by: Principal, watch_id: str) -> Pause:
    return lifecycle.get_pause(database, by, pause_id(watch_id))


def lock_pause(uow: UnitOfWork, by: Principal, watch_id: str) -> Pause:
    return lifecycle.lock_pause(uow, by, pause_id(watch_id))


def decide_pause(
    database: Database, by: Principal, watch_id: str, command: Approve | Reject | Cancel
) -> dict[str, Any]:
    return decisions.decide_pause(database, by, pause_id(watch_id), command)


def decision_on(watch_id: str, command: Approve | Reject) -> decisions.DecisionRequest:
    return decisions.DecisionRequest(pause_id(watch_id), command)


def claim(database: Database, by: Principal, watch_id: str, take_over: bool = False) -> dict[str, Any]:
    return claims.claim(database, by, pause_id(watch_id), take_over)


def unclaim(database: Database, by: Principal, watch_id: str) -> dict[str, Any]:
    return claims.unclaim(database, by, pause_id(watch_id))


def consume(
    database: Database, by: Principal, watch_id: str, key: str = "run-0001", digest: str | None = None
) -> execution.Execution:
    return execution.consume_pause(database, by, pause_id(watch_id), key, digest)


def report(database: Database, by: Principal, watch_id: str, status: str, **more: Any) -> execution.Execution:
    outcome = execution.OutcomeReport(ExecutionStatus(status), **more)
    return execution.report_outcome(database, by, pause_id(watch_id), outcome)
