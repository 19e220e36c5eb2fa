"""Schemathesis over the whole OpenAPI document, with each role's key and without one.

Each response must match the document: no 5xx, and no other status, body, header or media type. A request that violates
the document, or has no valid key, must be refused.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cli.devstack import Stack

ROOT = Path(__file__).parents[2]
# This check is left out: a body may match the document and still be invalid (422). Examples are an expiry in the past,
# two expiries, or the Idempotency-Key of another request.
LEFT_OUT = "positive_data_acceptance"


# An admin may do everything, so its key goes deepest. The coverage phase tries the limits of each field for it, so five
# random cases of each operation only mix the fields. The other keys meet the borders of their roles. The role decides
# before any field does, so three cases of each operation meet the border as surely as ten.
@pytest.mark.timeout(600)  # thousands of requests: they take some minutes where many tests run at once
@pytest.mark.parametrize(
    ("role", "phases", "examples"),
    [
        ("admin", "examples,coverage,fuzzing", 5),
        ("agent", "examples,fuzzing", 3),
        ("reviewer", "examples,fuzzing", 3),
        ("operator", "examples,fuzzing", 3),
        (None, "examples,fuzzing", 3),
    ],
)
def test_every_answer_is_one_that_the_document_tells(
    role: str | None,
    phases: str,
    examples: int,
    stack: Stack,
    namespace: str,
    client_for: Callable[..., httpx.Client],
    tmp_path: Path,
) -> None:
    """Deterministic: the same cases in every run. Well-formed ids are exchanged for real ones (schemathesis_hooks)."""
    both = [namespace, f"{namespace}-endpoints"]
    keys = {name: _key(client_for(name, both)) for name in ("reviewer", "operator", "admin")}
    keys["agent"] = _key(client_for("agent"))
    given = {"url": stack.url, "namespace": namespace, "endpoints": both[1]} | keys
    environ = {
        **os.environ,
        "FUZZ": json.dumps(given),
        "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
        "PYTHONPATH": str(ROOT),
    }
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{stack.url}/openapi.json", "--no-color"]
    command += ["--phases", phases, "--max-examples", str(examples)]
    command += ["--generation-deterministic", "--continue-on-failure"]
    command += ["--checks", "all", "--exclude-checks", LEFT_OUT, "--request-timeout", "90"]
    if role is not None:
        command += ["--header", f"Authorization: Bearer {keys[role]}"]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]


def _key(client: httpx.Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")
