"""Verification of signed notes (C2SP `signed-note`) by a set of public keys."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.receipts.verification import Keys
from domain.log.checkpoint import Checkpoint, key_id, read_checkpoint, read_note


class NoteRefused(Exception):
    """The note proves nothing. The message says why."""


def verify_checkpoint(content: str, keys: Keys) -> Checkpoint:
    """Return the checkpoint that one of the keys has signed. Raise `NoteRefused`.

    Signatures by other keys, such as those of witnesses, are ignored.
    """
    try:
        text, signatures = read_note(content)
        found = read_checkpoint(text)
    except ValueError as error:
        raise NoteRefused(str(error)) from None
    for key in keys.values():
        public = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        wanted = key_id(found.origin, public)
        for signature in signatures:
            if signature.name != found.origin or signature.key_id != wanted:
                continue
            try:
                key.verify(signature.signature, text.encode())
            except InvalidSignature:
                raise NoteRefused("its signature is wrong: the checkpoint was changed") from None
            return found
    raise NoteRefused("none of the keys has signed it under the name of the log")
