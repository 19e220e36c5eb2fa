"""A reading of the Dockerfile that runs its lines without Docker, in a mount namespace of Linux (as root).

Each stage is a folder, which its commands see as /srv. Its base image is this machine, whose Python they use. A process
of the image sees all of the machine read-only. It has the image's user and variables, no capabilities, and what
compose.yaml mounts.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
# This machine's Python is where the base image has its own.
PYTHON = shlex.join(["mount", "--bind", sys.base_prefix, "/usr/local"])
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
UNSHARED = ("unshare", "--mount", "--propagation", "private", "--")
BUILD_SECONDS = 300


class Instruction(NamedTuple):
    word: str
    rest: str

    @property
    def arguments(self) -> list[str]:
        """Return its words, in the JSON form or the shell's."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)


def instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines()]


class Image:
    """The built image: the folders of its stages, and how its processes start."""

    def __init__(self, dockerfile: Path, context: Path, folder: Path) -> None:
        self._folder = folder
        self._context = context
        self._cwd = "/"
        self._stages: dict[str, Path] = {}
        self.environ: dict[str, str] = {}
        self.user = ""
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.healthcheck: list[str] = []
        for instruction in instructions(dockerfile.read_text()):
            getattr(self, f"_{instruction.word.lower()}")(instruction)

    @property
    def srv(self) -> Path:
        """Return the last stage's folder."""
        return list(self._stages.values())[-1]

    def _arg(self, _: Instruction) -> None: ...

    _label = _expose = _arg

    def _from(self, instruction: Instruction) -> None:
        _, *name = instruction.arguments
        self._cwd = "/"
        stage = self._folder / f"stage-{len(self._stages)}"
        stage.mkdir()
        self._stages[name[-1] if name else stage.name] = stage

    def _workdir(self, instruction: Instruction) -> None:
        self._cwd = instruction.rest
        if self._cwd.startswith("/srv/"):
            self._inside(self._cwd).mkdir(parents=True)

    def _copy(self, instruction: Instruction) -> None:
        *options, source, target = instruction.arguments
        if options:
            (stage,) = (option.removeprefix("--from=") for option in options)
            shutil.copytree(self._inside(source, stage), self._inside(target), symlinks=True, copy_function=os.link)
        else:
            assert (source, target) == (".", ".")
            copy_context(self._context, self._inside(self._cwd))

    def _run(self, instruction: Instruction) -> None:
        setup = f'{PYTHON}; mount --bind "$0" /srv; cd {self._cwd}; export PATH={PATH}; eval "$1"'
        command = [*UNSHARED, "sh", "-ec", setup, self.srv, instruction.rest]
        # With the machine's own settings of registries.
        ours = ("PYTHON", "VIRTUAL_ENV", "SAGAHOLD_", "DATABASE_URL", "REDIS_URL")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        subprocess.run(command, env=environ, check=True, timeout=BUILD_SECONDS)

    def _env(self, instruction: Instruction) -> None:
        pairs = (argument.partition("=") for argument in instruction.arguments)
        self.environ = {name: value.replace("$PATH", PATH) for name, _, value in pairs}

    def _user(self, instruction: Instruction) -> None:
        self.user = instruction.rest

    def _entrypoint(self, instruction: Instruction) -> None:
        self.entrypoint = instruction.arguments

    def _cmd(self, instruction: Instruction) -> None:
        self.command = instruction.arguments

    def _healthcheck(self, instruction: Instruction) -> None:
        self.healthcheck = Instruction("CMD", instruction.rest[instruction.rest.index("[") :]).arguments

    def _inside(self, path: str, stage: str | None = None) -> Path:
        assert path.startswith("/srv/"), f"{path}: the stages of this file keep everything in /srv"
        return (self._stages[stage] if stage else self.srv) / path.removeprefix("/srv/")

    def start(
        self, arguments: Sequence[str], environ: dict[str, str], mounts: dict[str, Path], **options: Any
    ) -> "subprocess.Popen[str]":
        """Start a process of the image. `mounts`: folders of this machine by their places inside, read-only."""
        # /tmp comes last, because the folders may lie in it.
        setup = [PYTHON, "mount -o remount,bind,ro /"]
        for inside, folder in {"/srv": self.srv, **mounts}.items():
            bound = shlex.join(["mount", "--bind", str(folder), inside])
            setup += [bound, f"mount -o remount,bind,ro {inside}"]
        setup += ["mount -t tmpfs -o mode=1777 tmpfs /tmp", f"cd {self._cwd}", 'exec "$@"']
        command = [*UNSHARED, "sh", "-ec", "; ".join(setup), "sh", *self._as_user(environ), *self.entrypoint]
        return subprocess.Popen([*command, *arguments], text=True, **options)

    def run_inside(
        self, process: "subprocess.Popen[str]", command: Sequence[str], environ: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a running process's file system, as `docker exec` does."""
        # nsenter's --wd would lead to the folder outside.
        enter = ["nsenter", "--target", str(process.pid), "--mount", "sh", "-ec", f'cd {self._cwd}; exec "$@"', "sh"]
        full = [*enter, *self._as_user(environ), *command]
        return subprocess.run(full, capture_output=True, text=True, timeout=120, check=False)

    def _as_user(self, environ: dict[str, str]) -> list[str]:
        user, group = self.user.split(":")
        drop = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        drop += ["--inh-caps=-all", "--bounding-set=-all", "--"]
        # This user may be unable to reach the path that this Python has built in for its own library.
        found = {**self.environ, "LD_LIBRARY_PATH": "/usr/local/lib", **environ}
        return [*drop, "env", "-i", *(f"{name}={value}" for name, value in found.items())]


def copy_context(source: Path, target: Path) -> None:
    """Copy what .dockerignore lets through. Its patterns: `*`, `!name` of the top level, and some that exclude more."""
    lines = [line for line in (source / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    excluded = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]

    def unwanted(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(source)
        return {
            name for name in names for each in excluded if fnmatch.fnmatch(name, each) or str(inside / name) == each
        }

    for name in kept:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=unwanted)
        else:
            shutil.copy(source / name, target / name)
