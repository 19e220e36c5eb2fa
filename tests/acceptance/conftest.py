"""Fixtures of the tests that run `sagahold` against the shared stack."""

import os
import sys
from collections.abc import Callable

import pytest

from cli.devstack import Stack
from cli.main import main
from tests.acceptance.commands import DONE, Ran

OTHERS = ("DATABASE_URL", "REDIS_URL", "ENGINE_URL")


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """The variables of a person's own server are not those of the tests."""
    for name in os.environ:
        if name in OTHERS or name.startswith("SAGAHOLD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAGAHOLD_DATA_DIR", str(stack.data.path))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def call(environ: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    def run(*args: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sagahold", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def paused(call: Callable[..., Ran], namespace: str) -> Callable[..., str]:
    """`paused("deploy", "--expires-in", "1")`: the watchId of a new pause."""

    def make(action: str = "deploy", *options: str) -> str:
        made = call("pause", "create", action, "--namespace", namespace, "--json", *options)
        assert made.code == DONE, made.err
        return str(made.document["watchId"])

    return make
