"""Files that manifests refer to, read from the folders that the server was given for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Bytes of one file: a definition with all of its files has at most a MiB.
MAX_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """
    Attributes:
        roots: by the field of a manifest that names a path (`prompt`, `policy`, …), the folder it begins in.
    """

    roots: Mapping[str, Path] = field(default_factory=dict)

    def text(self, name: str, path: str) -> str:
        """Raises `LookupError` with a message where there is no such file inside of the folder, or none to be read."""
        root = self.roots.get(name)
        if root is None:
            raise LookupError(f"{path} was not sent along, and the server has no folder for it")
        try:
            # Follows links: what counts is where the file is.
            file = (root / path).resolve(strict=True)
            if not file.is_relative_to(root.resolve()):
                raise LookupError(f"{path} leads out of its folder")
            with file.open("rb") as opened:
                raw = opened.read(MAX_FILE + 1)
        except (OSError, RuntimeError, ValueError):
            raise LookupError(f"{path} was not sent along, and is not in the server's folder for it") from None
        if len(raw) > MAX_FILE:
            raise LookupError(f"{path} is larger than {MAX_FILE // 1024} KiB")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise LookupError(f"{path} is not text in UTF-8") from None
