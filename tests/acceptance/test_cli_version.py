"""`sagahold version`: what it prints, and whom it asks."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.commands.version import RELEASES
from domain.values.version import VERSION
from tests.acceptance.commands import DONE, REFUSED, WRONG, Ran
from tests.adapters.receiver import Receiver, Script, reply

Call = Callable[..., Ran]
PAGE = "https://example.com/releases/v9.0.0"


def release(tag: str) -> Script:
    return reply(200, json.dumps({"tag_name": tag, "html_url": PAGE}).encode())


def test_it_asks_only_with_check(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver(release("v9.0.0")) as releases:
        monkeypatch.setenv("SAGAHOLD_RELEASES_URL", releases.url)
        assert call("version").out == f"sagahold {VERSION}\n"
        assert call("version", "--json").document == {"version": VERSION}
        assert releases.requests == []
        newer = call("version", "--check")
        assert (newer.code, newer.out) == (REFUSED, "")
        assert newer.error == f"this is {VERSION}, and 9.0.0 is released: {PAGE}"
        (request,) = releases.requests
    sent = f"{request.line} {request.headers} {request.body!r}"
    assert VERSION not in sent.replace(request.headers["user-agent"], "")
    assert "sagahold" not in sent.lower()


@pytest.mark.parametrize("tag", [f"v{VERSION}", VERSION, "v0.0.9"])
def test_no_newer_release(call: Call, tag: str) -> None:
    with Receiver(release(tag)) as releases:
        ran = call("version", "--check", "--releases", releases.url)
        assert (ran.code, ran.out, ran.err) == (DONE, f"sagahold {VERSION} is the latest release\n", "")
        document = call("version", "--check", "--json", "--releases", releases.url).document
    assert document == {"version": VERSION, "latest": tag.removeprefix("v"), "newer": False, "url": PAGE}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (reply(404), "has no release"),
        (reply(403), "answers 403: try again later"),
        (reply(200, b"<html>"), "does not name a release"),
        (reply(200, b"[]"), "does not name a release"),
        (release("latest"), "does not name a release"),
        (release("v9.0.0rc1"), "does not name a release"),
        (reply(302, location="ftp://127.0.0.1/"), "cannot ask"),
    ],
)
def test_an_unusable_answer(call: Call, script: Script, says: str) -> None:
    with Receiver(script) as releases:
        ran = call("version", "--check", "--releases", releases.url)
    assert ran.code == WRONG
    assert says in ran.error


@pytest.mark.parametrize("url", ["nonsense", "http://[::1", "http://127.0.0.1:{port}/"])
def test_without_a_network(call: Call, closed_port: int, url: str) -> None:
    ran = call("version", "--check", "--releases", url.format(port=closed_port))
    assert ran.code == WRONG
    assert ran.error.startswith("cannot ask")
    assert ran.error.endswith("set SAGAHOLD_RELEASES_URL to a copy")


def test_the_repository_is_the_projects() -> None:
    urls = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["urls"]
    owner = urls["Homepage"].removeprefix("https://github.com/")
    assert f"https://api.github.com/repos/{owner}/releases/latest" == RELEASES
