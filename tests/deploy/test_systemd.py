"""The units, as systemd's own verifier understands them. No systemd runs here to start them."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.devstack.procfile import PROCFILE, read_procfile
from settings import SECRETS
from tests.acceptance.commands import SAGAHOLD
from tests.debian import program
from tests.deploy.conftest import ROOT
from tests.deploy.processes import parsed

UNITS = ROOT / "deploy" / "systemd"
ALL = UNITS / "sagahold-.service.d" / "10-sagahold.conf"
INSTALLED = "/opt/sagahold/bin/sagahold"
# A tenth of a point each, and 10 points are the worst. systemd 252 counts 1.4; other versions may look at more.
MOST_EXPOSURE = "20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with the path of a command that is there."""
    copied = tmp_path_factory.mktemp("systemd") / "units"
    shutil.copytree(UNITS, copied)
    for unit in copied.glob("*.service"):
        unit.write_text(unit.read_text().replace(INSTALLED, str(SAGAHOLD)))
    return copied


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_the_unit_is_valid_and_little_exposed(folder: Path, unit: str) -> None:
    analyze = program("systemd-analyze", "systemd")
    name = unit.replace("@", "@1")
    # The colon adds the system's own units, such as the targets that these name.
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"}
    for command in (
        ["verify", "--man=no", name],
        ["security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSURE}", name],
    ):
        ran = subprocess.run([analyze, *command], env=environ, capture_output=True, text=True, check=False)
        # The verifier ends with success in spite of an unknown setting.
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout


def test_each_process_has_a_unit_with_a_valid_command() -> None:
    found = set()
    for unit in UNITS.glob("*.service"):
        (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        command, process, *words = shlex.split(line.replace("%i", "1"))
        assert command == INSTALLED
        assert unit.name.startswith(f"sagahold-{process}")
        parsed(process, words)
        found.add(process)
    assert found == set(read_procfile(PROCFILE))


def test_every_secret_is_a_credential() -> None:
    text = ALL.read_text()
    credentials = dict(re.findall(r"^LoadCredential=(\w+):(.*)$", text, re.MULTILINE))
    assert credentials == {name: f"/etc/sagahold/{name}" for name in ("database_url", "redis_url", "encryption_key")}
    files = dict(re.findall(r"^Environment=(\w+)_FILE=%d/(\w+)$", text, re.MULTILINE))
    assert set(files) <= set(SECRETS)
    assert set(files.values()) == set(credentials)
