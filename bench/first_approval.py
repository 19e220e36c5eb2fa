"""`python -m bench.first_approval [uvx pipx pip]`: seconds from an empty folder and an empty cache to an approval.

Each way installs `sagahold[server]` with the wheels in `dist/`, starts the stack, and has a pause approved. After that
time it runs a copied example. It downloads about 100 MB for each way.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from cli.devstack.ports import free_port
from cli.devstack.waiting import wait_until

DIST = Path(__file__).parents[1] / "dist"
BIN = Path(sys.executable).parent
PACKAGE = '"sagahold[server]"'
# For each way: the lines that install, and the command. `$DIST` is the folder of the wheels.
WAYS = {
    "uvx": ("", f'uvx --find-links "$DIST" {PACKAGE}'),
    "pipx": (f'uvx pipx install --pip-args="--find-links $DIST" {PACKAGE}', "bin/sagahold"),
    "pip": (f'python3 -m venv env\nenv/bin/pip install --find-links "$DIST" {PACKAGE}', "env/bin/sagahold"),
}
# A slow network and a slow machine.
WITHIN = 600.0


class FailedError(Exception):
    """An installation does not work. The message has the end of its output."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.first_approval", description="Try the wheels in dist/.")
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"the installers (default: {' '.join(WAYS)})")
    ways = parser.parse_args().ways or list(WAYS)
    if unknown := set(ways) - set(WAYS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    if not list(DIST.glob("sagahold_server-*.whl")):
        parser.error("there are no wheels in dist/: run `make dist` first")
    for way in ways:
        try:
            print(f"{way}: {_measure(way):.1f} s to the first approval; then a saga of a copied example", flush=True)
        except FailedError as error:
            print(f"{way}: {error}", file=sys.stderr)
            return 1
    return 0


def _measure(way: str) -> float:
    with tempfile.TemporaryDirectory(prefix="sagahold-first-") as name:
        folder = Path(name)
        environ = _environment(folder)
        if way == "pipx":
            # The time is that of a machine which has pipx.
            subprocess.run(["uvx", "pipx", "--version"], env=environ, stdout=subprocess.DEVNULL, check=True)
        install, command = WAYS[way]
        up = f"exec {command} up --no-sample --port {free_port('127.0.0.1')}"
        with (folder / "output").open("w+") as output:
            began = time.monotonic()
            stack = subprocess.Popen(
                ["sh", "-euc", f"{install}\n{up}"], cwd=folder, env=environ, stdout=output, stderr=output
            )
            try:
                ready = wait_until(lambda: "Ready:" in _text(folder) or stack.poll() is not None, WITHIN)
                if not ready or stack.poll() is not None:
                    raise FailedError(_text(folder)[-2_000:])
                access = json.loads((folder / ".sagahold" / "credentials.json").read_text())
                headers = {"Authorization": f"Bearer {access['reviewer_key']}"}
                with httpx.Client(base_url=access["url"], headers=headers, trust_env=False) as reviewer:
                    _approve(reviewer, access["agent_key"])
                    seconds = time.monotonic() - began
                    _refund(command, folder, environ, reviewer)
            finally:
                stack.send_signal(signal.SIGTERM)
                status = stack.wait(90)
        if status:
            raise FailedError(f"it ended with status {status}: {_text(folder)[-2_000:]}")
        return seconds


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment with empty caches, in which nothing of this repository or of a running stack is found."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL") and not name.startswith("SAGAHOLD_")
    }
    own = {"UV_CACHE_DIR": "cache/uv", "PIP_CACHE_DIR": "cache/pip", "PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin"}
    paths = {name: str(folder / path) for name, path in own.items()}
    return kept | paths | {"DIST": str(DIST), "PATH": f"{kept['PATH']}{os.pathsep}{BIN}"}


def _approve(reviewer: httpx.Client, agent_key: str) -> None:
    agent = {"Authorization": f"Bearer {agent_key}"}
    pause = reviewer.post("/api/pause", json={"action": "Deploy"}, headers=agent).raise_for_status().json()
    reviewer.post(f"/api/pause/{pause['watchId']}/approve", json={}).raise_for_status()
    status = reviewer.get(pause["statusUrl"], headers=agent).raise_for_status().json()["status"]
    if status != "approved":
        raise FailedError(f"the pause is {status}")


def _refund(command: str, folder: Path, environ: dict[str, str], reviewer: httpx.Client) -> None:
    lines = f"{command} examples copy refund\nrefund/run 40"
    ran = subprocess.run(
        ["sh", "-euc", lines], cwd=folder, env=environ, capture_output=True, text=True, timeout=WITHIN, check=False
    )
    if ran.returncode:
        raise FailedError(f"{lines!r}: {ran.stdout}{ran.stderr}")

    def completed() -> bool:
        return [saga["status"] for saga in reviewer.get("/v1/sagas").json()["items"]] == ["COMPLETED"]

    if not wait_until(completed, WITHIN):
        raise FailedError("the saga of the example does not end")


def _text(folder: Path) -> str:
    return (folder / "output").read_text()


if __name__ == "__main__":
    sys.exit(main())
