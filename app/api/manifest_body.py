"""The body of a deployment: a manifest as JSON or YAML, alone or with the files that it refers to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Request

from adapters.artifacts import ArtifactFiles
from adapters.yaml_text import read_yaml
from app.http.json_body import read_json
from app.http.problems import HTTPProblem
from domain.values.errors import FieldError, InvalidManifest

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
_BUNDLE = frozenset({"manifest", "artifacts"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest and the files that it may refer to: `sent` with it, or otherwise in folders of the server."""

    manifest: Any
    files: ArtifactFiles
    sent: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str, path: str) -> str:
        return self.sent[path] if path in self.sent else self.files.text(name, path)

    def value(self, name: str, path: str) -> Any:
        """Read a JSON or YAML file; JSON is a subset of YAML."""
        return read_yaml(self.text(name, path))


def read_bundle(request: Request, files: ArtifactFiles) -> Bundle:
    """Read a deployment's body. Raises `InvalidManifest` for bad YAML, else `HTTPProblem` or `Invalid`."""
    if request.mimetype in YAML_TYPES:
        return Bundle(_yaml(_text(request)), files)
    if request.mimetype != "application/json":
        detail = "send the manifest as application/json or application/yaml"
        raise HTTPProblem(415, "UNSUPPORTED_MEDIA_TYPE", detail)
    body = read_json(request, required=True)
    if not isinstance(body, dict) or "manifest" not in body:
        return Bundle(body, files)
    sent = body.get("artifacts", {})
    if not isinstance(sent, dict) or not all(isinstance(text, str) for text in sent.values()):
        raise InvalidManifest([FieldError("artifacts", "must be an object that maps paths to the texts of files")])
    if unknown := sorted(body.keys() - _BUNDLE):
        raise InvalidManifest(
            [FieldError(name, "is unknown; the fields are artifacts and manifest") for name in unknown]
        )
    manifest = body["manifest"]
    return Bundle(_yaml(manifest) if isinstance(manifest, str) else manifest, files, sent)


def _text(request: Request) -> str:
    try:
        return request.get_data().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidManifest([FieldError("", f"is not UTF-8 (byte {error.start})")]) from None


def _yaml(text: str) -> Any:
    try:
        return read_yaml(text)
    except ValueError as error:
        raise InvalidManifest([FieldError("", f"is not a manifest in YAML: {error}")]) from None
