"""The providers' libraries ignore the worker's environment: keys, addresses, proxies and log settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.llm.server import LlmServer
from tests.adapters.llm.wire import submit

ROOT = Path(__file__).parents[3]
# In a process of its own: the libraries read their environment once, when they are imported.
ASK = """
import json, sys
from adapters.llm import ModelRunner
from adapters.mcp import ToolClient
from tests.adapters.llm.questions import question, settings
client = ToolClient()
runner = ModelRunner(client, settings(**json.loads(sys.argv[1])))
made = runner.ask_model(question(provider=sys.argv[2], model="m")).result(120)
print(json.dumps(made.outcome.data))
client.close()
"""
ELSEWHERE = {
    "OPENAI_ORG_ID": "SECRET",
    "OPENAI_PROJECT_ID": "SECRET",
    "OPENAI_ADMIN_KEY": "SECRET",
    "OPENAI_CUSTOM_HEADERS": "x-more: SECRET",
    "OPENAI_API_KEY": "SECRET",
    "OPENAI_BASE_URL": "http://127.0.0.1:9",
    "OPENAI_LOG": "debug",
    "ANTHROPIC_AUTH_TOKEN": "SECRET",
    "ANTHROPIC_CUSTOM_HEADERS": "x-more: SECRET",
    "ANTHROPIC_API_KEY": "SECRET",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "ANTHROPIC_LOG": "debug",
    "ALL_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "local"])
def test_only_what_is_given_is_used(provider: str):
    with LlmServer(submit({"n": 1})) as server:
        given = {
            "OPENAI_API_KEY": "ours",
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "ANTHROPIC_API_KEY": "ours",
            "ANTHROPIC_BASE_URL": server.url,
            "SAGAHOLD_LOCAL_LLM_URL": f"{server.url}/v1",
        }
        asking = [sys.executable, "-c", ASK, json.dumps(given), provider]
        run = subprocess.run(asking, cwd=ROOT, env=os.environ | ELSEWHERE, capture_output=True, text=True, timeout=170)
        assert json.loads(run.stdout) == {"n": 1}, run.stderr
        assert "SECRET" not in str(dict(server.asked[0].headers))
        assert run.stderr == ""
