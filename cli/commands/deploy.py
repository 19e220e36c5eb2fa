"""`sagahold deploy`: a manifest and the files that it refers to are sent together."""

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
    help="YAML or JSON, also several documents in one file; may be given several times.",
)
@click.option("--replace", is_flag=True, help="Also where the version is deployed with other content.")
def deploy(session: CommandContext, files: tuple[Path, ...], replace: bool) -> None:
    """Deploy manifests with the files they refer to.

    Workers go first. A path in a manifest is looked for beside the manifest, then in the folders above it up to this
    one; what is not there is left to the server's own folders.
    """
    manifests = [found for file in files for found in _read(file)]
    refused = 0
    for manifest in sorted(manifests, key=_turn):
        refused += not _send(session, manifest, replace)
    if refused:
        raise Failure(f"{refused} of {len(manifests)} were not deployed")


def _read(file: Path) -> Iterator[_Manifest]:
    documents: list[Any] = []
    try:
        documents.extend(read_documents(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise Failure(f"cannot read {file.absolute()}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{file}: is not text in UTF-8") from None
    except ValueError as error:
        raise Failure(f"{file}: {error}") from None
    if not documents:
        raise Failure(f"{file}: has no manifest in it")
    yield from (_Manifest(file, document) for document in documents)


def _turn(manifest: _Manifest) -> bool:
    """Sagas need their workers."""
    return not (isinstance(manifest.document, dict) and manifest.document.get("kind") == "worker")


def _send(session: CommandContext, manifest: _Manifest, replace: bool) -> bool:
    """Whether it was deployed; what is wrong with it is printed, a line for each fault."""
    body = {"manifest": manifest.document, "artifacts": dict(_artifacts(manifest))}
    try:
        answer = session.ask("POST", "/v1/manifests", query={"replace": "true" if replace else None}, body=body)
    except ServerRefused as refused:
        field_errors = refused.problem.get("errors")
        if refused.problem.get("code") == "VERSION_EXISTS":
            why = f"{manifest.file}: this version is deployed with other content: give it a new version, or --replace"
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
        # The server tells what is wrong with such a path; it must not make us read a file from elsewhere.
        if path_error(path) is not None:
            continue
        for folder in folders:
            if (folder / path).is_file():
                yield path, _text(folder / path)
                break


def _folders(file: Path) -> list[Path]:
    """Not above the working directory: what lies there is no part of what is deployed."""
    first, *above = file.resolve().parents
    return [first, *(folder for folder in above if folder.is_relative_to(Path.cwd()))]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not text in UTF-8") from None
