"""Deploying, on a real database: versions that do not change, workers that must be there, races."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from domain.identity.access import Role
from domain.manifests.host_access import HostRules
from domain.values import ids
from domain.values.errors import Forbidden, InvalidManifest, NotFound, VersionExists
from models.definitions import definitions
from services.identity.keys import NewKey, create_key
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.manifests.definitions import (
    CACHED,
    DefinitionFilter,
    _cache,
    active_saga,
    active_worker,
    deploy,
    get_definition,
    list_definitions,
    load_saga,
    load_worker,
)
from tests.services.world import ADMIN, at_once, someone

WORKER: dict[str, Any] = {
    "kind": "worker",
    "name": "w",
    "version": "1",
    "tool_sources": [{"name": "t", "transport": "stdio", "command": "x"}],
}
STEP: dict[str, Any] = {"id": "a", "kind": "commit", "worker": "w", "worker_version": "1", "tools": {"allow": ["t"]}}
SAGA: dict[str, Any] = {"kind": "saga", "name": "s", "version": "1", "steps": [STEP]}


def _deployed(database: Database, document: dict[str, Any], replace: bool = False) -> UUID:
    id_ = ids.parse(ids.DEFINITION, deploy(database, ADMIN, document, replace)[0])
    assert id_ is not None
    return id_


def _places(database: Database, document: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        deploy(database, ADMIN, document, replace=False)
    return [field_error.path for field_error in caught.value.field_errors]


def test_the_same_content_is_deployed_once(database: Database) -> None:
    """However its fields are ordered."""
    first = _deployed(database, WORKER)
    assert _deployed(database, dict(reversed(WORKER.items()))) == first
    assert _deployed(database, deepcopy(WORKER), replace=True) == first
    assert len(list_definitions(database, ADMIN, "worker", DefinitionFilter(), Page()).items) == 1


def test_other_content_replaces_the_old_only_on_request(database: Database) -> None:
    first = _deployed(database, WORKER)
    other = WORKER | {"description": "other"}
    with pytest.raises(VersionExists):
        deploy(database, ADMIN, other, replace=False)
    second = _deployed(database, other, replace=True)
    with database.reading() as conn:
        assert active_worker(conn, "default", "w", "1") == second
        assert load_worker(conn, first).description == ""
        assert load_worker(conn, second).description == "other"
    found = list_definitions(database, ADMIN, "worker", DefinitionFilter(is_active=False), Page()).items
    assert [item["id"] for item in found] == [ids.text(ids.DEFINITION, first)]
    # Replaced content may come back, as a new row.
    assert _deployed(database, WORKER, replace=True) not in (first, second)


def test_versions_names_namespaces_and_kinds_are_apart(database: Database) -> None:
    found = {
        _deployed(database, WORKER | change) for change in ({}, {"version": "2"}, {"name": "v"}, {"namespace": "n"})
    }
    found.add(_deployed(database, SAGA | {"name": "w"}))
    assert len(found) == 5


def test_a_saga_needs_workers_that_can_do_its_steps(database: Database) -> None:
    undo = {"worker": "u", "worker_version": "1", "tools": ["t"]}
    reason = {"id": "r", "kind": "reason", "worker": "w", "worker_version": "1", "prompt": {"inline": "x"}}
    saga = SAGA | {"steps": [STEP | {"compensation": undo}, reason]}
    assert _places(database, saga) == ["steps[0].worker", "steps[0].compensation.worker", "steps[1].worker"]
    _deployed(database, WORKER | {"namespace": "elsewhere"})
    _deployed(database, WORKER | {"version": "2"})
    assert len(_places(database, saga)) == 3
    _deployed(database, WORKER | {"tool_sources": []})
    _deployed(database, WORKER | {"name": "u"})
    # No tools for the step, no model for the thinking.
    assert _places(database, saga) == ["steps[0].worker", "steps[1].worker"]
    _deployed(database, WORKER | {"provider": "mock"}, replace=True)
    _deployed(database, saga)


def test_what_is_deployed_at_once_is_deployed_once(database: Database) -> None:
    outcomes = at_once([lambda: _deployed(database, WORKER)] * 8)
    assert len(set(outcomes)) == 1


def test_of_different_contents_at_once_one_is_active(database: Database) -> None:
    contents = [WORKER | {"description": f"d{n}"} for n in range(8)]
    made = at_once([partial(_deployed, database, content, True) for content in contents])
    assert len(set(made)) == 8
    assert len(list_definitions(database, ADMIN, "worker", DefinitionFilter(is_active=True), Page()).items) == 1


def test_namespaces_that_a_key_cannot_see(database: Database) -> None:
    id_ = ids.text(ids.DEFINITION, _deployed(database, WORKER))
    other = someone(Role.ADMIN, "other")
    with pytest.raises(Forbidden):
        deploy(database, other, WORKER, replace=True)
    with pytest.raises(NotFound):
        get_definition(database, other, id_)
    assert list_definitions(database, other, "worker", DefinitionFilter(), Page()).items == []
    assert get_definition(database, someone(Role.AGENT), id_)["content"] == WORKER
    for unknown in ("def_x", "", ids.text(ids.DEFINITION, UUID(int=0))):
        with pytest.raises(NotFound):
            get_definition(database, ADMIN, unknown)


def test_what_is_loaded_is_remembered(database: Database) -> None:
    """Its content never changes; so what a process remembers is never old."""
    _deployed(database, WORKER)
    id_ = _deployed(database, SAGA)
    with database.reading() as conn:
        first = load_saga(conn, id_)
        assert load_saga(conn, id_) is first
        assert active_saga(conn, "default", "s", "1") == id_
        assert active_saga(conn, "default", "s", "2") is None
        with pytest.raises(LookupError):
            load_saga(conn, UUID(int=1))
    made = [_deployed(database, WORKER | {"version": f"v{n}"}) for n in range(CACHED)]
    with database.reading() as conn:
        for worker in made:
            load_worker(conn, worker)
        assert load_saga(conn, id_) is not first
        assert load_saga(conn, id_) == first


def test_the_database_keeps_one_active_row_of_a_version(database: Database) -> None:
    id_ = _deployed(database, WORKER)
    with database.reading() as conn:
        row = dict(conn.execute(select(definitions).where(definitions.c.id == id_)).mappings().one())
    with pytest.raises(IntegrityError, match="uq_definitions_active"), database.transaction() as uow:
        uow.conn.execute(definitions.insert().values(row | {"id": uow.new_id()}))
    with pytest.raises(IntegrityError, match="ck_definitions_kind"), database.transaction() as uow:
        uow.conn.execute(text("UPDATE definitions SET kind = 'other'"))


def test_what_tool_sources_use_of_the_machine_is_for_who_may_have_it(database: Database) -> None:
    scoped = someone(Role.ADMIN, "default", id_="key_scoped")
    web = {"name": "m", "transport": "sse", "url": "http://x/sse", "headers": {"A": "${ENV:TOKEN}"}}
    both = WORKER | {"tool_sources": [*WORKER["tool_sources"], web]}
    with pytest.raises(InvalidManifest) as caught:
        deploy(database, scoped, both, replace=False)
    assert [field_error.path for field_error in caught.value.field_errors] == [
        "tool_sources[0].command",
        "tool_sources[1].headers.A",
    ]
    own = WORKER | {"tool_sources": [web | {"headers": {"A": "${ENV:DATABASE_URL}"}}]}
    assert _places(database, own) == ["tool_sources[0].headers.A"]
    rules = HostRules(commands=(("x",),), names=frozenset({"TOKEN"}))
    deploy(database, scoped, both, False, rules)


def test_who_deployed_a_worker_tells_what_its_tools_may_use(database: Database) -> None:
    """This includes a worker that an older release deployed, and the same content deployed again by another admin."""
    listed = HostRules(commands=(("x",),))
    scoped = someone(Role.ADMIN, "default", id_="key_scoped")
    first = ids.parse(ids.DEFINITION, deploy(database, scoped, WORKER, False, listed)[0])
    assert first is not None
    assert deploy(database, scoped, WORKER, False, listed)[0] == ids.text(ids.DEFINITION, first)
    second = _deployed(database, WORKER)
    assert second != first
    assert _deployed(database, WORKER) == second
    key = NewKey("k", Role.ADMIN, ("*",))
    made = [
        create_key(database, ADMIN, replace(key, namespaces=names), None)[0]["id"] for names in (("*",), ("default",))
    ]
    with database.transaction() as uow:
        assert [load_worker(uow.conn, id_).tool_sources[0].scoped for id_ in (first, second)] == [True, False]
        for by, expected in ((made[0], False), (made[1], True), ("key_gone", True), ("anonymous", False)):
            _cache.clear()
            uow.conn.execute(update(definitions).values(scoped=None, created_by=by))
            assert load_worker(uow.conn, first).tool_sources[0].scoped is expected, by
