"""An agent of another project's MCP client: a process that calls tools as the test tells it to, line by line."""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.clients.desk import WITHIN

HERE = Path(__file__).parent


class Agent:
    """The process of a client program.

    A request is one line of JSON: `{"tool": …, "arguments": …}`, or `{}` for the names of the tools. The answer is one
    line too, after a line for each progress notification.
    """

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environ},
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.progress: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def end(self) -> None:
        """Wait until the client has ended in an orderly way."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(WITHIN) == 0

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        self._process.kill()
        self._process.wait(WITHIN)

    def tools(self) -> list[str]:
        self._send({})
        return list(self.answer()["tools"])

    def call(self, tool: str, within: float = WITHIN, **arguments: Any) -> dict[str, Any]:
        """Return the structured content of the result."""
        self.begin(tool, **arguments)
        return self.result(within)

    def begin(self, tool: str, **arguments: Any) -> None:
        self._send({"tool": tool, "arguments": arguments})

    def result(self, within: float = WITHIN) -> dict[str, Any]:
        answer = self.answer(within)
        assert not answer["isError"], answer
        found: dict[str, Any] = answer["structured"]
        return found | {"text": answer["text"]}

    def answer(self, within: float = WITHIN) -> dict[str, Any]:
        """Wait for the client's answer, also to a refused call."""
        while True:
            line = self._lines.get(timeout=within)
            assert line, "the client's process has ended"
            found: dict[str, Any] = json.loads(line)
            if "progress" not in found:
                return found
            self.progress.append(found)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")
