"""`sagahold examples`: copies of the examples, which run from any folder."""

import shlex
import shutil
import sys
from pathlib import Path

import click

from cli.client import Failure
from cli.devstack.procfile import PROCFILE

EXAMPLES = PROCFILE.parent / "examples"
LEDGER = "ledger"
# An environment of `uvx` or `pipx` has no pip.
INSTALLATION = ".venv/bin/python -m pip install --quiet mcp-server-git"
ADVICE = '{ echo "First install mcp-server-git into the environment of \\`sagahold up\\`" >&2; exit 1; }'


@click.group()
def examples() -> None:
    """Copy an example to run against `sagahold up`."""


@examples.command("list")
def list_examples() -> None:
    """List the examples."""
    click.echo("\n".join(_names()))


@examples.command()
@click.argument("name")
def copy(name: str) -> None:
    """Copy the example NAME into this folder, which is the one where `sagahold up` was started."""
    if name not in _names():
        raise click.BadParameter(f"no example is {name!r}; examples are {', '.join(_names())}", param_hint="NAME")
    target = Path.cwd() / name
    if target.exists():
        raise Failure(f"{target} is there already: rename it, or go to another folder")
    shutil.copytree(EXAMPLES / name, target)
    shutil.copy(EXAMPLES / LEDGER / "server.py", target / "ledger.py")
    _rewrite(
        target / "worker.yaml",
        {f"examples/{LEDGER}/server.py": str(target / "ledger.py"), ".sagahold": str(Path.cwd() / ".sagahold")},
    )
    own = {
        INSTALLATION: ADVICE,
        ".venv/bin": shlex.quote(str(Path(sys.executable).parent)),
        f"examples/{name}/": f"{name}/",
    }
    _rewrite(target / "run", {**own, '")/../.."': '")/.."', "make up": "sagahold up"})
    click.echo(f"Copied to {target}. Run it, while `sagahold up` runs in this folder:\n  {name}/run")


def _names() -> list[str]:
    return sorted(path.parent.name for path in EXAMPLES.glob("*/run"))


def _rewrite(file: Path, replacements: dict[str, str]) -> None:
    text = file.read_text()
    for old, new in replacements.items():
        text = text.replace(old, new)
    file.write_text(text)
