"""Use cases of definitions: deploy, list and read manifests, and load them to run."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from domain.identity.access import ALL_NAMESPACES, Principal
from domain.manifests import manifest
from domain.manifests.definition import DefinitionGone, Reasoning, SagaDefinition, StepDefinition, WorkerDefinition
from domain.manifests.host_access import HostRules
from domain.pauses import approval_policy
from domain.pauses.approval_policy import ApprovalPolicy
from domain.pauses.policy_floor import PolicyFloor, combined, expiry_errors, on_timeout_errors, review_errors
from domain.pauses.serialization import instant
from domain.pauses.votes import EligibleVoters, unmet
from domain.values import canonical_json, ids
from domain.values.errors import FieldError, Forbidden, InvalidManifest, NotFound, NotUnderstood, VersionExists
from models.definitions import definitions
from models.keys import api_keys
from models.people import users
from services.kernel.pagination import Page, Slice, newest_first
from services.kernel.tenancy import sees
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.namespaces import read_floor
from services.pauses.voters import members_of

# Parsed definitions that a process caches. They never change. One takes some kilobytes, at most a few MiB.
CACHED = 256
# All columns but `content`, which may be large.
_HEAD = [column for column in definitions.c if column.name not in ("content", "digest", "scoped")]


@dataclass(frozen=True, slots=True)
class DefinitionFilter:
    namespace: str | None = None
    name: str | None = None
    is_active: bool | None = None


def deploy(
    database: Database, by: Principal, document: dict[str, Any], replace: bool, rules: HostRules | None = None
) -> tuple[str, str]:
    """Deploy a frozen manifest. Return the definition's id and a sentence that says what was done.

    `rules`: what its tools may use on this host.

    Raise `InvalidManifest`, `Forbidden` for the namespace, or `VersionExists` if the version has other content and
    `replace` is False. Running sagas keep the definition that they started with.
    """
    definition = manifest.parse(document)
    if not by.sees(definition.namespace):
        raise Forbidden(f"this key has no access to the namespace {definition.namespace!r}")
    if found := list(_host_errors(definition, rules or HostRules(), scoped=not by.sees_all)):
        raise InvalidManifest(found)
    kind = "saga" if isinstance(definition, SagaDefinition) else "worker"
    digest = canonical_json.digest(document)
    what = f"{kind} {definition.name} {definition.version}"
    with database.transaction() as uow:
        _lock_version(uow, kind, definition)
        known = _active(uow.conn, kind, definition.namespace, definition.name, definition.version)
        same = known is not None and bytes(known["digest"]) == digest
        # The same content from an admin of all namespaces is a new definition if the old one was restricted.
        if known is not None and same and not (by.sees_all and _is_scoped(uow.conn, known)):
            return ids.text(ids.DEFINITION, known["id"]), f"{what} is already deployed with the same content"
        if known is not None and not same and not replace:
            raise VersionExists
        if isinstance(definition, SagaDefinition) and (found := list(_field_errors(uow, definition))):
            raise InvalidManifest(found)
        replaced = None
        if known is not None:
            ended = update(definitions).where(definitions.c.id == known["id"]).returning(definitions.c.content)
            replaced = uow.conn.execute(ended.values(is_active=False, updated_at=uow.now)).scalar_one()
        id_ = uow.new_id()
        row = {"id": id_, "kind": kind, "is_active": True, "content": document, "digest": digest, "created_by": by.id}
        row["scoped"] = not by.sees_all
        row |= {name: getattr(definition, name) for name in ("namespace", "name", "version")}
        uow.conn.execute(insert(definitions).values(row | {"created_at": uow.now, "updated_at": uow.now}))
        type_ = "definition.deployed" if known is None else "definition.replaced"
        about = {"kind": kind, "name": definition.name, "version": definition.version}
        subject = ids.text(ids.DEFINITION, id_)
        uow.record(by, definition.namespace, type_, subject, before=replaced, after=document, **about)
    done = "replaced; running sagas keep the version that they started with" if known is not None else "deployed"
    return ids.text(ids.DEFINITION, id_), f"{what} is {done}"


def list_definitions(
    database: Database, by: Principal, kind: str, wanted: DefinitionFilter, page: Page
) -> Slice[dict[str, Any]]:
    """List definitions, the newest first, including replaced ones."""
    columns = definitions.c
    query = select(*_HEAD).where(columns.kind == kind, sees(by, definitions))
    for name in ("namespace", "name", "is_active"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(columns[name] == value)
    return newest_first(database, query, columns.id, page, _document)


def get_definition(database: Database, by: Principal, definition_id: str, kind: str | None = None) -> dict[str, Any]:
    """Return a definition with its frozen content. `kind`: None accepts both."""
    id_ = ids.parse(ids.DEFINITION, definition_id)
    with database.reading() as conn:
        query = select(*_HEAD, definitions.c.content).where(definitions.c.id == id_, sees(by, definitions))
        row = conn.execute(query).mappings().one_or_none()
    if row is None or kind not in (None, row["kind"]):
        raise NotFound(
            f"there is no {kind or ''} definition {definition_id[:64]!r} that this key may see".replace("  ", " ")
        )
    return _document(row) | {"created_by": row["created_by"], "content": row["content"]}


def active_worker(conn: Connection, namespace: str, name: str, version: str) -> UUID | None:
    """Return the id of the worker that a saga started now would use."""
    row = _active(conn, "worker", namespace, name, version)
    return None if row is None else row["id"]


def active_saga(conn: Connection, namespace: str, name: str, version: str) -> UUID | None:
    row = _active(conn, "saga", namespace, name, version)
    return None if row is None else row["id"]


def load_saga(conn: Connection, definition_id: UUID) -> SagaDefinition:
    """Load a saga to run it. Raise `NotUnderstood` if a newer release deployed it with unknown fields."""
    return _understood(shown_saga(conn, definition_id))


def shown_saga(conn: Connection, definition_id: UUID) -> SagaDefinition:
    """Load a saga to show it, as far as this version understands it."""
    found = _load(conn, definition_id)
    assert isinstance(found, SagaDefinition), f"{definition_id} is a worker"
    return found


def load_sagas(conn: Connection, ids_: Set[UUID]) -> dict[UUID, SagaDefinition]:
    """Load sagas to show them, by one query for those that are not cached. Leave out any that cannot be shown."""
    with _lock:
        known = {id_: _cache[id_] for id_ in ids_ if id_ in _cache}
    query = select(*_LOADED).where(definitions.c.id.in_(ids_ - known.keys()))
    for row in conn.execute(query).mappings().all() if known.keys() != ids_ else ():
        with suppress(NotUnderstood):
            known[row["id"]] = _parsed(conn, row)
    return {id_: found for id_, found in known.items() if isinstance(found, SagaDefinition)}


def load_worker(conn: Connection, definition_id: UUID) -> WorkerDefinition:
    found = _load(conn, definition_id)
    assert isinstance(found, WorkerDefinition), f"{definition_id} is a saga"
    return _understood(found)


_Definition = TypeVar("_Definition", SagaDefinition, WorkerDefinition)


def _understood(found: _Definition) -> _Definition:
    if found.unreadable:
        raise NotUnderstood(
            f"this version does not understand {', '.join(found.unreadable)[:500]} of the manifest {found.name!r}"
            f" {found.version!r}, which a newer release has deployed: upgrade, or deploy another version"
        )
    return found


_LOADED = [definitions.c[name] for name in ("id", "content", "scoped", "created_by")]
_cache: OrderedDict[UUID, SagaDefinition | WorkerDefinition] = OrderedDict()
_lock = threading.Lock()


def _load(conn: Connection, id_: UUID) -> SagaDefinition | WorkerDefinition:
    """Load a definition. Raise `DefinitionGone` if it was deleted, which no row with its id should allow."""
    with _lock:
        if id_ in _cache:
            _cache.move_to_end(id_)
            return _cache[id_]
    row = conn.execute(select(*_LOADED).where(definitions.c.id == id_)).mappings().one_or_none()
    if row is None:
        raise DefinitionGone(f"there is no definition {ids.text(ids.DEFINITION, id_)} any more")
    return _parsed(conn, row)


def _parsed(conn: Connection, row: RowMapping) -> SagaDefinition | WorkerDefinition:
    id_, found = row["id"], manifest.stored(row["content"])
    if isinstance(found, WorkerDefinition) and found.tool_sources and _is_scoped(conn, row):
        found = _as_scoped(found)
    with _lock:
        _cache[id_] = found
        if len(_cache) > CACHED:
            _cache.popitem(last=False)
    return found


def _is_scoped(conn: Connection, row: RowMapping) -> bool:
    """Return whether an admin of only some namespaces deployed it."""
    if row["scoped"] is not None:
        return bool(row["scoped"])
    # An older release did not store this, so its creator decides. `anonymous` is local and sees all namespaces.
    by: str = row["created_by"]
    if (id_ := ids.parse(ids.KEY, by)) is not None:
        query = select(api_keys.c.namespaces).where(api_keys.c.id == id_)
    else:
        query = select(users.c.namespaces).where(users.c.id == ids.parse(ids.USER, by))
    return by != "anonymous" and ALL_NAMESPACES not in (conn.execute(query).scalar_one_or_none() or ())


def _as_scoped(worker: WorkerDefinition) -> WorkerDefinition:
    return replace(worker, tool_sources=tuple(replace(source, scoped=True) for source in worker.tool_sources))


def _host_errors(
    definition: SagaDefinition | WorkerDefinition, rules: HostRules, *, scoped: bool
) -> Iterator[FieldError]:
    if isinstance(definition, WorkerDefinition):
        sources = (_as_scoped(definition) if scoped else definition).tool_sources
        for index, source in enumerate(sources):
            yield from (
                replace(field_error, path=f"tool_sources[{index}].{field_error.path}")
                for field_error in rules.field_errors(source)
            )


def _lock_version(uow: UnitOfWork, kind: str, definition: SagaDefinition | WorkerDefinition) -> None:
    """Serialise deployments of one version until the transaction ends."""
    what = f"{kind} {definition.namespace} {definition.name} {definition.version}"
    uow.take_advisory_lock(what)


def _active(conn: Connection, kind: str, namespace: str, name: str, version: str) -> RowMapping | None:
    wanted = {"kind": kind, "namespace": namespace, "name": name, "version": version}
    return conn.execute(_ACTIVE, wanted).mappings().one_or_none()


# Built once: building a statement takes longer than running it.
_ACTIVE = (
    select(definitions.c.id, definitions.c.digest, definitions.c.scoped, definitions.c.created_by)
    .where(
        *(definitions.c[name] == bindparam(name) for name in ("kind", "namespace", "name", "version")),
        definitions.c.is_active,
    )
    .execution_options(prepared=True)
)


def _field_errors(uow: UnitOfWork, saga: SagaDefinition) -> Iterator[FieldError]:
    """Yield the errors that only the database can show."""
    yield from _worker_errors(uow.conn, saga)
    floor = read_floor(uow, saga.namespace)
    policies: dict[int, ApprovalPolicy] = {}
    for index, step in enumerate(saga.steps):
        if not step.hitl:
            continue
        own = None if step.review is None else approval_policy.parse(step.review)
        yield from _floor_errors(floor, step, own, uow.now, f"steps[{index}]")
        policies[index] = combined(floor.review, own)
    members = () if all(policy.plain for policy in policies.values()) else members_of(uow, saga.namespace)
    for index, policy in policies.items():
        if not policy.plain:
            for field_error in unmet(EligibleVoters(policy, members), f"steps[{index}].review"):
                yield FieldError(field_error.path, f"can never be met in {saga.namespace!r}: {field_error.message}")


def _floor_errors(
    floor: PolicyFloor, step: StepDefinition, own: ApprovalPolicy | None, now: datetime, place: str
) -> Iterator[FieldError]:
    """Yield errors of a held step that requires less than its namespace does."""
    yield from review_errors(floor, own, f"{place}.review")
    yield from on_timeout_errors(floor, step.hitl_on_timeout, f"{place}.hitl_on_timeout")
    seconds = step.hitl_timeout_seconds
    expires = None if seconds is None else timedelta(seconds=seconds)
    yield from expiry_errors(floor, expires, now, f"{place}.hitl_timeout_seconds")


def _worker_errors(conn: Connection, saga: SagaDefinition) -> Iterator[FieldError]:
    """Yield errors of steps whose worker is missing or cannot run them."""
    for index, step in enumerate(saga.steps):
        place = f"steps[{index}]"
        worker = _named_worker(conn, saga.namespace, step.worker, step.worker_version)
        yield from _unfit(place, saga.namespace, worker, step)
        if step.undo is not None:
            worker = _named_worker(conn, saga.namespace, step.undo.worker, step.undo.worker_version)
            place += ".compensation"
            yield from _tool_errors(place, saga.namespace, worker, step.undo.tools)
            yield from _model_errors(place, worker, step.undo.reasoning)


def _unfit(place: str, namespace: str, worker: WorkerDefinition | None, step: StepDefinition) -> Iterator[FieldError]:
    tools = step.reasoning.tools if step.reasoning is not None else (step.tool,)
    yield from _tool_errors(place, namespace, worker, tuple(tool for tool in tools if tool is not None))
    yield from _model_errors(place, worker, step.reasoning)


def _model_errors(place: str, worker: WorkerDefinition | None, reasoning: Reasoning | None) -> Iterator[FieldError]:
    if reasoning is not None and worker is not None and worker.provider is None:
        yield FieldError(
            f"{place}.worker", "has no provider, but reason steps and compensations with several tools need a model"
        )


def _tool_errors(
    place: str, namespace: str, worker: WorkerDefinition | None, tools: tuple[str, ...]
) -> Iterator[FieldError]:
    if worker is None:
        message = f"no such worker is deployed in namespace {namespace!r} in this version: deploy it first"
        yield FieldError(f"{place}.worker", message)
    elif tools and not worker.tool_sources:
        yield FieldError(f"{place}.worker", f"has no tool_sources that the tool {tools[0]!r} could come from")


def _named_worker(conn: Connection, namespace: str, name: str, version: str) -> WorkerDefinition | None:
    id_ = active_worker(conn, namespace, name, version)
    return None if id_ is None else load_worker(conn, id_)


def _document(row: RowMapping) -> dict[str, Any]:
    return {
        "id": ids.text(ids.DEFINITION, row["id"]),
        "kind": row["kind"],
        "namespace": row["namespace"],
        "name": row["name"],
        "version": row["version"],
        "is_active": row["is_active"],
        "created_at": instant(row["created_at"]),
        "updated_at": instant(row["updated_at"]),
    }
