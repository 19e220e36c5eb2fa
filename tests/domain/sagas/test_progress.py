"""The progress that a tool reports."""

from math import inf, nan
from typing import Any

import pytest

from domain.sagas.progress import MAX_MESSAGE, progress_document


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((1.0, 2.0, " half "), {"done": 1.0, "total": 2.0, "message": "half"}),
        ((1.0, None, None), {"done": 1.0, "total": None, "message": ""}),
        ((1.0, inf, "a\x00b"), {"done": 1.0, "total": None, "message": "a\ufffdb"}),
        ((1.0, 0.0, "\ud800"), {"done": 1.0, "total": None, "message": "?"}),
        ((1.0, 2.0, "x" * (MAX_MESSAGE + 1)), {"done": 1.0, "total": 2.0, "message": "x" * MAX_MESSAGE + "…"}),
    ],
)
def test_what_is_shown(given: tuple[Any, ...], shown: dict[str, Any]) -> None:
    assert progress_document("span", 2, *given) == {"span": "span", "attempt": 2, **shown}


@pytest.mark.parametrize("done", [nan, inf, -inf])
def test_progress_that_is_no_number_is_ignored(done: float) -> None:
    assert progress_document("span", 1, done, 2.0, "x") is None
