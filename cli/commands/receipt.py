"""`sagahold receipt …`: get and verify signed receipts of decisions, and manage the keys that sign them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import httpx
from rich.console import Console

from adapters.receipts.verification import (
    MAX_KEY_SET,
    MAX_RECEIPT,
    Keys,
    KeySetRefused,
    Receipt,
    ReceiptRefused,
    key_set,
    parse_json,
    verify,
)
from cli.client import Failure, open_server, part
from cli.parameters import IDEMPOTENCY_KEY
from cli.session import CommandContext, command, deliver, given, output_option, server_options
from cli.views.output import clean, console, lines, page, short, table, when
from cli.views.receipt import describe
from domain.identity.access import Role
from domain.pauses.pause import Status
from domain.pauses.receipt import action_digest
from domain.values import canonical_json

KEYS = "/v1/receipt-keys"
KEY_SET = "/.well-known/jwks.json"
FETCH_SECONDS = 30.0
# A body of the API has at most 1 MiB.
MAX_CONTENT = 1024 * 1024
WRONG_USAGE = 2
T = TypeVar("T")


class Unusable(Failure):
    """The file or the set of keys cannot be used, so nothing is known about the receipt."""

    exit_code = WRONG_USAGE


@click.group()
def receipt() -> None:
    """Get and verify signed receipts of decisions.

    A receipt proves who decided what and when, also without this server.
    """


@command(receipt, "get", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
@output_option
def get(session: CommandContext, watch_id: str, output: Path | None) -> None:
    """Get the receipt of a resolved pause."""
    text = session.request("GET", f"/api/pause/{part(watch_id)}/receipt").text
    if session.as_json:
        text = json.dumps({"receipt": text})
    deliver(f"{text}\n", output)


@receipt.command("verify")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--jwks", metavar="FILE|URL", help="Use the public keys of this file or URL (default: those of the server)."
)
@click.option("--arguments", metavar="FILE|JSON", help="Also check that these arguments were approved.")
@click.option("--action", metavar="TEXT|@FILE", help="Also check that this action was approved.")
def verify_(
    file: BinaryIO,
    jwks: str | None,
    arguments: str | None,
    action: str | None,
    url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Verify the receipt in FILE and say who decided what, and when.

    With --jwks FILE no server is needed. Exit with status 0 if the receipt is genuine, and 1 if not. With --arguments
    or --action, it must also approve them. Exit with status 2 if a file or the keys cannot be read.
    """
    content, keys = file.read(MAX_RECEIPT + 1), keys_of(jwks, url, data_dir)
    checks = {
        name: digest
        for name, digest in (("arguments", _arguments_digest(arguments)), ("action", _action_digest(action)))
        if digest is not None
    }
    try:
        found = verify(content, keys)
    except ReceiptRefused as refused:
        why = f"the receipt is not genuine: {refused}"
        if as_json:
            click.echo(json.dumps({"ok": False, "problem": why}))
        raise Failure(clean(why)) from None
    problems = [problem for name, digest in checks.items() if (problem := _difference(found, name, digest))]
    if as_json:
        document: dict[str, Any] = {"ok": not problems, "kid": found.kid, "claims": found.claims}
        document |= {name: found.claims[f"{name}_sha256"] == digest for name, digest in checks.items()}
        document |= {"problem": "; ".join(problems)} if problems else {}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        describe(console(), found, tuple(name for name in checks if not problems))
    if problems:
        raise Failure("; ".join(problems))


verify_.params.extend(server_options())


def _difference(found: Receipt, name: str, digest: str) -> str | None:
    """Return why the receipt does not approve the arguments or the action; None if it does."""
    claims = found.claims
    what = "these are not the arguments" if name == "arguments" else "this is not the action"
    if claims[f"{name}_sha256"] != digest:
        return f"{what} of {clean(claims['watch_id'])}: their digest differs"
    if claims["outcome"] != Status.APPROVED:
        return f"the {name} of {clean(claims['watch_id'])} were not approved: {clean(claims['outcome'])}"
    return None


def keys_of(jwks: str | None, url: str | None, data_dir: Path) -> Keys:
    """Return the public keys of a file, of a URL, or of the server. Raise `Unusable`."""
    if jwks is None:
        with open_server(url, data_dir) as server:
            source, content = server.url + KEY_SET, server.request(Role.AGENT, "GET", KEY_SET).text.encode()
    elif jwks.startswith(("http://", "https://")):
        source, content = jwks, _fetched(jwks)
    else:
        source, content = jwks, _file(jwks, MAX_KEY_SET)
    try:
        return key_set(content)
    except KeySetRefused as refused:
        raise Unusable(clean(f"the set of keys of {source} cannot be used: {refused}")) from None


def _fetched(url: str) -> bytes:
    content = b""
    try:
        with httpx.stream("GET", url, timeout=FETCH_SECONDS) as response:
            if response.status_code != httpx.codes.OK:
                raise Unusable(clean(f"{url} answers {response.status_code}: give the URL of a set of keys"))
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_KEY_SET:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unusable(clean(f"cannot read {url} ({error or type(error).__name__})")) from None
    return content


def _arguments_digest(given: str | None) -> str | None:
    """Return the digest of JSON that is given itself, or in a file."""
    if given is None:
        return None
    text = given.encode() if given.lstrip().startswith("{") else _file(given.removeprefix("@"), MAX_CONTENT)
    value = _read(lambda: parse_json(text), "--arguments")
    if wrong := next(canonical_json.field_errors(value, "arguments"), None):
        raise Unusable(clean(f"--arguments: {wrong.path} {wrong.message}"))
    return canonical_json.digest(value).hex()


def _action_digest(given: str | None) -> str | None:
    if given is None:
        return None
    if given.startswith("@"):
        content = _file(given[1:], MAX_CONTENT)
        given = _read(lambda: content.decode(), "--action").removesuffix("\n")
    return action_digest(given)


def _read(read: Callable[[], T], option: str) -> T:
    try:
        return read()
    except (ValueError, RecursionError) as error:
        why = str(error) or "it is nested too deeply"
        raise Unusable(
            clean(f"{option} is not valid {'JSON' if option == '--arguments' else 'UTF-8'} ({why})")
        ) from None


def _file(name: str, most: int) -> bytes:
    """Return the content of the file, and of a larger one its beginning with one byte too many."""
    try:
        with click.open_file(name, "rb") as opened:
            content: bytes = opened.read(most + 1)
    except (OSError, ValueError) as error:
        raise Unusable(clean(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}")) from None
    return content


@command(receipt, "keys", Role.ADMIN)
def list_(session: CommandContext) -> None:
    """List the keys that sign receipts, the current one first."""
    session.show(session.request("GET", KEYS), _list)


@command(receipt, "rotate-key", Role.ADMIN)
@click.option("--idempotency-key", type=IDEMPOTENCY_KEY, help="Rotate once even if the request repeats.")
def rotate_key(session: CommandContext, idempotency_key: str | None) -> None:
    """Sign receipts with a new key from now on.

    The old private key is deleted. Its public key stays published, so earlier receipts remain valid.
    """
    headers = given(**{"Idempotency-Key": idempotency_key})
    session.show(session.request("POST", f"{KEYS}/rotate", headers=headers), _rotated)


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [(short(key["kid"]), lines(*map(short, _state(key)))) for key in document["items"]]
    page(screen, {**document, "next_cursor": None}, table(("KEY", "STATE"), rows), "no keys")
    if problem := document["items"][0]["problem"]:
        screen.print(f"This server cannot sign: {clean(problem)}.", style="red")


def _state(key: dict[str, Any]) -> tuple[str, str]:
    made = f"made {when(key['created_at'])}"
    if key["retired_at"] is not None:
        return f"retired {when(key['retired_at'])}", made
    encrypted = {True: "encrypted, ", False: "not encrypted, ", None: ""}[key["encrypted"]]
    return f"current, in the {key['place']}", encrypted + made


def _rotated(screen: Console, key: dict[str, Any]) -> None:
    screen.print(f"receipts are signed with {clean(key['kid'])}", soft_wrap=True)
