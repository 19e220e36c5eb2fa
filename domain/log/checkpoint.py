"""A checkpoint of a log: its name, size and root, in the C2SP formats `tlog-checkpoint` and `signed-note`.

`adapters.receipts.notes` signs and verifies it.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from urllib.parse import urlsplit

# In C2SP's signed notes: the signature is Ed25519.
_ED25519 = b"\x01"
_SIGNATURE = "\N{EM DASH} "
# A note with one signature has about 250 characters; a witness adds a hundred.
MAX_NOTE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: the root of the Merkle tree over its first `size` entries.

    Attributes:
        origin: the log's name, the server's address and `/audit/` and the namespace.
    """

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The signed text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @property
    def namespace(self) -> str:
        return self.origin.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature of a note. `key_id` has 4 bytes, to find the key."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        return f"{_SIGNATURE}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


def origin_of(public_url: str, namespace: str) -> str:
    """Return the name of a namespace's log. C2SP wants a URL without its scheme."""
    parts = urlsplit(public_url)
    return f"{parts.netloc}{parts.path.rstrip('/')}/audit/{namespace}"


def key_id(name: str, public: bytes) -> bytes:
    """Return the id of an Ed25519 key in a signed note."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def verifier_key(name: str, public: bytes) -> str:
    """Return the public key as other verifiers of signed notes take it (`vkey`)."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def note(text: str, signature: NoteSignature) -> str:
    return f"{text}\n{signature.line}"


def read_note(content: str) -> tuple[str, list[NoteSignature]]:
    """Return a note's text and its signatures. Raise `ValueError`."""
    text, separator, lines = content.rpartition("\n\n")
    if len(content) > MAX_NOTE or not separator or not lines.endswith("\n"):
        raise ValueError("it is not a signed note: a text, an empty line, and lines of signatures")
    return text + "\n", [_signature(line) for line in lines.removesuffix("\n").split("\n")]


def _signature(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_SIGNATURE).partition(" ")
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not line.startswith(_SIGNATURE) or not separator or not name or len(content) <= 4:
        raise ValueError("it is not a signed note: a line after the empty one is not a signature")
    return NoteSignature(name, content[:4], content[4:])


def read_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note. Raise `ValueError`. Lines after the third one are extensions."""
    lines = text.split("\n")
    try:
        origin, size, root = lines[:3]
        found = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("it is not a checkpoint: its lines are not a name, a size and a root") from None
    if not origin or str(found.size) != size or found.size < 0 or len(found.root) != 32:
        raise ValueError("it is not a checkpoint: its size or root is not one")
    return found
