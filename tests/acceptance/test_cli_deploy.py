"""`sagahold deploy` and `sagahold list definitions` against a running stack."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.commands import DONE, REFUSED, WRONG, Ran

Call = Callable[..., Ran]

MANIFESTS = """
kind: saga
name: greet
namespace: {namespace}
version: "{version}"
steps:
  - id: think
    kind: reason
    worker: thinker
    worker_version: "1"
    with: {{name: {{from: $.input.name}}}}
    prompt: prompts/greet.j2
    output_schema: schemas/greeting.json
  - id: send
    kind: commit
    worker: thinker
    worker_version: "1"
    tools: {{allow: [send]}}
    policy: policies/short.cel
---
kind: worker
name: thinker
namespace: {namespace}
version: "1"
provider: mock
tool_sources: [{{name: mail, transport: streamable_http, url: "${{ENV:MAIL_URL}}/mcp"}}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Path:
    """Files beside the manifest, and some in a folder above it."""
    for name, text in {
        "sagas/greet.yaml": MANIFESTS.format(namespace=namespace, version="1"),
        "sagas/prompts/greet.j2": "Greet {{ name }}",
        "schemas/greeting.json": '{"type": "object"}',
        "policies/short.cel": "size(arguments) < 10",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_go_along_and_workers_go_first(call: Call, project: Path, namespace: str) -> None:
    ran = call("deploy", "-f", "sagas/greet.yaml")
    assert ran.code == DONE, ran.err
    worker, saga = ran.out.splitlines()
    assert worker.startswith("worker thinker 1 is deployed (def_")
    assert saga.startswith("saga greet 1 is deployed (def_")
    assert "already deployed" in call("deploy", "-f", "sagas/greet.yaml").out
    (project / "sagas/prompts/greet.j2").write_text("Hello {{ name }}")
    ran = call("deploy", "-f", "sagas/greet.yaml")
    assert ran.error == (
        "VERSION_EXISTS: sagas/greet.yaml: this version is deployed with other content; change the version or use"
        " --replace"
    )
    assert "replaced" in call("deploy", "-f", "sagas/greet.yaml", "--replace").out

    (active,) = call("list", "definitions", "--namespace", namespace, "--json").document["items"]
    assert (active["name"], active["is_active"]) == ("greet", True)
    listed = call("list", "definitions", "--namespace", namespace, "--all").out
    assert "replaced" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert "thinker" in call("list", "definitions", "--namespace", namespace, "--kind", "worker").out
    assert call("list", "definitions", "--namespace", f"{namespace}-x").out == "no definitions\n"


def test_every_error_is_a_line_with_its_file_and_place(call: Call, project: Path) -> None:
    (project / "sagas/prompts/greet.j2").write_text("Greet {{ nobody }}")
    (project / "policies/short.cel").unlink()
    ran = call("deploy", "-f", "sagas/greet.yaml")
    assert ran.code == REFUSED
    *field_errors, summary = ran.err.splitlines()
    assert summary == "sagahold: 1 of 2 manifests were not deployed"
    assert [field_error.split(": ")[:2] for field_error in field_errors] == [
        ["sagas/greet.yaml", "steps[0].prompt.inline"],
        ["sagas/greet.yaml", "steps[1].policy"],
    ]
    assert "{{ nobody }}, which is not in `with`" in field_errors[0]
    assert "policies/short.cel was not sent with the manifest" in field_errors[1]


def test_no_file_is_taken_from_outside_of_the_project(
    call: Call, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "sagas")
    ran = call("deploy", "-f", "greet.yaml")
    assert "schemas/greeting.json was not sent with the manifest" in ran.err
    assert "policies/short.cel was not sent with the manifest" in ran.err


@pytest.mark.parametrize(("text", "message"), [("a: [", "broken.yaml: line "), ("", "has no manifest")])
def test_what_is_no_yaml(call: Call, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    ran = call("deploy", "-f", str(tmp_path / "broken.yaml"))
    assert ran.code == REFUSED
    assert message in ran.error
    assert call("deploy", "-f", str(tmp_path / "none.yaml")).code == WRONG
