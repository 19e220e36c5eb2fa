"""Freezing a manifest: what it refers to by path is put into it, so that every machine runs the same for ever."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any, Protocol

from domain.errors import Fault, InvalidManifest
from domain.manifest import MAX_STEPS, read

# Bytes of one path; what file systems take at most for a name.
MAX_PATH = 255


class Artifacts(Protocol):
    """The files that a manifest refers to, those that were sent with it and those of the server."""

    def text(self, field: str, path: str) -> str:
        """The file's text. Raises `LookupError` with a message when it is not there or cannot be read."""

    def value(self, field: str, path: str) -> Any:
        """The file read as YAML or JSON. Raises as `text` does, `ValueError` where it is neither."""


def freeze(document: object, artifacts: Artifacts) -> dict[str, Any]:
    """The manifest with everything that it refers to. Raises `InvalidManifest` with every fault, also of the rest."""
    frozen = deepcopy(document)
    missing = list(_freeze_steps(frozen, artifacts))
    paths = tuple(fault.path for fault in missing)
    _, faults = read(frozen)
    # A field that could not be filled has one fault, not two.
    if found := missing + [fault for fault in faults if not fault.path.startswith(paths)]:
        raise InvalidManifest(sorted(found, key=lambda fault: fault.path))
    assert isinstance(frozen, dict)
    return frozen


def path_fault(path: str) -> str | None:
    """Why this is not the path of an artifact, or None."""
    if not path or len(path.encode("utf-8", "replace")) > MAX_PATH or "\x00" in path:
        return f"is not a path of 1 to {MAX_PATH} bytes"
    if "\\" in path:
        return "has a backslash: write it with /"
    if path.startswith("/") or path[1:2] == ":" or path.startswith("~"):
        return "is not relative: a path begins inside its root"
    if ".." in PurePosixPath(path).parts:
        return "leaves its root: .. is not allowed"
    return None


def referenced(document: object) -> Iterator[tuple[str, str]]:
    """(field, path) of everything that the manifest refers to."""
    for _, step in _steps(document):
        for field in _FREEZERS:
            if isinstance(path := step.get(field), str):
                yield field, path


def _steps(document: object) -> Iterator[tuple[int, dict[str, Any]]]:
    steps = document.get("steps") if isinstance(document, dict) else None
    if isinstance(document, dict) and document.get("kind") == "saga" and isinstance(steps, list):
        yield from ((index, step) for index, step in enumerate(steps[:MAX_STEPS]) if isinstance(step, dict))


def _freeze_steps(document: object, artifacts: Artifacts) -> Iterator[Fault]:
    for index, step in _steps(document):
        for field, freezer in _FREEZERS.items():
            path = step.get(field)
            if not isinstance(path, str):
                continue
            message = path_fault(path)
            if message is None:
                try:
                    step[field] = freezer(artifacts, path)
                except LookupError as error:
                    message = str(error.args[0])
                except ValueError as error:
                    message = f"{path} cannot be read: {error}"
            if message is not None:
                yield Fault(f"steps[{index}].{field}", message)


def _frozen_prompt(artifacts: Artifacts, path: str) -> Any:
    return {"inline": artifacts.text("prompt", path), "ref": path}


def _frozen_policy(artifacts: Artifacts, path: str) -> Any:
    return {"name": path, "cel": artifacts.text("policy", path)}


def _frozen_schema(artifacts: Artifacts, path: str) -> Any:
    return artifacts.value("output_schema", path)


def _frozen_compensation(artifacts: Artifacts, path: str) -> Any:
    return artifacts.value("compensation", path)


_FREEZERS = {
    "prompt": _frozen_prompt,
    "policy": _frozen_policy,
    "output_schema": _frozen_schema,
    "compensation": _frozen_compensation,
}
