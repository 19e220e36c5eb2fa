"""`sagahold audit …`: who changed what, and whether the log of it is whole: the server's, or an export of it."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click
from rich.console import Console

from cli.client import Failure, open_server
from cli.session import CommandContext, command, page_options, server_options
from cli.views.output import clean, console, page, short, table, two_lines
from domain.identity.access import Role
from domain.log.audit_chain import ChainError, ChainHeads, ChainRow, read_line
from domain.log.audit_chain import verify as verdict_on

# A long log takes the server a while: some 10,000 rows a second.
VERIFY_SECONDS = 600.0
_WORDS = {ChainError.CHANGED: "was changed", ChainError.MISSING: "is missing", ChainError.INSERTED: "was put in"}


@click.group()
def audit() -> None:
    """Who changed what: append-only, chained by hashes."""


@command(audit, "list", Role.OPERATOR)
@click.option("--namespace", help="Whose chain; * is the one of what belongs to several.")
@click.option("--subject", metavar="ID", help="What was changed.")
@click.option("--type", metavar="TYPE", help="What was done: pause.approved.")
@click.option("--by", metavar="ID", help="The key or person; or system.")
@click.option("--since", metavar="TIME", help="As 2026-12-31T00:00:00Z.")
@click.option("--until", metavar="TIME")
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List what was changed, the newest first."""
    session.show(session.ask("GET", "/v1/audit-events", query=query), _list)


@audit.command("verify")
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--namespace", help="One chain; default: all that the key may see.")
@click.option("--rows", is_flag=True, help="Compare pauses, sagas and steps with what the log says of them, too.")
def verify(
    file: BinaryIO | None, namespace: str | None, rows: bool, url: str | None, data_dir: Path, as_json: bool
) -> None:
    """Look for rows that were changed, removed or put in: in the server's log, or in FILE, an export, without a server.

    Exit status 1 names the first such row; with --rows, each field that does not fit.
    """
    if file is None:
        with open_server(url, data_dir) as server:
            query = {"namespace": namespace, "rows": "true" if rows else None}
            found = server.ask(Role.OPERATOR, "GET", "/v1/audit/verify", query=query, held=VERIFY_SECONDS).document
    elif namespace is not None or rows:
        raise click.UsageError("--namespace and --rows are for the server's log: a FILE is verified as a whole")
    else:
        found = verdict_on(_exported(file)).document()
    if as_json:
        click.echo(json.dumps(found))
    if (bad := found["first_bad"]) is not None:
        raise Failure(clean(f"row {bad['seq']} of the audit log of {bad['namespace']!r} {_WORDS[bad['what']]}"))
    if rows and found["rows"]["differences"]:
        _fail_for(found["rows"], as_json)
    if not as_json:
        console().print(f"{found['checked']} rows: the audit log is whole")
        if rows:
            console().print(_unchanged(found["rows"]))


def _fail_for(rows: dict[str, Any], as_json: bool) -> NoReturn:
    """Name the first in the error, and each of several on a line of its own."""
    told = [clean(_difference(bad)) for bad in rows["bad"]]
    more = rows["differences"] - 1
    if more and not as_json:
        for line in told:
            console().print(line, soft_wrap=True)
        if left := rows["differences"] - len(told):
            console().print(f"and {left} more")
    raise Failure(f"{told[0]}{f'; {more} more fields do not fit' if more else ''}")


def _difference(bad: dict[str, Any]) -> str:
    # Whole: somebody searches the log for it.
    which = f"step {bad['span']} of the saga {bad['id']}" if bad["span"] else f"{bad['kind']} {bad['id']}"
    said = "no entry of the log tells of it" if bad["seq"] is None else f"the log says {bad['logged']!r}"
    place = "" if bad["seq"] is None else f" (row {bad['seq']})"
    return f"the {which} of {bad['namespace']!r} was changed: its {bad['field']} is {bad['found']!r}, but {said}{place}"


def _unchanged(rows: dict[str, Any]) -> str:
    partly = f"; of {rows['partly']} of them older entries tell less" if rows["partly"] else ""
    return f"{rows['pauses']} pauses, {rows['sagas']} sagas and {rows['steps']} steps are as the log says{partly}"


verify.params.extend(server_options())


@command(audit, "export", Role.ADMIN)
@click.option("--namespace", help="One chain; default: all that the key may see.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
def export(session: CommandContext, namespace: str | None, output: Path | None) -> None:
    """Write the whole log as JSON Lines, for keeping where nobody can change it."""
    pieces = _complete(session.server.download(session.role, "/v1/audit/export", {"namespace": namespace}))
    try:
        if output is None:
            sys.stdout.buffer.writelines(pieces)
        else:
            _keep(pieces, output)
    except OSError as error:
        raise Failure(f"cannot write {output or 'to standard output'}: {error.strerror}") from None


def _complete(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A server that fails halfway ends its answer as if it were done: without the last line."""
    last = b""
    for piece in pieces:
        yield piece
        last = b"\n".join((last + piece).rsplit(b"\n", 2)[-2:])
    try:
        is_complete = isinstance(read_line(last.decode()), ChainHeads)
    except ValueError:
        is_complete = False
    if not is_complete:
        raise Failure("the server broke the export off: its log says why; try again")


def _keep(pieces: Iterator[bytes], output: Path) -> None:
    """Under its name only when it is complete: an export that broke off does not take the place of the last one."""
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _exported(file: BinaryIO) -> Iterator[ChainRow | ChainHeads]:
    for number, line in enumerate(file, 1):
        try:
            yield read_line(line.decode())
        except ValueError:
            raise Failure(f"line {number} of {file.name!r} is not a line of an audit export") from None


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            str(event["seq"]),
            two_lines(short(event["type"]), short(event["subject"])),
            two_lines(short(event["by_name"]), short(f"{event['at'][:19].replace('T', ' ')} UTC")),
        )
        for event in document["items"]
    ]
    page(screen, document, table(("SEQ", "WHAT, TO WHAT", "BY, AT"), rows), "no entries")
