"""The SDK's dispatch of messages, which also reports the end of the connection and the results as they arrived."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import mcp_types
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.methods import validate_server_result
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError

from adapters.mcp.framing import EXCHANGE
from adapters.mcp.outcome import words

log = logging.getLogger(__name__)

_LIST = "tools/list"


class Dispatcher(JSONRPCDispatcher):
    """
    Attributes:
        ended: done when the connection has ended.
        version: of the protocol, once it is agreed on.
        odd_tools: the errors of listed tools that cannot be used, by their names.
    """

    def __init__(self, source: str, *streams: Any) -> None:
        super().__init__(*streams)
        self._source = source
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.version = LATEST_HANDSHAKE_VERSION
        self.odd_tools: dict[str, str] = {}

    async def run(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().run(*args, **kwargs)
        finally:
            if not self.ended.done():
                self.ended.set_result(None)

    async def send_raw_request(self, method: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        result = await super().send_raw_request(method, *args, **kwargs)
        if method == _LIST:
            result = self._sifted(result)
        if (exchange := EXCHANGE.get()) is not None:
            exchange.result = result
        return result

    def _sifted(self, page: dict[str, Any]) -> dict[str, Any]:
        """Leave unusable tools out, so that one does not cost the whole list."""
        tools = page.get("tools")
        if not isinstance(tools, list) or self._field_error(page, []) is not None:
            return page
        good = []
        for place, tool in enumerate(tools):
            field_error = self._field_error(page, [tool])
            if field_error is None:
                good.append(tool)
                continue
            name = tool.get("name") if isinstance(tool, dict) else None
            name = name if isinstance(name, str) else f"number {place + 1} of the list"
            self.odd_tools[name] = field_error
            log.warning("left out the tool %s: %s", words(name), field_error, extra={"tool_source": self._source})
        return {**page, "tools": good}

    def _field_error(self, page: Mapping[str, Any], tools: list[Any]) -> str | None:
        try:
            validate_server_result(_LIST, self.version, {**page, "tools": tools})
            for tool in tools:
                mcp_types.Tool.model_validate(tool, by_name=False)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"] if part not in ("tools", 0))
            return words(f"{place}: {first['msg']}" if place else first["msg"])
        return None
