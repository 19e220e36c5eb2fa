"""API keys: shown once, stored as a hash, good until they expire or are revoked."""

from datetime import timedelta

import pytest

from domain.access import Principal, Role
from domain.errors import Forbidden, Invalid, NotFound
from services.keys import (
    SHOWN,
    NewKey,
    authenticate,
    create_key,
    ensure_first_keys,
    list_keys,
    revoke_key,
)
from services.paging import Page
from services.tokens import hash_of
from services.transaction import Store
from tests.services.world import ADMIN, change, once, one, rows, someone

NEW = NewKey("deploy bot", Role.AGENT, ("default", "ops"))


def a_key(store: Store, new: NewKey = NEW, by: Principal = ADMIN) -> tuple[str, str]:
    """The key and its id."""
    made, _ = create_key(store, by, new, None)
    return made["key"], made["id"]


def test_only_a_hash_is_stored(store: Store) -> None:
    """No column of any table holds more of it than its first letters."""
    made, _ = create_key(store, ADMIN, NEW, once("key-0001"))
    key = made["key"]
    assert key.startswith("hitl_")
    assert len(key) >= 48
    for table in ("api_keys", "idempotency_keys"):
        stored = " ".join(str(row) for row in rows(store, f"SELECT t::text FROM {table} t"))
        assert stored
        assert key not in stored
        assert key[SHOWN:] not in stored
    assert key.startswith(made["prefix"])
    assert len(made["prefix"]) == SHOWN
    again, replayed = create_key(store, ADMIN, NEW, once("key-0001"))
    assert (again["key"], replayed) == (None, True)


def test_recognised(store: Store) -> None:
    """As who it was made for."""
    key, id_ = a_key(store)
    assert authenticate(store, hash_of(key)) == Principal(id_, "deploy bot", Role.AGENT, ("default", "ops"))
    for wrong in (key + "x", key[:-1], key.upper(), "", "hitl_", "\ud800"):
        assert authenticate(store, hash_of(wrong)) is None


def test_expired(store: Store) -> None:
    """To the instant of the database's clock; and nobody makes one that is expired already."""
    with store.transaction() as tx:
        now = tx.now
    key, _ = a_key(store, NewKey("x", Role.AGENT, ("default",), now + timedelta(hours=1)))
    assert authenticate(store, hash_of(key)) is not None
    change(store, "UPDATE api_keys SET expires_at = clock_timestamp()")
    assert authenticate(store, hash_of(key)) is None
    with pytest.raises(Invalid) as caught:
        a_key(store, NewKey("x", Role.AGENT, ("default",), now))
    assert [fault.path for fault in caught.value.faults] == ["expires_at"]


def test_revoked(store: Store) -> None:
    """For good, and the first time is what is told."""
    key, id_ = a_key(store)
    first = revoke_key(store, ADMIN, id_)
    assert first["revoked_at"] is not None
    assert authenticate(store, hash_of(key)) is None
    assert revoke_key(store, ADMIN, id_) == first


def test_last_used_at_is_written_once_a_minute(store: Store) -> None:
    """A busy key does not cost a write for each request."""
    key, _ = a_key(store)

    def used() -> object:
        assert authenticate(store, hash_of(key)) is not None
        return one(store, "SELECT last_used_at FROM api_keys")

    first = used()
    assert first is not None
    assert used() == first
    change(store, "UPDATE api_keys SET last_used_at = last_used_at - interval '59 s'")
    assert used() < first  # type: ignore[operator]
    change(store, "UPDATE api_keys SET last_used_at = last_used_at - interval '2 s'")
    assert used() > first  # type: ignore[operator]


def test_an_admin_of_some_namespaces_manages_the_keys_within(store: Store) -> None:
    """A key that reaches further is not there for them, and they cannot make one."""
    narrow = someone(Role.ADMIN, "default")
    _, mine = a_key(store, NewKey("mine", Role.ADMIN, ("default",)), narrow)
    wider = [a_key(store, NewKey("wide", Role.AGENT, names))[1] for names in (("other",), ("default", "other"), ("*",))]
    assert [item["id"] for item in list_keys(store, narrow, Page()).items] == [mine]
    for id_ in [*wider, "key_" + "0" * 32, "nonsense"]:
        with pytest.raises(NotFound):
            revoke_key(store, narrow, id_)
    for namespaces in (("other",), ("*",)):
        with pytest.raises(Forbidden):
            a_key(store, NewKey("x", Role.AGENT, namespaces), narrow)
    assert one(store, "SELECT count(*) FROM api_keys WHERE revoked_at IS NOT NULL") == 0


def test_pages(store: Store) -> None:
    """Newest first, each once, and never with the key."""
    made = [a_key(store)[1] for _ in range(4)][::-1]
    first = list_keys(store, ADMIN, Page(3))
    rest = list_keys(store, ADMIN, Page(3, after=first.next_after))
    assert [item["id"] for item in [*first.items, *rest.items]] == made
    assert [item["id"] for item in list_keys(store, ADMIN, Page(2, 1)).items] == made[1:3]
    assert all("key" not in item and "hash" not in item for item in first.items)


def test_first_keys(store: Store) -> None:
    """One for every role; those that are still good are kept, the rest is made anew."""
    keys = ensure_first_keys(store, {})
    assert set(keys) == set(Role)
    for role, key in keys.items():
        found = authenticate(store, hash_of(key))
        assert found is not None
        assert (found.role, found.namespaces) == (role, ("*",))
    assert ensure_first_keys(store, keys) == keys
    reviewer = authenticate(store, hash_of(keys[Role.REVIEWER]))
    assert reviewer is not None
    revoke_key(store, ADMIN, reviewer.id)
    known = {**keys, Role.ADMIN: keys[Role.AGENT], Role.OPERATOR: ""}
    again = ensure_first_keys(store, known)
    assert again[Role.AGENT] == keys[Role.AGENT]
    fresh = {Role.REVIEWER, Role.ADMIN, Role.OPERATOR}
    assert not {again[role] for role in fresh} & set(keys.values())
    for role in fresh:
        found = authenticate(store, hash_of(again[role]))
        assert found is not None
        assert found.role is role
