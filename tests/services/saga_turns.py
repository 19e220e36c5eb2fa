"""Turns of sagas, each in a transaction of its own."""

from typing import Any
from uuid import UUID

from services.kernel.unit_of_work import Database
from services.sagas import engine
from services.sagas.turns import Taken, Turn, take_turns
from services.sagas.work import Work


def take(database: Database, turn: Turn) -> Work | None:
    (taken,) = take_turns(database, lambda: [turn])
    assert isinstance(taken, Taken), "a turn that is alone raises"
    return taken.work


def advance(database: Database, trace_id: UUID, *more: Any) -> Work | None:
    return take(database, engine.advance(trace_id, *more))


def record(database: Database, *about: Any) -> Work | None:
    return take(database, engine.record(*about))


def record_look_up(database: Database, *about: Any) -> Work | None:
    return take(database, engine.record_look_up(*about))


def record_model_result(database: Database, *about: Any) -> None:
    take(database, engine.record_model_result(*about))
