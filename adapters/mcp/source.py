"""What a tool source means on this machine: its `${ENV:NAME}` and its program, as far as it may use them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

from adapters.mcp.outcome import NotConfigured
from domain.manifests.definition import ToolSource
from domain.manifests.host_access import REFERENCE, HostRules


def resolved(source: ToolSource, rules: HostRules) -> ToolSource:
    """With every reference replaced, `env_inherit` moved into `env`, a listed command as the file that it is.

    Raises `NotConfigured` naming an unset variable, or what the source may not use: it may have been deployed before
    the rules were as they are.
    """
    for field_error in rules.field_errors(source):
        raise NotConfigured(
            f"tool source {source.name!r} may not be used as it is: {field_error.path}: {field_error.message}"
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
    """Where a listed program is: by its bare name it would be looked for on the PATH that the source gives it."""
    return (shutil.which(command) or command) if listed else command


def _variable(source: ToolSource, name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise NotConfigured(
            f"the environment variable {name}, which tool source {source.name!r} needs, is not set in the worker"
        ) from None
