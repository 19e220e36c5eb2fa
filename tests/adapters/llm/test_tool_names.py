"""Tools with names that providers refuse: the model has others for them, and everybody else the tools' own."""

import re
from collections.abc import Callable

import pytest

from adapters.llm.tool_names import shown_names
from domain.manifests.definition import MockTurn
from tests.adapters.llm.wire import SUBMIT, Call, submit
from tests.adapters.llm.world import PROTOCOLS, Desk, done, fact, failure

GOOD = submit({"n": 3})
LONG = "team/" + "long" * 20
TAKEN = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
DeskFor = Callable[..., Desk]


@pytest.mark.parametrize(
    "names",
    [
        ["files.read", "files_read", "files/read", "files read"],
        ["x" * 64, "x" * 65, "x" * 66, "x" * 64 + "."],
        ["read.resource", ".submit", "_submit", "читать", "", "a\n"],
    ],
)
def test_each_has_a_usable_name_of_its_own(names: list[str]):
    shown = shown_names(names)
    assert sorted(shown.values()) == sorted(names)
    assert all(TAKEN.fullmatch(name) for name in shown)
    assert {name for name in shown if name in names} == {name for name in names if TAKEN.fullmatch(name)}
    assert shown == shown_names(reversed(names))
    for engines in ("read_resource", SUBMIT):
        assert shown.get(engines, engines) == engines


def test_a_name_that_was_made_up_for_another_is_not_taken():
    (first,) = shown_names(["x" * 65])
    assert set(shown_names(["x" * 65, first]).values()) == {"x" * 65, first}
    assert shown_names(["x" * 65, first])[first] == first


@pytest.mark.parametrize("provider", PROTOCOLS)
def test_they_are_called_by_their_own(desk_for: DeskFor, provider: str):
    tools = ("files.read", "files_read", LONG)
    shown = {own: name for name, own in shown_names(tools).items()}
    turn = Call([(shown["files.read"], {"path": "a"}), ("files_read", {"path": "b"}), (shown[LONG], {})])
    desk = desk_for(turn, GOOD)
    facts = [fact("path", "files.read", "$.path")]
    result = desk.react(provider, *tools, facts=facts, keep_transcript=True)
    assert done(result) == {"n": 3}
    assert set(desk.server.asked[0].tools) == {*shown.values(), SUBMIT}
    assert all(TAKEN.fullmatch(name) for name in desk.server.asked[0].tools)
    assert desk.tools.called() == ["files.read a fwd-1-1", "files_read b fwd-1-2", "long name fwd-1-3"]
    assert result.facts == {"path": "a"}
    assert [use.name for use in result.report.tool_uses] == list(tools)
    kept = result.report.transcript
    assert [entry["call"] for entry in kept if "call" in entry] == [*tools, SUBMIT]
    assert [entry["tool"] for entry in kept if "tool" in entry][:3] == list(tools)


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("name", ["files.read", "files_read"])
def test_what_was_not_shown_is_not_allowed(desk_for: DeskFor, provider: str, name: str):
    """Neither a tool's own name where it has another, nor another tool's where that is not allowed."""
    allowed = LONG if name == "files_read" else "files.read"
    desk = desk_for(Call([(name, {"path": "a"})]), GOOD)
    result = desk.react(provider, allowed)
    assert failure(result) == "TOOL_NOT_ALLOWED"
    assert [(use.name, use.outcome) for use in result.report.tool_uses] == [(name, "not_allowed")]
    assert desk.tools.called() == []


def test_scripts_name_them_as_they_are(desk_for: DeskFor):
    desk = desk_for(GOOD)
    script = (MockTurn("files.read", {"path": "a"}), MockTurn(None, {"n": 1}))
    result = desk.react("mock", "files.read", "files_read", script=script)
    assert done(result) == {"n": 1}
    assert desk.tools.called() == ["files.read a fwd-1-1"]
