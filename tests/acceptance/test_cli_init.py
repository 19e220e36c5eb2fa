"""`sagahold init`: first access for an operator who runs the Procfile on existing servers."""

import json
import re
from pathlib import Path

from cli.devstack import Stack
from services.identity.keys import authenticate
from services.identity.sessions import SignInOrigin
from services.identity.sign_in_links import use_link
from services.identity.tokens import hash_of
from services.kernel.unit_of_work import Database
from tests.acceptance.commands import DONE, finish, start
from tests.services.world import one


def test_the_first_admin_keys_and_link(database: Database, database_url: str, tmp_path: Path) -> None:
    def init(folder: str, *options: str) -> str:
        ran = finish(start("init", "--data-dir", str(tmp_path / folder), *options, DATABASE_URL=database_url))
        assert (ran.code, ran.err) == (DONE, "")
        return ran.out

    def credentials(folder: str) -> dict[str, str]:
        found: dict[str, str] = json.loads((tmp_path / folder / "credentials.json").read_text())
        return found

    first = init("a")
    keys = credentials("a")
    assert (tmp_path / "a" / "credentials.json").stat().st_mode & 0o077 == 0
    for role in ("agent", "reviewer", "operator", "admin"):
        principal = authenticate(database, hash_of(keys[f"{role}_key"]))
        assert principal is not None
        assert (principal.role, principal.sees_all) == (role, True)
    token = re.search(r"/sign-in/link/(\S+)", first)
    assert token is not None
    _, person = use_link(database, token[1], SignInOrigin("192.0.2.1", None))
    assert (person.role, person.sees_all) == ("admin", True)

    assert "/sign-in/link/" in init("a")
    assert credentials("a") == keys
    assert "--new-keys" in init("b")
    assert not (tmp_path / "b").exists()
    assert (one(database, "SELECT count(*) FROM api_keys"), one(database, "SELECT count(*) FROM users")) == (4, 1)
    init("b", "--new-keys")
    assert credentials("b").keys() == keys.keys()


def test_what_is_wrong_is_one_line(servers: Stack, tmp_path: Path) -> None:
    nowhere = "postgresql://127.0.0.1:9/none"
    assert "DATABASE_URL" in finish(start("init", "--data-dir", str(tmp_path), DATABASE_URL=nowhere)).error
    empty = finish(start("init", "--data-dir", str(tmp_path), DATABASE_URL=servers.database_url))
    assert "not migrated" in empty.error
