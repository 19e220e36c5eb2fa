"""`sagahold deploy`: send manifests together with the files that they refer to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from adapters.yaml_text import read_documents
from cli.client import Failure, ServerRefused
from cli.session import CommandContext, command
from cli.views.output import clean
from domain.identity.access import Role
from domain.manifests.bundle import path_error, referenced


@dataclass(frozen=True, slots=True)
class _Manifest:
    file: Path
    document: Any


@command(None, "deploy", Role.ADMIN)
@click.option(
    "-f",
    "--file",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    multiple=True,
    help="Deploy the YAML or JSON documents in this file (repeatable).",
)
@click.option("--replace", is_flag=True, help="Replace a deployed version that has other content.")
def deploy(session: CommandContext, files: tuple[Path, ...], replace: bool) -> None:
    """Deploy manifests and the files that they refer to.

    Workers are deployed before sagas. A path in a manifest is resolved beside the manifest, then in each parent
    folder up to the current one. The server resolves the remaining paths in its own folders.
    """
    manifests = [found for file in files for found in _read(file)]
    refused = 0
    for manifest in sorted(manifests, key=_deploy_order):
        refused += not _send(session, manifest, replace)
    if refused:
        raise Failure(f"{refused} of {len(manifests)} manifests were not deployed")


def _read(file: Path) -> Iterator[_Manifest]:
    documents: list[Any] = []
    try:
        documents.extend(read_documents(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise Failure(f"cannot read {file.absolute()}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not UTF-8 text") from None
    except ValueError as error:
        raise Failure(f"{file}: {error}") from None
    if not documents:
        raise Failure(f"{file} has no manifest")
    yield from (_Manifest(file, document) for document in documents)


def _deploy_order(manifest: _Manifest) -> bool:
    """Sort workers first, because sagas need them."""
    return not (isinstance(manifest.document, dict) and manifest.document.get("kind") == "worker")


def _send(session: CommandContext, manifest: _Manifest, replace: bool) -> bool:
    """Return whether it was deployed; print each field error on a line."""
    body = {"manifest": manifest.document, "artifacts": dict(_artifacts(manifest))}
    try:
        answer = session.request("POST", "/v1/manifests", query={"replace": "true" if replace else None}, body=body)
    except ServerRefused as refused:
        field_errors = refused.problem.get("errors")
        if refused.problem.get("code") == "VERSION_EXISTS":
            why = f"{manifest.file}: this version is deployed with other content; change the version or use --replace"
            raise ServerRefused(refused.status, refused.body, refused.problem, why) from None
        if not field_errors:
            raise
        if session.as_json:
            click.echo(refused.body)
        for field_error in field_errors:
            place = f"{field_error['path']}: " if field_error["path"] else ""
            click.echo(clean(f"{manifest.file}: {place}{field_error['message']}"), err=True)
        return False

    def deployed(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{clean(document['message'])} ({clean(document['id'])})", soft_wrap=True)

    session.show(answer, deployed)
    return True


def _artifacts(manifest: _Manifest) -> Iterator[tuple[str, str]]:
    folders = _folders(manifest.file)
    for _, path in referenced(manifest.document):
        # The server reports such a path. Reading it here could send a file from elsewhere.
        if path_error(path) is not None:
            continue
        for folder in folders:
            if (folder / path).is_file():
                yield path, _text(folder / path)
                break


def _folders(file: Path) -> list[Path]:
    """Return the folders to search, none above the working directory."""
    first, *above = file.resolve().parents
    return [first, *(folder for folder in above if folder.is_relative_to(Path.cwd()))]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not UTF-8 text") from None
