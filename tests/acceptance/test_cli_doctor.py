"""`sagahold doctor`: each thing that can be wrong is found, and named with what to do."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from sqlalchemy import delete, insert, select, update

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from domain.delivery.webhook import FAILING_AFTER
from domain.values.version import VERSION
from models.receipts import receipt_keys
from models.webhooks import webhook_failures
from services.kernel.unit_of_work import Database
from tests.acceptance.commands import DONE, REFUSED, Ran

Call = Callable[..., Ran]


@pytest.fixture
def look(call: Call) -> Callable[[], dict[str, tuple[bool | None, str]]]:
    """Return a function that runs `doctor` and returns the result of each check."""

    def run() -> dict[str, tuple[bool | None, str]]:
        ran = call("doctor", "--json")
        found = {check["name"]: (check["good"], check["said"]) for check in ran.document}
        wrong = [name for name, (good, _) in found.items() if good is False]
        assert ran.code == (REFUSED if wrong else DONE)
        assert not wrong or ran.error == f"{len(wrong)} of {len(found)} checks failed"
        return found

    return run


Look = Callable[[], dict[str, tuple[bool | None, str]]]


@pytest.fixture
def servers_named(environ: None, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stack.database_url)
    monkeypatch.setenv("REDIS_URL", stack.redis_url)


@pytest.mark.usefixtures("servers_named")
def test_all_is_well(look: Look) -> None:
    found = look()
    # Other tests on this stack change the checks of webhooks.
    for name in ("settings", "database", "migrations", "clock", "redis", "keys", "server", "ready", "receipts", "work"):
        assert found[name][0] is True, found
    assert {"endpoints", "deliveries"} < set(found)


@pytest.mark.usefixtures("servers_named")
def test_a_receiver_that_takes_nothing(look: Look, stack_database: Database) -> None:
    """The check fails long before a delivery is exhausted."""
    row = {"lane": f"http://{uuid4().hex}.example.com default", "namespace": "default", "failures": FAILING_AFTER}
    with stack_database.transaction() as uow:
        uow.conn.execute(insert(webhook_failures).values(**row, since=uow.now, failed_at=uow.now, error="timed out"))
    try:
        # A count that takes long is made in the background, and the next one to ask gets it.
        assert wait_until(lambda: look()["receivers"][0] is False, 90)
        good, said = look()["receivers"]
    finally:
        with stack_database.transaction() as uow:
            uow.conn.execute(delete(webhook_failures).where(webhook_failures.c.lane == row["lane"]))
    assert good is False
    assert "/webhooks lists, with since when and why" in said


@pytest.mark.usefixtures("servers_named")
def test_a_lost_key_of_receipts(look: Look, stack_database: Database) -> None:
    good, said = look()["receipts"]
    assert good is True
    assert said.startswith("the key that signs them is not encrypted, in the database; to encrypt it, set SAGAHOLD_ENC")
    current = receipt_keys.c.retired_at.is_(None)
    with stack_database.transaction() as uow:
        private = uow.conn.execute(select(receipt_keys.c.private_key).where(current)).scalar_one()
        uow.conn.execute(update(receipt_keys).where(current).values(private_key=None))
    try:
        good, said = look()["receipts"]
    finally:
        with stack_database.transaction() as uow:
            uow.conn.execute(update(receipt_keys).where(current).values(private_key=private))
    assert good is False
    assert "set SAGAHOLD_RECEIPT_KEYS_DIR to it, or run `sagahold receipt rotate-key`" in said


def test_people_see_a_line_for_each_with_a_mark(call: Call, stack: Stack) -> None:
    shown = call("doctor").out.splitlines()
    assert f"✔ server      {stack.url} answers (Sagahold {VERSION})" in shown
    assert any(line.startswith("✔ programs    found PostgreSQL ") for line in shown)
    assert all(line[0] in "✔✘–" for line in shown)


def test_a_bad_setting(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOLD_PORT", "many")
    assert look()["settings"] == (False, "SAGAHOLD_PORT: 'many' is not a whole number from 1 to 65535")


def test_servers_that_are_not_there(look: Look, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://127.0.0.1:{closed_port}/x")
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{closed_port}/0")
    monkeypatch.setenv("SAGAHOLD_URL", f"http://127.0.0.1:{closed_port}")
    found = look()
    for name, variable in (("database", "DATABASE_URL"), ("redis", "REDIS_URL")):
        good, said = found[name]
        assert good is False
        assert "Connection refused" in said
        assert said.endswith(f"start it, or correct {variable}")
    assert found["server"][0] is False
    assert "work" not in found


def test_a_database_that_is_not_migrated(look: Look, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stack.database_url.replace("/sagahold?", "/postgres?"))
    good, said = look()["migrations"]
    assert good is False
    assert "sagahold release" in said


@pytest.fixture
def evicting(servers: Stack) -> Iterator[str]:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield servers.redis_url
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_forgets(look: Look, evicting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", evicting)
    assert look()["redis"] == (
        False,
        "evicts keys (maxmemory-policy allkeys-lru): set it to noeviction",
    )


def test_programs_that_are_missing(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.devstack.postgres.server_folders", lambda: iter(()))
    good, said = look()["programs"]
    assert good is False
    assert said.startswith("no PostgreSQL server found: ")


class TestKeys:
    @pytest.fixture
    def file(self, environ: None, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("SAGAHOLD_DATA_DIR", str(tmp_path))
        return Path(shutil.copy(stack.data.credentials_file, tmp_path))

    def test_that_others_may_read(self, file: Path, look: Look) -> None:
        assert look()["keys"][0] is True
        file.chmod(0o644)
        good, said = look()["keys"]
        assert good is False
        assert "(0644): chmod 600 it" in said

    def test_that_are_not_there(self, file: Path, look: Look) -> None:
        os.unlink(file)
        found = look()
        assert (found["keys"][0], found["server"][0]) == (False, False)
        assert found["keys"][1] == f"no {file}: run `sagahold up`, which writes it, or set SAGAHOLD_API_KEY"

    def test_that_lack_a_role(self, file: Path, look: Look) -> None:
        credentials = json.loads(file.read_text())
        del credentials["operator_key"]
        file.write_text(json.dumps(credentials))
        found = look()
        assert found["keys"] == (False, f"{file} has no key for operator: run `sagahold up`, which adds it")
        assert found["work"][0] is False

    def test_checks_without_permission_are_no_failures(
        self, look: Look, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAGAHOLD_API_KEY", stack.credentials["agent_key"])
        assert look()["work"][0] is None
