"""`sagahold audit …`: list, verify and export the audit log."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click
from rich.console import Console

from cli.client import Failure, open_server
from cli.commands.checkpoints import check_signatures, kept_checkpoint, prove_growth
from cli.commands.receipt import keys_of
from cli.session import CommandContext, command, deliver, output_option, page_options, server_options
from cli.views.output import clean, console, lines, page, short, table
from domain.identity.access import Role
from domain.log.audit_chain import OVERDUE, ChainError, ChainHeads, LogItem, SignedRoot, read_line
from domain.log.audit_chain import verify as verdict_on

# The server verifies some 10,000 rows a second.
VERIFY_SECONDS = 600.0
_WORDS = {ChainError.CHANGED: "was changed", ChainError.MISSING: "is missing", ChainError.INSERTED: "was inserted"}
_WORDS[ChainError.REWRITTEN] = "or a later one was rewritten: a signed checkpoint does not fit"


@click.group()
def audit() -> None:
    """List, verify and export the audit log.

    The log is append-only, and hashes chain its rows.
    """


@command(audit, "list", Role.OPERATOR)
@click.option("--namespace", help="List only this namespace's chain, * for entries that span namespaces.")
@click.option("--subject", metavar="ID", help="List only changes of this object.")
@click.option("--type", metavar="TYPE", help="List only this type of change, such as pause.approved.")
@click.option("--by", metavar="ID", help="List only changes by this key or person, or by system.")
@click.option("--since", metavar="TIME", help="List only changes since this time, such as 2026-12-31T00:00:00Z.")
@click.option("--until", metavar="TIME", help="List only changes until this time.")
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List changes, newest first."""
    session.show(session.request("GET", "/v1/audit-events", query=query), _list)


@audit.command("verify")
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--namespace", help="Verify only this namespace's chain (default: all that the key may read).")
@click.option("--rows", is_flag=True, help="Also compare pauses, sagas and steps with the log.")
@click.option(
    "--since",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also prove that the log begins with this checkpoint, which you have kept.",
)
@click.option("--jwks", metavar="FILE|URL", help="Also verify the signatures of checkpoints, with these public keys.")
def verify(
    file: BinaryIO | None,
    namespace: str | None,
    rows: bool,
    since: Path | None,
    jwks: str | None,
    url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Find rows of the audit log that were changed, removed or inserted.

    Verify the server's log, or the export FILE without a server. Exit with status 1 and name the first such row; with
    --rows, name each field that differs.
    """
    keys = None if jwks is None else keys_of(jwks, url, data_dir)
    trusted = None if since is None else kept_checkpoint(since, keys)
    if file is None:
        with open_server(url, data_dir) as server:
            query = {"namespace": namespace, "rows": "true" if rows else None}
            found = server.request(Role.OPERATOR, "GET", "/v1/audit/verify", query=query, held=VERIFY_SECONDS).document
            if trusted is not None and found["first_bad"] is None:
                prove_growth(server, trusted, keys or keys_of(None, url, data_dir))
    elif namespace is not None or rows:
        raise click.UsageError("--namespace and --rows apply only to the server's log, not to a FILE")
    else:
        known = [] if trusted is None else [SignedRoot(trusted.namespace, trusted.size, trusted.root)]
        found = verdict_on(chain(known, check_signatures(_exported(file), keys))).document()
    if as_json:
        click.echo(json.dumps(found))
    if (bad := found["first_bad"]) is not None:
        raise Failure(clean(f"row {bad['seq']} of the audit log of {bad['namespace']!r} {_WORDS[bad['what']]}"))
    if rows and found["rows"]["differences"]:
        _fail_for(found["rows"], as_json)
    # A server of the release before has no unlinked entries.
    if overdue := found.get("overdue", 0):
        raise Failure(
            f"{overdue} entries of the audit log have waited for {OVERDUE} s or more to be linked. A change of them is "
            "not found. Read the logs of web and worker, which link entries"
        )
    if not as_json:
        newer = f", and {found['unlinked']} newer entries are not linked yet" if found.get("unlinked") else ""
        console().print(f"{found['checked']} rows: the audit log is intact{newer}")
        if trusted is not None:
            console().print(f"It begins with the {trusted.size} entries of the checkpoint.")
        if rows:
            console().print(_unchanged(found["rows"]))


def _fail_for(rows: dict[str, Any], as_json: bool) -> NoReturn:
    """Raise `Failure` that names the first difference; print each of several on a line of its own."""
    lines = [clean(_difference(bad)) for bad in rows["bad"]]
    more = rows["differences"] - 1
    if more and not as_json:
        for line in lines:
            console().print(line, soft_wrap=True)
        if left := rows["differences"] - len(lines):
            console().print(f"and {left} more")
    raise Failure(f"{lines[0]}{f'; {more} more fields differ' if more else ''}")


def _difference(bad: dict[str, Any]) -> str:
    # The whole id: a reader searches the log for it.
    which = f"step {bad['span']} of the saga {bad['id']}" if bad["span"] else f"{bad['kind']} {bad['id']}"
    said = "the log has no entry for it" if bad["seq"] is None else f"the log says {bad['logged']!r}"
    place = "" if bad["seq"] is None else f" (row {bad['seq']})"
    return (
        f"the {which} in namespace {bad['namespace']!r} was changed: "
        f"its {bad['field']} is {bad['found']!r}, but {said}{place}"
    )


def _unchanged(rows: dict[str, Any]) -> str:
    partly = f"; {rows['partly']} of them have older entries with less detail" if rows["partly"] else ""
    return f"{rows['pauses']} pauses, {rows['sagas']} sagas and {rows['steps']} steps match the log{partly}"


verify.params.extend(server_options())


@command(audit, "export", Role.ADMIN)
@click.option("--namespace", help="Export only this namespace's chain (default: all that the key may read).")
@output_option
def export(session: CommandContext, namespace: str | None, output: Path | None) -> None:
    """Export the audit log as JSON Lines.

    Keep the export where it cannot be changed.
    """
    chunks = _complete(session.server.download(session.role, "/v1/audit/export", {"namespace": namespace}))
    try:
        if output is None:
            sys.stdout.buffer.writelines(chunks)
        else:
            _write(chunks, output)
    except OSError as error:
        raise Failure(f"cannot write {output or 'to standard output'}: {error.strerror}") from None


def _complete(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks, and raise `Failure` if the last line is missing.

    A server that fails midway ends its response like a complete one, but without that line.
    """
    last = b""
    for chunk in chunks:
        yield chunk
        last = b"\n".join((last + chunk).rsplit(b"\n", 2)[-2:])
    try:
        is_complete = isinstance(read_line(last.decode()), ChainHeads)
    except ValueError:
        is_complete = False
    if not is_complete:
        raise Failure("the server ended the export early: read its log, and try again")


def _write(chunks: Iterator[bytes], output: Path) -> None:
    """Write the file under its name only when it is complete, so that a partial export never replaces the last one."""
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(chunks)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _exported(file: BinaryIO) -> Iterator[LogItem]:
    for number, line in enumerate(file, 1):
        try:
            yield read_line(line.decode())
        except ValueError:
            raise Failure(f"line {number} of {file.name!r} is not a line of an audit export") from None


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            # A new entry has no place in the chain yet.
            "-" if event["seq"] is None else str(event["seq"]),
            lines(short(event["type"]), short(event["subject"])),
            lines(short(event["by_name"]), short(f"{event['at'][:19].replace('T', ' ')} UTC")),
        )
        for event in document["items"]
    ]
    page(screen, document, table(("SEQ", "TYPE, SUBJECT", "BY, AT"), rows), "no entries")


@command(audit, "checkpoint", Role.OPERATOR)
@click.option("--namespace", help="Get the checkpoint of this namespace's log (default: the key's own).")
@output_option
def checkpoint(session: CommandContext, namespace: str | None, output: Path | None) -> None:
    """Get the latest signed checkpoint of the log.

    Keep it where it cannot be changed. `audit verify --since FILE` proves later that the log still begins with it.
    """
    note = session.request("GET", "/v1/audit/checkpoint", query={"namespace": namespace}).text
    if session.as_json:
        note = json.dumps({"checkpoint": note}) + "\n"
    deliver(note, output)
