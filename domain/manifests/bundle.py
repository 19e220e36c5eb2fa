"""Freezing a manifest: what it refers to by path is put into it, so that every machine runs the same for ever."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any, Protocol

from domain.manifests import deploy_checks
from domain.manifests.manifest import MAX_STEPS, read
from domain.values.errors import FieldError, InvalidManifest

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
    missing = list(_freeze(frozen, artifacts))
    paths = tuple(field_error.path for field_error in missing)
    definition, field_errors = read(frozen)
    if definition is not None:
        field_errors += deploy_checks.field_errors(definition)
    # A field that could not be filled has one fault, not two.
    if found := missing + [field_error for field_error in field_errors if not field_error.path.startswith(paths)]:
        raise InvalidManifest(sorted(found, key=lambda field_error: field_error.path))
    assert isinstance(frozen, dict)
    return frozen


def path_error(path: str) -> str | None:
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
    """(field, path) of everything that the manifest may refer to; of a policy also a second way to write it."""
    for _, field, _, path in _references(document):
        yield field, path
        if field == "policy" and "." not in PurePosixPath(path).name:
            yield field, f"{path}.yaml"


def _references(document: object) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """(place, field, where it stands, path) of each."""
    if not isinstance(document, dict) or document.get("kind") != "saga":
        return
    if isinstance(path := document.get("input_schema"), str):
        yield "input_schema", "input_schema", document, path
    steps = document.get("steps")
    for index, step in enumerate(steps[:MAX_STEPS] if isinstance(steps, list) else ()):
        for field in _FREEZERS if isinstance(step, dict) else ():
            if isinstance(path := step.get(field), str):
                yield f"steps[{index}].{field}", field, step, path


def _freeze(document: object, artifacts: Artifacts) -> Iterator[FieldError]:
    for place, field, holder, path in list(_references(document)):
        message = path_error(path)
        if message is None:
            try:
                holder[field] = _FREEZERS[field](artifacts, path)
            except LookupError as error:
                message = str(error.args[0])
            except ValueError as error:
                message = f"{path} cannot be read: {error}"
        if message is not None:
            yield FieldError(place, message)


def _frozen_prompt(artifacts: Artifacts, path: str) -> Any:
    return {"inline": artifacts.text("prompt", path), "ref": path}


def _frozen_policy(artifacts: Artifacts, path: str) -> Any:
    """A file of CEL; or of YAML, `{name, cel}`, which may also be named without its ending."""
    file = PurePosixPath(path)
    try:
        text = artifacts.text("policy", path)
    except LookupError:
        if file.suffix:
            raise
        file = PurePosixPath(f"{path}.yaml")
        text = artifacts.text("policy", str(file))
    if file.suffix.lower() in _YAML and isinstance(found := artifacts.value("policy", str(file)), dict):
        return {"name": str(file.with_suffix("")), **found}
    return {"name": path, "cel": text}


def _frozen_schema(artifacts: Artifacts, path: str) -> Any:
    return artifacts.value("output_schema", path)


def _frozen_compensation(artifacts: Artifacts, path: str) -> Any:
    return artifacts.value("compensation", path)


_YAML = (".yaml", ".yml", ".json")
_FREEZERS = {
    "prompt": _frozen_prompt,
    "policy": _frozen_policy,
    "input_schema": _frozen_schema,
    "output_schema": _frozen_schema,
    "compensation": _frozen_compensation,
}
