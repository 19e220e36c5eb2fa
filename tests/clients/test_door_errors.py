"""Errors of requests without a route, in the shape of each door's client."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cli.devstack import Stack

Shape = Callable[[dict[str, Any]], object]
DOORS: list[tuple[str, str, Shape]] = [
    ("/aap", "/v1/requests", lambda body: body["error"]["message"]),
    ("/compat/awaithumans/api", "/tasks", lambda body: body["message"] if body["docs"] else None),
    ("/compat/gohumanloop/v1/humanloop", "/request", lambda body: body["error"] if not body["success"] else None),
    ("/compat/gotohuman", "/requestReview", lambda body: body["error"]),
    ("/compat/humanlayer/v1", "/function_calls", lambda body: body["detail"] if set(body) == {"code", "detail"} else 0),
]


@pytest.mark.parametrize(("prefix", "path", "detail_of"), DOORS, ids=[door[0] for door in DOORS])
def test_a_request_without_a_route(stack: Stack, prefix: str, path: str, detail_of: Shape) -> None:
    unknown = httpx.get(f"{stack.url}{prefix}/nothing")
    wrong = httpx.delete(f"{stack.url}{prefix}{path}")
    assert [unknown.status_code, wrong.status_code] == [404, 405]
    assert str(detail_of(unknown.json())).startswith(f"there is no route {prefix}/nothing")
    assert detail_of(wrong.json()) == "this route does not support the method DELETE"
    assert "POST" in wrong.headers["Allow"]


def test_a_path_that_only_begins_like_a_door(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/aapx").headers["Content-Type"] == "application/problem+json"
