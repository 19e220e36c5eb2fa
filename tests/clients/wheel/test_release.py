"""A release: the version in all files, the notes, the lines of the workflow, and server.json of the MCP registry."""

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.values.version import VERSION
from lint.release import CHANGELOG, PLACES, ReleaseError, notes, set_version, versions
from tests.clients.wheel.conftest import CLEAN, ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
# They build or download what other tests have built, or need the outside: an identity of a workflow, and registries.
NOT_RUN = {
    "Build",
    "Install from an empty cache, and approve a pause",
    "Tools",
    "Installed packages",
    "Publish",
    "Publish server.json",
    "Create the release with its notes and files",
}
Copy = Callable[..., Path]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with the files that a release reads and changes."""
    for name in (*PLACES, CHANGELOG, "pyproject.toml", "lint/release.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def stating(version: str) -> dict[str, set[str]]:
    return {name: {version} for name in PLACES}


def steps() -> dict[str, dict[str, Any]]:
    """Return the steps of the workflow that run lines, by their names."""
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    return {step["name"]: step for job in jobs for step in job["steps"] if "run" in step}


def run(step: str, cwd: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a step as GitHub does."""
    command = ["bash", "-e", "-c", steps()[step]["run"]]
    return subprocess.run(
        command, cwd=cwd, env={**CLEAN, **environ}, capture_output=True, text=True, timeout=170, check=False
    )


class TestVersion:
    def test_all_files_state_the_servers(self) -> None:
        assert versions(ROOT) == stating(VERSION)

    def test_set(self, copy: Path) -> None:
        set_version(copy, "1.2.3", "2027-01-31")
        assert versions(copy) == stating("1.2.3")
        for name in PLACES:
            old, new = ((root / name).read_text() for root in (ROOT, copy))
            assert new == old.replace(VERSION, "1.2.3")
        found = notes(copy, "v1.2.3")
        assert found.startswith("The first version that runs")
        assert "](https://github.com/sagahold/sagahold/blob/v1.2.3/docs/reviews.md)" in found
        assert "](docs/" not in found
        with pytest.raises(ReleaseError, match="has 0 sections"):
            set_version(copy, "1.2.4", "2027-02-01")

    @pytest.mark.parametrize("version", ["v1.2.3", "1.2", "1.2.3rc1", ""])
    def test_set_to_none(self, copy: Path, version: str) -> None:
        with pytest.raises(ReleaseError, match="is not a version"):
            set_version(copy, version, "2027-01-31")
        assert versions(copy) == stating(VERSION)

    def test_the_workflow_refuses_what_does_not_fit(self, copy: Path) -> None:
        step = "Check the tag against all files, and write the notes"
        other = run(step, copy, GITHUB_REF_NAME="v9.9.9")
        assert other.returncode == 1
        assert f"release: the tag is v9.9.9, but these have another version: domain/values/version.py ({VERSION})" in (
            other.stderr
        )
        shutil.rmtree(copy / "out")
        undated = run(step, copy, GITHUB_REF_NAME=f"v{VERSION}")
        assert f"has no section `## {VERSION} (YYYY-MM-DD)`" in undated.stderr
        shutil.rmtree(copy / "out")
        set_version(copy, "1.2.3", "2027-01-31")
        assert run(step, copy, GITHUB_REF_NAME="v1.2.3").returncode == 0
        assert (copy / "out" / "notes.md").read_text() == notes(copy, "v1.2.3") + "\n"


class TestWorkflow:
    def test_each_line_is_run_or_named(self) -> None:
        source = Path(__file__).read_text()
        ran = {name for name in steps() if f'"{name}"' in source} - NOT_RUN
        assert ran | NOT_RUN == set(steps())
        for name, step in steps().items():
            assert subprocess.run(["bash", "-n", "-c", step["run"]], check=False).returncode == 0, name

    def test_no_job_has_a_token_that_lasts(self) -> None:
        text = WORKFLOW.read_text()
        assert "secrets." not in text
        assert yaml.safe_load(text)["permissions"] == {}

    def test_the_lint_of_workflows(self, tools: Path, tmp_path: Path) -> None:
        """It finds actions without a commit, rights that are too wide, and a contributor's text in a shell's lines."""
        zizmor = [tools / "bin" / "zizmor", "--offline", "--quiet", "--strict-collection"]
        files = [ROOT / ".github" / "workflows", ROOT / "integrations" / "github-action" / "action.yml"]
        ran = subprocess.run([*zizmor, *files], capture_output=True, text=True, timeout=170, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        worse = tmp_path / "worse.yml"
        worse.write_text(re.sub(r"@[0-9a-f]{40} # v5\.0\.0", "@v5", WORKFLOW.read_text()))
        ran = subprocess.run([*zizmor, worse], capture_output=True, text=True, timeout=170, check=False)
        assert "unpinned-uses" in ran.stdout

    def test_the_bill_of_materials(self, tools: Path, sagahold: Path, tmp_path: Path) -> None:
        (tmp_path / "tools").symlink_to(tools)
        (tmp_path / "installed").symlink_to(sagahold.parents[1])
        (tmp_path / "out").mkdir()
        ran = run("Bill of materials", tmp_path)
        assert ran.returncode == 0, ran.stderr
        document = json.loads((tmp_path / "out" / "sagahold.cdx.json").read_text())
        assert document["bomFormat"] == "CycloneDX"
        found = {part["name"]: part["version"] for part in document["components"]}
        assert (found["sagahold"], found["sagahold-server"]) == (VERSION, VERSION)
        assert {"flask", "celery", "sqlalchemy"} <= {name.lower() for name in found}

    def test_the_sums(self, tmp_path: Path) -> None:
        for folder in ("dist", "out"):
            (tmp_path / folder).mkdir()
        names = ("sagahold-1.2.3-py3-none-any.whl", "sagahold-1.2.3.tar.gz", "sagahold-client-1.2.3.tgz")
        for name in names:
            (tmp_path / "dist" / name).write_text(name)
        assert run("Sums, and a folder for each place", tmp_path).returncode == 0
        expected = {f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in names}
        assert set((tmp_path / "out" / "SHA256SUMS").read_text().splitlines()) == expected
        assert {path.name for path in (tmp_path / "out" / "python").iterdir()} == set(names[:2])
        assert [path.name for path in (tmp_path / "out" / "npm").iterdir()] == [names[2]]

    def test_the_publisher_must_have_its_sum(self, tmp_path: Path) -> None:
        program = tmp_path / "mcp-publisher"
        program.write_text("#!/bin/sh\n")
        archive = tmp_path / "served.tar.gz"
        with tarfile.open(archive, "w:gz") as made:
            made.add(program, program.name)
        program.unlink()
        url = archive.as_uri()
        assert run("Publisher", tmp_path, URL=url, SHA256="0" * 64).returncode != 0
        assert not program.exists()
        right = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert run("Publisher", tmp_path, URL=url, SHA256=right).returncode == 0
        assert program.exists()


class TestServerJson:
    RULES = ("--rule", "mcp-registry-server-json-valid", "--rule", "mcp-registry-version-semver")

    def lint(self, tools: Path, folder: Path, document: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        folder.mkdir()
        (folder / "server.json").write_text(json.dumps(document))
        command = [tools / "bin" / "skillsaw", "lint", "--strict", "--no-plugins", *self.RULES, folder]
        return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)

    def test_it_fits_the_schema(self, tools: Path, tmp_path: Path) -> None:
        """The linter has the registry's schemas and its rules for publishers."""
        document = json.loads((ROOT / "server.json").read_text())
        right = self.lint(tools, tmp_path / "right", document)
        assert right.returncode == 0, right.stdout
        wrong = self.lint(tools, tmp_path / "wrong", document | {"description": "x" * 101})
        assert wrong.returncode == 1
        assert "description" in wrong.stdout

    def test_the_package_names_its_server(self, wheels: list[Path]) -> None:
        """The registry reads this line in the description of the published package."""
        document = json.loads((ROOT / "server.json").read_text())
        (package,) = document["packages"]
        (wheel,) = (wheel for wheel in wheels if wheel.name.startswith(f"{package['identifier']}-"))
        metadata = zipfile.ZipFile(wheel).read(f"{package['identifier']}-{VERSION}.dist-info/METADATA").decode()
        assert f"\n<!-- mcp-name: {document['name']} -->\n" in metadata
