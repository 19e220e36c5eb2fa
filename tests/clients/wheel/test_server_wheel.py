"""The wheels of `make dist` in an environment outside the repository: the stack, a pause, a saga, and the end.

The environment has this one's dependencies by a `.pth` file, so nothing is downloaded. None of them is ours.
"""

import json
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.first_approval import WAYS
from cli.devstack.ports import free_port
from domain.values.version import VERSION
from tests.clients.wheel.conftest import CLEAN, ROOT
from tests.faults.scene import until


@pytest.fixture(scope="module")
def up(sagahold: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder, empty before, in which `sagahold up` runs."""
    folder = tmp_path_factory.mktemp("empty")
    with (folder.parent / "up.log").open("w+") as log:
        command = [sagahold, "up", "--no-sample", "--port", str(free_port("127.0.0.1"))]
        stack = subprocess.Popen(command, cwd=folder, env=CLEAN, stdout=log, stderr=log)

        def ready() -> bool:
            log.seek(0)
            text = log.read()
            assert stack.poll() is None, text
            return "Ready:" in text

        try:
            until("it is ready", ready)
            yield folder
        finally:
            stack.send_signal(signal.SIGTERM)
            status = stack.wait(90)
    assert status == 0


def test_no_module_of_the_server_is_at_the_top(wheels: list[Path], sagahold: Path) -> None:
    names = {wheel.name.split("-")[0]: zipfile.ZipFile(wheel).namelist() for wheel in wheels}
    tops = {dist: {name.split("/")[0] for name in found} for dist, found in names.items()}
    info = {dist: f"{dist}-{VERSION}.dist-info" for dist in tops}
    assert tops == {dist: {dist, info[dist]} for dist in ("sagahold", "sagahold_server")}
    rooms = ("app", "tasks", "models", "cli", "settings", "domain", "services", "adapters", "migrations", "wsgi")
    ask = f"import importlib.util as u; print([name for name in {rooms} if u.find_spec(name)])"
    python = [sagahold.with_name("python"), "-c", ask]
    assert subprocess.check_output(python, cwd="/", env=CLEAN, text=True) == "[]\n"


def test_the_pages_print_what_the_bench_runs() -> None:
    """`python -m bench.first_approval` runs the lines for each installer; it downloads too much for a test."""
    readme, manual = ((ROOT / name).read_text() for name in ("README.md", "docs/operations.md"))
    lines = {way: "\n".join(line).replace('"$DIST"', "dist").replace("$DIST", "dist") for way, line in WAYS.items()}
    assert f"\n{lines['uvx'].strip()} up " in readme
    assert f"\n{lines['pipx'].splitlines()[0].removeprefix('uvx ')}\n" in manual
    assert f"\n{lines['pip'].rpartition(chr(10))[0]}\n" in manual


def test_the_extra_requires_the_same_version(wheels: list[Path]) -> None:
    (sdk,) = (wheel for wheel in wheels if wheel.name.startswith("sagahold-"))
    metadata = zipfile.ZipFile(sdk).read(f"sagahold-{VERSION}.dist-info/METADATA").decode()
    assert f'Requires-Dist: sagahold-server[embedded]=={VERSION}; extra == "server"' in metadata


def test_a_pause_and_a_saga(sagahold: Path, up: Path) -> None:
    def run(*words: str | Path, status: int = 0) -> str:
        ran = subprocess.run(words, cwd=up, env=CLEAN, capture_output=True, text=True, timeout=90, check=False)
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    access = json.loads((up / ".sagahold" / "credentials.json").read_text())
    pause = json.loads(run(sagahold, "pause", "create", "Deploy", "--json"))
    person = httpx.Client(
        base_url=access["url"], headers={"Authorization": f"Bearer {access['reviewer_key']}"}, trust_env=False
    )
    with person:
        person.post(f"/api/pause/{pause['watchId']}/approve", json={}).raise_for_status()
        assert person.get(f"/api/pause/{pause['watchId']}").json()["status"] == "approved"
        assert person.get("/sign-in").status_code == 200
        assert "For agent developers" in person.get("/docs/guide/agents.html").raise_for_status().text
        assert "examples are deploy, email, outreach, refund, triage" in run(
            sagahold, "examples", "copy", "x", status=2
        )
        run(sagahold, "examples", "copy", "refund")
        assert "is there already" in run(sagahold, "examples", "copy", "refund", status=1)
        run(sagahold, "examples", "copy", "deploy")
        assert "First install mcp-server-git" in run(up / "deploy" / "run", status=1)
        run(up / "refund" / "run", "40")

        def done() -> bool:
            items = person.get("/v1/sagas").json()["items"]
            return [item["status"] for item in items] == ["COMPLETED"]

        until("the refund is made", done)
    assert (up / ".sagahold" / "ledger.db").exists()


def test_the_program_of_server_json(sagahold: Path, up: Path) -> None:
    """Started with the arguments and the variables that the MCP registry gives to clients, it offers its tools."""
    (package,) = json.loads((ROOT / "server.json").read_text())["packages"]
    access = json.loads((up / ".sagahold" / "credentials.json").read_text())
    known = {"SAGAHOLD_URL": access["url"], "SAGAHOLD_API_KEY": access["agent_key"]}
    environ = {variable["name"]: known[variable["name"]] for variable in package["environmentVariables"]}
    arguments = [argument["value"] for argument in package["packageArguments"]]
    client = {"name": "test", "version": "1"}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    messages = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    )
    with subprocess.Popen(
        [sagahold.with_name(package["identifier"]), *arguments],
        cwd="/", env=CLEAN | environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        answers = []
        for message in messages:
            program.stdin.write(json.dumps(message) + "\n")
            program.stdin.flush()
            if "id" in message:
                answers.append(json.loads(program.stdout.readline()))
        program.stdin.close()
        assert program.wait(60) == 0
    tools = {tool["name"] for tool in answers[1]["result"]["tools"]}
    assert {"request_approval", "wait_for_decision", "use_approval"} <= tools
