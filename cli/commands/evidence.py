"""`sagahold evidence`: the proof of one pause or saga as a file for people without access to the server."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import click

from cli.client import Failure
from cli.session import CommandContext, command
from cli.views.output import clean, console
from domain.identity.access import Role

README = """\
Evidence of {subjects}

This archive shows what Sagahold recorded about a pause or saga, and proves that the record was not changed since.

  entries.jsonl    the entries of the audit log, each with the proof that it is in the log (RFC 9162)
  checkpoint.txt   the state of the log, signed (C2SP tlog-checkpoint, Ed25519)
  receipts/        signed receipts of the decisions (JWS, Ed25519)
  keys.json        the public keys of the server (JWKS)

Verify it without a server, on your own machine:

  pip install "sagahold[evidence]"
  python -m sagahold.evidence evidence.zip --jwks keys-from-elsewhere.json

Without --jwks, the keys of this archive are used. They prove only that the parts belong together. Get the keys at
another time or by another way from {url}/.well-known/jwks.json, or compare their names.

A checkpoint that you have kept before must be a beginning of this log: `sagahold audit verify --since FILE`.
{unsigned}"""


@command(None, "evidence", Role.ADMIN)
@click.argument("subject", metavar="ID")
@click.option("--namespace", help="Look in this namespace's log (default: the key's own).")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file, such as evidence.zip.",
)
def evidence(session: CommandContext, subject: str, namespace: str | None, output: Path) -> None:
    """Export the evidence of a pause or saga, to verify without a server.

    The archive has its entries in the audit log with proofs, a signed checkpoint, the receipts and the public keys.
    """
    query = {"subject": subject, "namespace": namespace}
    found = session.request("GET", "/v1/audit/evidence", query=query).document
    partial = output.with_name(f"{output.name}.part")
    try:
        _write(partial, found, session.server.url)
        os.replace(partial, output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"cannot write {str(output)!r}: {error.strerror}") from None
    if session.as_json:
        counts = {name: len(found[name]) for name in ("entries", "receipts")}
        click.echo(json.dumps({**counts, "unsigned": found["unsigned"], "file": str(output)}))
        return
    what = f"{len(found['entries'])} entries and {len(found['receipts'])} receipts"
    console().print(clean(f"{what} in {output}"), soft_wrap=True)
    if found["unsigned"]:
        console().print(f"{found['unsigned']} newer entries are not signed yet: export again in a few seconds")


def _write(file: Path, found: dict[str, Any], url: str) -> None:
    left = f"\n{found['unsigned']} newer entries were not signed yet, and are not here.\n" if found["unsigned"] else ""
    lines = map(json.dumps, found["entries"])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        readme = README.format(subjects=", ".join(found["subjects"]), url=url, unsigned=left)
        archive.writestr("README.txt", readme)
        archive.writestr("entries.jsonl", "".join(f"{line}\n" for line in lines))
        archive.writestr("checkpoint.txt", found["checkpoint"])
        archive.writestr("keys.json", json.dumps(found["jwks"], indent=2))
        for number, receipt in enumerate(found["receipts"], 1):
            archive.writestr(f"receipts/{number}.jws", receipt)
