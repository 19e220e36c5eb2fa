"""API keys: shown once, stored as a hash, good until they expire or are revoked."""

from datetime import timedelta

import pytest

from domain.identity.access import Principal, Role
from domain.values.errors import Forbidden, Invalid, NotFound
from services.identity.keys import (
    OVERLAP,
    SHOWN,
    KeyNotUsable,
    NewKey,
    authenticate,
    create_key,
    ensure_first_keys,
    list_keys,
    record_door,
    revoke_key,
    rotate_key,
)
from services.identity.tokens import hash_of
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.world import ADMIN, at_once, cancel, change, idempotency, linked, one, post, rows, someone

NEW = NewKey("deploy bot", Role.AGENT, ("default", "ops"))


def a_key(database: Database, new: NewKey = NEW, by: Principal = ADMIN) -> tuple[str, str]:
    """The key and its id."""
    made, _ = create_key(database, by, new, None)
    return made["key"], made["id"]


def test_only_a_hash_is_stored(database: Database) -> None:
    """No column of any table holds more of it than its first letters."""
    made, _ = create_key(database, ADMIN, NEW, idempotency("key-0001"))
    key = made["key"]
    assert key.startswith("hitl_")
    assert len(key) >= 48
    for table in ("api_keys", "idempotency_keys"):
        stored = " ".join(str(row) for row in rows(database, f"SELECT t::text FROM {table} t"))
        assert stored
        assert key not in stored
        assert key[SHOWN:] not in stored
    assert key.startswith(made["prefix"])
    assert len(made["prefix"]) == SHOWN
    again, replayed = create_key(database, ADMIN, NEW, idempotency("key-0001"))
    assert (again["key"], replayed) == (None, True)


def test_recognised(database: Database) -> None:
    """As who it was made for."""
    key, id_ = a_key(database)
    assert authenticate(database, hash_of(key)) == Principal(id_, "deploy bot", Role.AGENT, ("default", "ops"))
    for wrong in (key + "x", key[:-1], key.upper(), "", "hitl_", "\ud800"):
        assert authenticate(database, hash_of(wrong)) is None


def test_expired(database: Database) -> None:
    """A key expires by the database's clock, and no key can be created that has expired already."""
    with database.transaction() as uow:
        now = uow.now
    key, _ = a_key(database, NewKey("x", Role.AGENT, ("default",), now + timedelta(hours=1)))
    assert authenticate(database, hash_of(key)) is not None
    change(database, "UPDATE api_keys SET expires_at = clock_timestamp()")
    assert authenticate(database, hash_of(key)) is None
    with pytest.raises(Invalid) as caught:
        a_key(database, NewKey("x", Role.AGENT, ("default",), now))
    assert [field_error.path for field_error in caught.value.field_errors] == ["expires_at"]


def test_revoked(database: Database) -> None:
    """A revocation is final, and its first time is shown."""
    key, id_ = a_key(database)
    first = revoke_key(database, ADMIN, id_)
    assert first["revoked_at"] is not None
    assert authenticate(database, hash_of(key)) is None
    assert revoke_key(database, ADMIN, id_) == first


def test_last_used_at_is_written_once_a_minute(database: Database) -> None:
    """A busy key does not cost a write for each request."""
    key, _ = a_key(database)

    def used() -> object:
        assert authenticate(database, hash_of(key)) is not None
        return one(database, "SELECT last_used_at FROM api_keys")

    first = used()
    assert first is not None
    assert used() == first
    change(database, "UPDATE api_keys SET last_used_at = last_used_at - interval '59 s'")
    assert used() < first  # type: ignore[operator]
    change(database, "UPDATE api_keys SET last_used_at = last_used_at - interval '2 s'")
    assert used() > first  # type: ignore[operator]


def test_an_admin_of_some_namespaces_manages_the_keys_within(database: Database) -> None:
    """A key that reaches further is not there for them, and they cannot make one."""
    narrow = someone(Role.ADMIN, "default")
    _, mine = a_key(database, NewKey("mine", Role.ADMIN, ("default",)), narrow)
    wider = [
        a_key(database, NewKey("wide", Role.AGENT, names))[1] for names in (("other",), ("default", "other"), ("*",))
    ]
    assert [item["id"] for item in list_keys(database, narrow, Page()).items] == [mine]
    for id_ in [*wider, "key_" + "0" * 32, "nonsense"]:
        with pytest.raises(NotFound):
            revoke_key(database, narrow, id_)
    for namespaces in (("other",), ("*",)):
        with pytest.raises(Forbidden):
            a_key(database, NewKey("x", Role.AGENT, namespaces), narrow)
    assert one(database, "SELECT count(*) FROM api_keys WHERE revoked_at IS NOT NULL") == 0


def test_pages(database: Database) -> None:
    """Newest first, each once, and never with the key."""
    made = [a_key(database)[1] for _ in range(4)][::-1]
    first = list_keys(database, ADMIN, Page(3))
    rest = list_keys(database, ADMIN, Page(3, after=first.next_after))
    assert [item["id"] for item in [*first.items, *rest.items]] == made
    assert [item["id"] for item in list_keys(database, ADMIN, Page(2, 1)).items] == made[1:3]
    assert all("key" not in item and "hash" not in item for item in first.items)


def test_first_keys(database: Database) -> None:
    """There is one key for every role. Valid ones are kept, and the others are created."""
    keys = ensure_first_keys(database, {})
    assert set(keys) == set(Role)
    for role, key in keys.items():
        found = authenticate(database, hash_of(key))
        assert found is not None
        assert (found.role, found.namespaces) == (role, ("*",))
    assert ensure_first_keys(database, keys) == keys
    reviewer = authenticate(database, hash_of(keys[Role.REVIEWER]))
    assert reviewer is not None
    revoke_key(database, ADMIN, reviewer.id)
    known = {**keys, Role.ADMIN: keys[Role.AGENT], Role.OPERATOR: ""}
    again = ensure_first_keys(database, known)
    assert again[Role.AGENT] == keys[Role.AGENT]
    fresh = {Role.REVIEWER, Role.ADMIN, Role.OPERATOR}
    assert not {again[role] for role in fresh} & set(keys.values())
    for role in fresh:
        found = authenticate(database, hash_of(again[role]))
        assert found is not None
        assert found.role is role


def rotated(database: Database, id_: str, overlap: timedelta = OVERLAP) -> str:
    made, _ = rotate_key(database, ADMIN, id_, overlap, None)
    return str(made["key"])


def test_a_rotated_key_is_the_same_key(database: Database) -> None:
    """Everything that a key made belongs to it with either secret. The log records the rotation, but no secret."""
    old, id_ = a_key(database)
    before = authenticate(database, hash_of(old))
    assert before is not None
    watch_id, theirs = post(database, by=before), post(database, by=before)
    made, replayed = rotate_key(database, ADMIN, id_, OVERLAP, idempotency("rotation-1"))
    new = made["key"]
    assert (made["id"], replayed, new.startswith(made["prefix"])) == (id_, False, True)
    assert authenticate(database, hash_of(new)) == authenticate(database, hash_of(old)) == before
    assert get_pause(database, before, watch_id).created_by == id_
    assert decide_pause(database, before, watch_id, cancel(before))["status"] == "cancelled"
    assert get_pause(database, before, theirs).status == "pending"
    assert rotate_key(database, ADMIN, id_, OVERLAP, idempotency("rotation-1")) == (made | {"key": None}, True)
    entry = one(linked(database), "SELECT entry FROM audit_events WHERE entry ->> 'type' = 'key.rotated'")
    assert (entry["subject"], entry["by"]) == (id_, ADMIN.id)
    assert new not in str(rows(linked(database), "SELECT t::text FROM audit_events t"))
    revoke_key(database, ADMIN, id_)
    assert [authenticate(database, hash_of(key)) for key in (old, new)] == [None, None]
    with pytest.raises(KeyNotUsable):
        rotate_key(database, ADMIN, id_, OVERLAP, None)


def test_the_old_secret_works_for_a_while(database: Database) -> None:
    """A day, or as long as one says; not at all where one says so."""
    old, id_ = a_key(database)
    new = rotated(database, id_)
    assert one(database, "SELECT previous_until - rotated_at FROM api_keys") == timedelta(days=1)
    change(database, "UPDATE api_keys SET previous_until = now()")
    assert (authenticate(database, hash_of(old)), authenticate(database, hash_of(new)) is None) == (None, False)
    newest = rotated(database, id_, timedelta(0))
    assert (authenticate(database, hash_of(new)), authenticate(database, hash_of(newest)) is None) == (None, False)


def test_rotated_twice(database: Database) -> None:
    """At most two secrets are valid. One that was never used, because its response was lost, goes first."""
    first, id_ = a_key(database)
    lost, second = rotated(database, id_), rotated(database, id_)
    good = [authenticate(database, hash_of(key)) is not None for key in (first, lost, second)]
    assert good == [True, False, True]
    third = rotated(database, id_)
    good = [authenticate(database, hash_of(key)) is not None for key in (first, second, third)]
    assert good == [False, True, True]


def test_only_ones_own_keys_are_rotated(database: Database) -> None:
    _, id_ = a_key(database)
    with pytest.raises(NotFound):
        rotate_key(database, someone(Role.ADMIN, "default"), id_, OVERLAP, None)


def test_the_doors_of_a_key(database: Database) -> None:
    """The one used last comes first; one write a minute for each, whichever process asks."""
    key, id_ = a_key(database)
    by, other = authenticate(database, hash_of(key)), a_key(database)[1]
    assert by is not None

    def doors(key_id: str = id_) -> dict[str, str]:
        (found,) = [item for item in list_keys(database, ADMIN, Page()).items if item["id"] == key_id]
        return {used["door"]: used["last_used_at"] for used in found["doors"]}

    assert doors() == {}
    record_door(database, by, "mcp")
    record_door(database, by, "claude-hook")
    first = doors()
    assert list(first) == ["claude-hook", "mcp"]
    assert at_once([lambda: record_door(database, by, "mcp")] * 4) == [None] * 4
    assert doors() == first
    change(database, "UPDATE api_keys SET doors = jsonb_set(doors, '{mcp}', '\"2020-01-01T00:00:00.000Z\"')")
    at_once([lambda: record_door(database, by, "mcp"), lambda: record_door(database, by, "aap")] * 2)
    later = doors()
    assert set(later) == {"mcp", "claude-hook", "aap"}
    assert later["mcp"] > first["mcp"]
    assert later["claude-hook"] == first["claude-hook"]
    assert doors(other) == {}


def test_people_have_no_doors(database: Database) -> None:
    record_door(database, Principal("usr_" + "0" * 32, "Ana", Role.ADMIN, ("*",)), "mcp")
    assert one(database, "SELECT count(*) FROM api_keys WHERE doors IS NOT NULL") == 0
