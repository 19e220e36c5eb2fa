"""The client's own words, out of metadata that an agent wrote."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.pauses.client_words import MAX_FACTS, MAX_NAME, MAX_TEXT, client_words

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=41), inner, max_size=11),
    max_leaves=8,
)


def test_a_hook_names_its_tool_and_directory() -> None:
    submission = {"hook_event_name": "PreToolUse"}
    client = {"tool": "Bash", "cwd": "/srv/shop", "session": "s-17", "turn": 3, "dry": True}
    words = client_words({"door": "claude-hook", "client": client, "submission": submission, "team": "ops"})
    assert (words.door, words.title, words.whole) == ("claude-hook", "Claude Code", True)
    assert words.facts == (
        *(("Tool", "Bash"), ("Directory", "/srv/shop"), ("Session", "s-17")),
        *(("turn", "3"), ("dry", "true")),
    )
    assert (words.submission, words.rest) == (submission, {"team": "ops"})


def test_without_a_door_the_submission_is_the_agents_own() -> None:
    words = client_words({"door": "No door", "submission": {"n": 1}, "client": {}})
    assert (words.door, words.title, words.facts, words.submission) == (None, None, (), None)
    assert words.rest == {"door": "No door", "submission": {"n": 1}, "client": {}}


def test_a_name_that_is_not_ours_is_its_own_title() -> None:
    assert client_words({"door": "my-client"}).title == "my-client"


@pytest.mark.parametrize("metadata", [None, {}, {"client": None}, {"client": "Bash"}, {"client": ["Bash"]}])
def test_nothing_to_say(metadata: Any) -> None:
    words = client_words(metadata)
    assert (words.facts, words.whole, words.rest) == ((), True, metadata or {})


@pytest.mark.parametrize(
    ("client", "facts"),
    [
        ({"tool": "x" * 201}, (("Tool", "x" * 200 + "…"),)),
        ({"k" * 41: "v"}, (("k" * 40 + "…", "v"),)),
        ({"tool": "Bash", "arguments": {"command": "ls"}}, (("Tool", "Bash"),)),
        ({"tool": "Bash", " ": "x"}, (("Tool", "Bash"),)),
        ({f"n{n}": "v" for n in range(11)}, tuple((f"n{n}", "v") for n in range(10))),
    ],
)
def test_too_much_is_shortened_and_stays_in_the_metadata(client: dict[str, Any], facts: Any) -> None:
    words = client_words({"client": client})
    assert (words.facts, words.whole, words.rest) == (facts, False, {"client": client})


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["door", "client", "submission", "x"]) | st.text(max_size=5), JSON))
def test_nothing_is_lost_and_nothing_is_long(metadata: dict[str, Any]) -> None:
    words = client_words(metadata)
    assert len(words.facts) <= MAX_FACTS
    assert all(len(label) <= MAX_NAME + 1 and len(text) <= MAX_TEXT + 1 for label, text in words.facts)
    shown = set(words.rest)
    shown |= {"door"} if words.door is not None else set()
    shown |= {"submission"} if words.door is not None and "submission" in metadata else set()
    shown |= {"client"} if words.facts and words.whole else set()
    assert shown == set(metadata)
