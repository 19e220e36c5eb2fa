"""`sagahold hook install`: write the hook into a settings file of Claude Code."""

import difflib
import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from cli.client import Failure
from cli.hook import settings
from cli.hook.events import TIMEOUT
from cli.hook.own_files import FILE, user_folder
from cli.hook.rules import STARTER


@click.command()
@click.option("--user", is_flag=True, help="Install for all projects of this user, not for this project.")
@click.option("--timeout", type=click.IntRange(60, 86_400), default=TIMEOUT, show_default=True, help="Wait this long.")
@click.option("--permission-requests", is_flag=True, help="Also answer when Claude Code would ask its user.")
@click.option("--defer", is_flag=True, help="With claude -p, end the session while a call waits for its decision.")
@click.option("--remove", is_flag=True, help="Remove the hook. The rules file stays.")
@click.option("--dry-run", is_flag=True, help="Only show the change.")
def install(user: bool, timeout: int, permission_requests: bool, defer: bool, remove: bool, dry_run: bool) -> None:
    """Add the hook to .claude/settings.json, and keep everything else there.

    Also write the first rules to .claude/sagahold.toml, unless that file is there.
    """
    folder = folder_of(user)
    file = folder / "settings.json"
    before = settings.read(file)
    if remove:
        after = settings.without_hook(before)
    else:
        if before.get("disableAllHooks"):
            raise Failure(f"{file} has disableAllHooks: no hook would run. Remove that line first")
        options = f" --timeout {timeout}" + (" --defer" if defer else "")
        after = settings.with_hook(
            before, f"{program()} hook claude{options} || exit 2", timeout, permissions=permission_requests
        )
    _change(file, before, after, dry_run=dry_run)
    rules = folder / FILE
    if not remove and not os.path.lexists(rules):
        click.echo(f"{rules}: new, with rules that let reading tools pass and hold everything else")
        if not dry_run:
            settings.write(rules, STARTER)
    if not remove and not dry_run:
        click.echo("Next: set SAGAHOLD_URL and SAGAHOLD_API_KEY where Claude Code starts.")
        click.echo("Then run: sagahold hook doctor")


def folder_of(user: bool) -> Path:
    return user_folder() if user else Path.cwd() / ".claude"


def program() -> str:
    """Return this program as a shell finds it: by its name if PATH leads here, so that a team can share the file."""
    own = Path(sys.argv[0]).resolve()
    found = shutil.which("sagahold")
    return "sagahold" if found is not None and Path(found).resolve() == own else shlex.quote(str(own))


def _change(file: Path, before: dict[str, object], after: dict[str, object], *, dry_run: bool) -> None:
    if before == after:
        click.echo(f"{file}: nothing to change")
        return
    old = settings.text(before).splitlines() if before else []
    lines = difflib.unified_diff(old, settings.text(after).splitlines(), str(file), str(file), lineterm="")
    click.echo("\n".join(lines))
    if not dry_run:
        settings.write(file, settings.text(after))
