"""`sagahold ask`: a script asks for a decision and learns it by the exit status."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from cli.client import Failure, open_server
from cli.held_action import HeldAction, Request
from cli.held_command import NotApproved, OwnUsage, approval, fail
from cli.parameters import JSON, SPAN
from cli.session import server_options
from domain.pauses.pause import Status

DOOR = "ask"
REJECTED, EXPIRED, FAILED = 1, 2, 3
WAIT = "6h"
# A job may run for a day before its outcome is missing. Seconds.
OUTCOME_WITHIN = 86_400
# The variables that name one run of one job. A CI system counts if all of its variables are set.
CI_RUNS = (
    ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "GITHUB_ACTION"),
    ("CI_SERVER_URL", "CI_JOB_ID"),
    ("BUILDKITE_JOB_ID",),
    ("CIRCLE_WORKFLOW_JOB_ID",),
    ("BUILD_TAG", "JENKINS_URL"),
)


class _Ask(OwnUsage):
    wrong_usage = FAILED


@click.command(cls=_Ask)
@click.option("--action", required=True, help="Ask whether this may be done.")
@click.option("--arguments", type=JSON, help="Show this object as exactly what is done.")
@click.option("--context", type=JSON, help="Show this object, which helps to decide.")
@click.option("--review", type=JSON, help='Set the approval policy, such as \'{"groups": ["release"]}\'.')
@click.option("--wait", type=SPAN, default=WAIT, show_default=True, metavar="90|15m|6h", help="Wait this long.")
@click.option("--key", help="Find the same request again (default in CI: this run of this job, and the action).")
@click.option("--namespace", help="Ask in this namespace (default: the key's).")
@click.option("--accept-edits", is_flag=True, help="Also accept changed arguments; needs --json, which prints them.")
@click.option("--keep", is_flag=True, help="Leave the request open if Ctrl-C or SIGTERM ends the command.")
def ask(
    url: str | None,
    data_dir: Path,
    as_json: bool,
    action: str,
    arguments: Any,
    review: Any,
    context: Any,
    wait: int,
    key: str | None,
    namespace: str | None,
    accept_edits: bool,
    keep: bool,
) -> None:
    """Ask for a decision, wait for it, and use the approval.

    Exit with status 0 if the action is approved, 1 if it is rejected or cancelled, 2 if no decision came in time.
    Exit with 3 after every failure. Ctrl-C and SIGTERM cancel the request.
    """

    def check(held: HeldAction) -> None:
        if held.edited and not accept_edits:
            raise Edited(
                f"“{held.action}” is approved with changed arguments, which this command cannot pass on "
                f"({held.review_url}): use --accept-edits --json, and take decision.arguments"
            )

    try:
        if accept_edits and not as_json:
            raise Failure("--accept-edits needs --json: the changed arguments are in its output")
        name = named(key, ci_run(os.environ), action, arguments)
        optional = {"context": context, "review": review, "namespace": namespace}
        fields = {"expiresIn": wait, "outcomeWithin": OUTCOME_WITHIN}
        fields |= {field: value for field, value in optional.items() if value is not None}
        with open_server(url, data_dir, decides=True) as server:
            request = Request(name or uuid4().hex, action, arguments, DOOR, client(os.environ), name, fields)
            used = approval(server, request, wait, check, keep=keep, failed=FAILED)
        if as_json:
            click.echo(json.dumps(used.document))
    except NotApproved as error:
        fail(error, {Status.EXPIRED: EXPIRED}.get(error.held.status, REJECTED))
    except Edited as error:
        fail(error, REJECTED)
    except click.ClickException as error:
        fail(error, FAILED)
    except Exception as error:
        fail(Failure(f"{type(error).__name__}: {error}"), FAILED)


class Edited(Failure):
    """The approved arguments are not those of the command."""


def ci_run(environ: Mapping[str, str]) -> str | None:
    """Return the name of this run of this CI job; None outside of CI."""
    for names in CI_RUNS:
        if all(environ.get(name) for name in names):
            return " ".join(environ[name] for name in names)
    return None


def named(key: str | None, run: str | None, action: str, arguments: Any) -> str | None:
    """Return the id of the request; None if each call asks again.

    In CI it includes the action, because one job may ask for several.
    """
    if key is None and run is None:
        return None
    parts = ["key", key] if key is not None else ["run", str(run), action, json.dumps(arguments, sort_keys=True)]
    return f"ask:{hashlib.sha256(chr(10).join(parts).encode('utf-8', 'replace')).hexdigest()[:48]}"


def client(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the job in its own words, for the person who decides."""
    run = environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or environ.get("BUILDKITE_BUILD_URL") or ""
    if environ.get("GITHUB_RUN_ID"):
        run = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(_Missing(environ))
    repository = environ.get("GITHUB_REPOSITORY") or environ.get("CI_PROJECT_PATH") or ""
    commit = environ.get("GITHUB_SHA") or environ.get("CI_COMMIT_SHA") or ""
    actor = environ.get("GITHUB_ACTOR") or environ.get("GITLAB_USER_LOGIN") or ""
    found = {"tool": "sagahold ask", "run": run, "repository": repository, "commit": commit, "actor": actor}
    return {name: value[:200] for name, value in found.items()}


class _Missing(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


ask.params.extend(server_options())
