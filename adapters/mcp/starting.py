"""Why the program of a tool source cannot be started: which file is wrong, and relative to which folder."""

import errno
import os
from pathlib import Path

from domain.manifests.definition import ToolSource

# A later try finds the same. Tries go on for half a minute, and other workers' machines have the same programs.
# A lack of memory or processes may pass.
LASTING = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOEXEC,
        errno.ELIBBAD,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.E2BIG,
    }
)


def why_not_started(error: OSError, source: ToolSource) -> str:
    words = (error.strerror or type(error).__name__).lower()
    # The system names the folder if that is what cannot be entered.
    if source.cwd is not None and error.filename == source.cwd and not _enterable(source.cwd):
        if isinstance(error, FileNotFoundError):
            return f"there is no folder {source.cwd!r} (its `cwd`) where the worker runs"
        return f"{words} (its `cwd` is {source.cwd!r})"
    if not isinstance(error, FileNotFoundError):
        return f"{words} (its `command` is {source.command!r}{_looked_for(source)})"
    if "/" in (source.command or "") and Path(source.cwd or "", source.command or "").exists():
        # The system reports the same error for a missing program.
        return f"{source.command!r}{_looked_for(source)} is there, but not the interpreter that its first line names"
    return f"there is no program {source.command!r}{_looked_for(source)}"


def _enterable(folder: str) -> bool:
    return Path(folder).is_dir() and os.access(folder, os.X_OK)


def _looked_for(source: ToolSource) -> str:
    command = source.command or ""
    if "/" not in command:
        return " in the folders of the " + ("PATH in its `env`" if "PATH" in source.env else "worker's PATH")
    if command.startswith("/"):
        return ""
    return f" in {source.cwd!r} (its `cwd`)" if source.cwd else " in the folder that the worker runs in"
