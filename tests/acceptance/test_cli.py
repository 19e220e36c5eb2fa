"""The command line: which server, which key, and how it says no."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.devstack import Stack
from domain.values.version import VERSION
from tests.acceptance.commands import DONE, REFUSED, SAGAHOLD, WRONG, Ran, finish, start
from tests.adapters.receiver import Receiver, reply

Call = Callable[..., Ran]
PAUSE_ID = "wch_" + "0" * 32
pytestmark = pytest.mark.usefixtures("environ")


class TestServerAndKeys:
    def test_what_up_wrote_in_this_directory_is_found(
        self, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SAGAHOLD_DATA_DIR")
        (tmp_path / ".sagahold").symlink_to(stack.data.path)
        monkeypatch.chdir(tmp_path)
        ran = finish(start("ping"))
        assert (ran.code, ran.err) == (DONE, "")
        assert re.fullmatch(rf"{stack.url} answers in [\d.]+ ms \(Sagahold {re.escape(VERSION)}\)\n", ran.out)

    def test_without_a_server_it_says_how_to_get_one(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAGAHOLD_DATA_DIR", str(tmp_path))
        ran = call("pause", "list")
        assert ran.code == WRONG
        assert ran.error == "no server given: start one here with `sagahold up`, or name one with SAGAHOLD_URL or --url"

    def test_a_server_that_is_not_there(self, closed_port: int) -> None:
        ran = finish(start("pause", "list", SAGAHOLD_URL=f"http://127.0.0.1:{closed_port}"))
        assert ran.code == WRONG
        assert re.fullmatch(r"cannot reach http://127\.0\.0\.1:\d+ \(Connection refused\): .*sagahold up.*", ran.error)

    @pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "http://[::1"])
    def test_a_url_that_is_none(self, call: Call, url: str) -> None:
        ran = call("ping", "--url", url)
        assert ran.code == WRONG
        assert "is not the URL of a server" in ran.error

    @pytest.mark.parametrize("script", [reply(200, b"<html>"), reply(404, b"<html>"), reply(302), reply(200, b"{}")])
    def test_a_server_that_is_another_one(self, call: Call, script: Any) -> None:
        with Receiver(script) as other:
            ran = call("ping", "--url", other.url_as("127.0.0.1", "").rstrip("/"))
        assert ran.code == WRONG
        assert "check the URL" in ran.error

    @pytest.mark.parametrize("words", [("--url", "http://127.0.0.1", "pause", "list"), ("pause", "--json", "list")])
    def test_an_option_of_commands_before_the_command(self, words: tuple[str, ...]) -> None:
        ran = finish(start(*words))
        assert ran.code == WRONG
        assert re.fullmatch(r"(--url|--json) goes after the command: `sagahold( pause)? COMMAND \1 …`", ran.error)

    def test_a_disk_without_room_for_the_answer(self, stack: Stack) -> None:
        with Path("/dev/full").open("w") as full:
            started = subprocess.run(
                [SAGAHOLD, "pause", "list", "--json"], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert (started.returncode, started.stderr) == (REFUSED, "sagahold: cannot write: No space left on device\n")

    def test_keys_go_only_to_the_server_that_they_are_for(self, call: Call) -> None:
        with Receiver(reply(200, b'{"items": [], "next_cursor": null}')) as other:
            assert call("pause", "list", "--url", other.url_as("127.0.0.1", "")).code == DONE
            (request,) = other.requests
        assert "authorization" not in request.headers

    def test_the_given_key_counts(self, call: Call, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent's key: it creates, but it decides nothing."""
        monkeypatch.setenv("SAGAHOLD_API_KEY", stack.credentials["agent_key"])
        assert call("pause", "approve", PAUSE_ID).error.startswith("FORBIDDEN: ")
        monkeypatch.setenv("SAGAHOLD_API_KEY", "hitl_" + "x" * 43)
        refused = call("pause", "list")
        assert (refused.code, refused.error.endswith("the key comes from SAGAHOLD_API_KEY")) == (REFUSED, True)
        monkeypatch.setenv("SAGAHOLD_API_KEY", "ключ")
        assert call("pause", "list").code == WRONG

    def test_a_file_of_keys_that_cannot_be_understood(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAGAHOLD_DATA_DIR", str(tmp_path))
        for text in ("[]", "{", "\xff"):
            (tmp_path / "credentials.json").write_text(text, "latin-1")
            ran = call("pause", "list")
            assert ran.code == WRONG
            assert "credentials.json is not valid JSON" in ran.error


class TestWrongUse:
    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["frob"], "No such command 'frob'"),
            (["pause", "frob"], "see `sagahold pause --help`"),
            (["pause", "create"], "Missing argument 'ACTION'"),
            (["pause", "create", "x", "--context", "{nope"], "'{nope' is not JSON"),
            (["pause", "create", "x", "--context", '{"a": 1, "a": 2}'], "a name occurs twice"),
            (["pause", "create", "x", "--context", "[" * 100_000], "is nested too deeply"),
            (["pause", "create", "x", "--context", "@/no/such/file"], "cannot read '/no/such/file'"),
            (["pause", "create", "x", "--context", "@/"], "cannot read '/'"),
            (["pause", "create", "x", "--expires-in", "soon"], "'soon' is not a duration"),
            (["pause", "create", "x", "--on-timeout", "explode"], "'explode' is not one of"),
            (["pause", "create", "x", "--idempotency-key", "short"], "8 to 128 printable ASCII"),
            (["pause", "wait", PAUSE_ID, "--timeout", "never"], "'never' is not a duration"),
            (["keys", "create", "x", "--role", "boss"], "'boss' is not one of"),
            (["webhooks", "change", "ep_1"], "nothing to change"),
            (["webhooks", "add", "https://example.com", "--header", "nope"], "'nope' has no colon"),
        ],
    )
    def test_is_one_line_and_status_2(self, call: Call, args: list[str], said: str) -> None:
        ran = call(*args)
        assert ran.code == WRONG
        assert said in ran.error

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["pause", "get", PAUSE_ID], "NOT_FOUND: "),
            (["pause", "get", "../keys"], "NO_SUCH_ROUTE: "),
            (["pause", "get", "\udcff"], "NOT_FOUND: "),
            (["pause", "create", "", "--priority", "10"], "VALIDATION_FAILED: action: .*; priority: "),
            (["pause", "create", "\udcff"], "VALIDATION_FAILED: action: "),
            (["pause", "create", "x", "--context", '{"a": [0, NaN]}'], r"VALIDATION_FAILED: context\.a\[1\]: "),
            (["pause", "list", "--limit", "0"], "VALIDATION_FAILED: limit: "),
            (["pause", "list", "--created-after", "then"], "VALIDATION_FAILED: created_after: "),
            (["webhooks", "add", "http://169.254.169.254/"], "VALIDATION_FAILED: url: "),
            (["webhooks", "delivery", "dlv_" + "0" * 32], "NOT_FOUND: "),
        ],
    )
    def test_what_the_server_refuses_is_one_line_with_the_place_and_status_1(
        self, call: Call, args: list[str], said: str
    ) -> None:
        ran = call(*args)
        assert ran.code == REFUSED
        assert re.match(said, ran.error)

    def test_programs_get_the_problem_document_too(self, call: Call) -> None:
        ran = call("pause", "get", PAUSE_ID, "--json")
        assert (ran.code, ran.document["code"]) == (REFUSED, "NOT_FOUND")
        assert ran.error.startswith("NOT_FOUND: ")
