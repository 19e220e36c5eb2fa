"""`sagahold version`: the version of this installation, and on request whether there is a newer one."""

import json
import re

import click
import httpx

from cli.client import Failure, ServerUnreachable
from cli.views.output import clean
from domain.values.network import is_loopback
from domain.values.version import VERSION

# The latest release of the project's repository. A mirror needs only the member `tag_name`.
RELEASES = "https://api.github.com/repos/sagahold/sagahold/releases/latest"
TIMEOUT_SECONDS = 10.0
# A release with long notes and many files has about 50 kB.
MAX_DOCUMENT = 1024 * 1024
_TAG = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)


@click.command()
@click.option("--check", is_flag=True, help="Ask whether there is a newer release. Nothing else ever asks.")
@click.option(
    "--releases",
    metavar="URL",
    envvar="SAGAHOLD_RELEASES_URL",
    default=RELEASES,
    show_default=True,
    help="Ask here (or set SAGAHOLD_RELEASES_URL).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(check: bool, releases: str, as_json: bool) -> None:
    """Print the version of this installation.

    With --check, exit with status 0 if it is the latest, 1 if there is a newer one, and 2 if that is unknown.
    """
    if not check:
        click.echo(json.dumps({"version": VERSION}) if as_json else f"sagahold {VERSION}")
        return
    latest, page = _latest(releases)
    newer = latest > _numbers(VERSION)
    if as_json:
        click.echo(json.dumps({"version": VERSION, "latest": _text(latest), "newer": newer, "url": page}))
    elif not newer:
        click.echo(f"sagahold {VERSION} is the latest release")
    if newer:
        raise Failure(clean(f"this is {VERSION}, and {_text(latest)} is released" + (f": {page}" if page else "")))


def _latest(url: str) -> tuple[tuple[int, ...], str | None]:
    """Return the numbers and the page of the latest release."""
    content = _fetched(url)
    try:
        document = json.loads(content)
        found, page = _numbers(document["tag_name"]), document.get("html_url")
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ServerUnreachable(
            clean(f"{url} does not name a release: it must answer with JSON such as " + '{"tag_name": "v1.2.3"}')
        ) from None
    return found, page if isinstance(page, str) else None


def _numbers(tag: str) -> tuple[int, ...]:
    """Return the three numbers of a release. Raises `ValueError` for another name, such as that of a pre-release."""
    if (found := _TAG.fullmatch(tag)) is None:
        raise ValueError(tag)
    return tuple(int(number) for number in found.groups())


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _fetched(url: str) -> bytes:
    content = b""
    try:
        # Requests to this machine bypass a proxy that the environment names.
        outside = not is_loopback(httpx.URL(url).host)
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=True, trust_env=outside) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code == httpx.codes.NOT_FOUND:
                raise ServerUnreachable(clean(f"{url} has no release"))
            if response.status_code != httpx.codes.OK:
                raise ServerUnreachable(clean(f"{url} answers {response.status_code}: try again later"))
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_DOCUMENT:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error).rpartition("] ")[2] or type(error).__name__
        raise ServerUnreachable(
            clean(f"cannot ask {url} ({why}): without a network, set SAGAHOLD_RELEASES_URL to a copy")
        ) from None
    return content
