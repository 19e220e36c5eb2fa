"""Checkpoints of the audit log at the terminal: the one that a reader has kept, and the proof that the log grew."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from adapters.receipts.notes import NoteRefused, verify_checkpoint
from adapters.receipts.verification import Keys
from cli.client import Failure, Server
from cli.commands.receipt import Unusable
from cli.views.output import clean
from domain.identity.access import Role
from domain.log.audit_chain import LogItem, SignedRoot
from domain.log.checkpoint import MAX_NOTE, Checkpoint, read_checkpoint, read_note
from domain.log.merkle import extends


def kept_checkpoint(file: Path, keys: Keys | None) -> Checkpoint:
    """Return the checkpoint in the file. Its signature is verified if keys are given; its reader trusts it anyway."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_NOTE + 1).decode()
        return read_checkpoint(read_note(content)[0]) if keys is None else verify_checkpoint(content, keys)
    except (OSError, ValueError, NoteRefused) as error:
        why = getattr(error, "strerror", None) or error
        raise Unusable(clean(f"the checkpoint in {str(file)!r} cannot be used: {why}")) from None


def check_signatures(log: Iterable[LogItem], keys: Keys | None) -> Iterator[LogItem]:
    """Yield the log, and raise `Failure` at a checkpoint that none of the keys has signed."""
    for item in log:
        if keys is not None and isinstance(item, SignedRoot):
            try:
                verify_checkpoint(item.note, keys)
            except NoteRefused as refused:
                place = f"the checkpoint at {item.size} entries of {item.namespace!r}"
                raise Failure(clean(f"{place} is not genuine: {refused}")) from None
        yield item


def prove_growth(server: Server, trusted: Checkpoint, keys: Keys) -> None:
    """Prove that the server's log begins with the checkpoint. Raise `Failure` if it does not."""
    query = {"namespace": trusted.namespace}
    note = server.request(Role.OPERATOR, "GET", "/v1/audit/checkpoint", query=query).text
    try:
        latest = verify_checkpoint(note, keys)
    except NoteRefused as refused:
        raise Failure(clean(f"the server's checkpoint is not genuine: {refused}")) from None
    what = f"the audit log of {trusted.namespace!r}"
    if latest.namespace != trusted.namespace:
        raise Failure(clean(f"the server answers with a checkpoint of {latest.namespace!r}, not of {what}"))
    if latest.size < trusted.size:
        raise Failure(clean(f"{what} was cut: it has {latest.size} entries, and your checkpoint has {trusted.size}"))
    if trusted.size == 0:
        return
    wanted = {**query, "from": trusted.size, "to": latest.size}
    found = server.request(Role.OPERATOR, "GET", "/v1/audit/proof/consistency", query=wanted).document
    proof = [bytes.fromhex(each) for each in found["hashes"]]
    if not extends(trusted.size, trusted.root, latest.size, latest.root, proof):
        raise Failure(
            clean(f"{what} was rewritten: it does not begin with the {trusted.size} entries of your checkpoint")
        )
