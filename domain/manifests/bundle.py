"""Freezing a manifest: the files that it refers to become part of it, so that every machine always runs the same."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any, Protocol

from domain.manifests import deploy_checks
from domain.manifests.manifest import MAX_STEPS, read
from domain.values.errors import FieldError, InvalidManifest

# Bytes of one path. File systems allow names up to this length.
MAX_PATH = 255


class Artifacts(Protocol):
    """The files that a manifest refers to: those sent with it and those on the server."""

    def text(self, field: str, path: str) -> str:
        """Return the file's text. Raises `LookupError` with a message if the file is missing or unreadable."""

    def value(self, field: str, path: str) -> Any:
        """Parse the file as YAML or JSON. Raises as `text` does, and `ValueError` if the file is neither."""


def freeze(document: object, artifacts: Artifacts) -> dict[str, Any]:
    """Return the manifest with everything that it refers to. Raises `InvalidManifest` with all errors."""
    frozen = deepcopy(document)
    missing = list(_freeze(frozen, artifacts))
    paths = tuple(field_error.path for field_error in missing)
    definition, field_errors = read(frozen)
    if definition is not None:
        field_errors += deploy_checks.field_errors(definition)
    # A field that could not be filled has one error, not two.
    if found := missing + [field_error for field_error in field_errors if not field_error.path.startswith(paths)]:
        raise InvalidManifest(sorted(found, key=lambda field_error: field_error.path))
    assert isinstance(frozen, dict)
    return frozen


def path_error(path: str) -> str | None:
    """Return why this is not the path of an artifact, or None."""
    if not path or len(path.encode("utf-8", "replace")) > MAX_PATH or "\x00" in path:
        return f"must be a path of 1 to {MAX_PATH} bytes, without NUL"
    if "\\" in path:
        return "has a backslash: use / instead"
    if path.startswith("/") or path[1:2] == ":" or path.startswith("~"):
        return "is not relative: begin the path inside its root"
    if ".." in PurePosixPath(path).parts:
        return "leaves its root: remove .. from it"
    return None


def referenced(document: object) -> Iterator[tuple[str, str]]:
    """Yield (field, path) of everything that the manifest may refer to. A policy may have two paths."""
    for _, field, _, path in _references(document):
        yield field, path
        if field == "policy" and "." not in PurePosixPath(path).name:
            yield field, f"{path}.yaml"


def _references(document: object) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Yield (place, field, the object that contains the field, path) of each reference."""
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
    """Freeze a file of CEL, or a YAML file `{name, cel}`, whose extension the reference may omit."""
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
