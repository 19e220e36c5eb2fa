"""Files for their owner only, from the start, and on the disk before anything refers to them."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write a file, in place of an earlier one, as a whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def private_folder(path: Path) -> Path:
    """Create the folder, if it is missing, for its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path
