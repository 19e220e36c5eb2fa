"""Tool sources on this machine: their `${ENV:NAME}` references and programs, as far as the rules allow them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

from adapters.mcp.outcome import not_configured
from domain.manifests.definition import ToolSource
from domain.manifests.host_access import REFERENCE, HostRules


def resolved(source: ToolSource, rules: HostRules) -> ToolSource:
    """Return the source with its references replaced, `env_inherit` in `env`, and the file of a listed command.

    Raises `CallError`, which names an unset variable, or a value that the source may not use. The rules may be newer
    than its deployment.
    """
    for field_error in rules.field_errors(source):
        raise not_configured(
            f"tool source {source.name!r} may not be used as it is. {field_error.path}: {field_error.message}"
        )

    def text(value: str) -> str:
        return REFERENCE.sub(lambda match: _variable(source, match[1]), value)

    def texts(values: Mapping[str, str]) -> dict[str, str]:
        return {name: text(value) for name, value in values.items()}

    inherited = {name: os.environ[name] for name in source.env_inherit if name in os.environ}
    return replace(
        source,
        url=source.url and text(source.url),
        headers=texts(source.headers),
        command=source.command and _program(text(source.command), listed=rules.listed(source) is not None),
        args=tuple(text(arg) for arg in source.args),
        cwd=source.cwd and text(source.cwd),
        env=inherited | texts(source.env),
        env_inherit=(),
    )


def _program(command: str, *, listed: bool) -> str:
    """Return the path of a listed program: a bare name would be searched on the PATH that the source sets."""
    return (shutil.which(command) or command) if listed else command


def _variable(source: ToolSource, name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise not_configured(
            f"the environment variable {name}, which tool source {source.name!r} needs, is not set in the worker"
        ) from None
