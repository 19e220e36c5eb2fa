"""Files that manifests refer to, read from the server's configured folders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Bytes of one file. A definition with all of its files has at most 1 MiB.
MAX_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """The server's folders of files for manifests.

    Attributes:
        roots: the folder of each manifest field that names a path (`prompt`, `policy`, …).
    """

    roots: Mapping[str, Path] = field(default_factory=dict)

    def text(self, name: str, path: str) -> str:
        """Return the file's text. Raises `LookupError` if the folder has no such readable file."""
        root = self.roots.get(name)
        if root is None:
            raise LookupError(f"{path} was not sent with the manifest, and the server has no folder for it")
        try:
            # Resolves links, because the real location counts.
            file = (root / path).resolve(strict=True)
            if not file.is_relative_to(root.resolve()):
                raise LookupError(f"{path} is outside its folder")
            with file.open("rb") as opened:
                raw = opened.read(MAX_FILE + 1)
        except (OSError, RuntimeError, ValueError):
            raise LookupError(f"{path} was not sent with the manifest and is not in the server's folder") from None
        if len(raw) > MAX_FILE:
            raise LookupError(f"{path} is larger than {MAX_FILE // 1024} KiB")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise LookupError(f"{path} is not UTF-8 text") from None
