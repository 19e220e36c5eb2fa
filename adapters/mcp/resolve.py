"""`${ENV:NAME}` in the texts of a tool source, taken from this process's environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from adapters.mcp.outcome import NotConfigured
from domain.definition import ToolSource

_REFERENCE = re.compile(r"\$\{ENV:([A-Za-z_][A-Za-z0-9_]*)\}")


def resolved(source: ToolSource) -> ToolSource:
    """With every reference replaced, `env_inherit` moved into `env`. Raises `NotConfigured` naming an unset one."""

    def text(value: str) -> str:
        return _REFERENCE.sub(lambda match: _variable(source, match[1]), value)

    def texts(values: Mapping[str, str]) -> dict[str, str]:
        return {name: text(value) for name, value in values.items()}

    inherited = {name: os.environ[name] for name in source.env_inherit if name in os.environ}
    return replace(
        source,
        url=source.url and text(source.url),
        headers=texts(source.headers),
        command=source.command and text(source.command),
        args=tuple(text(arg) for arg in source.args),
        cwd=source.cwd and text(source.cwd),
        env=inherited | texts(source.env),
        env_inherit=(),
    )


def _variable(source: ToolSource, name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise NotConfigured(
            f"the environment variable {name}, which tool source {source.name!r} needs, is not set in the worker"
        ) from None
