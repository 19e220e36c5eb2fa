"""Preparation before a process is ready: the first decision loads nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.kernel.connection_pool import open_engine
from services.kernel.unit_of_work import Database, NoPublisher
from services.manifests.definitions import deploy
from services.sagas.lifecycle import StartRequest, start_saga
from tasks.preparation import prepare
from tests.adapters.odd_server import odd_servers
from tests.services.world import ADMIN, AGENT, one

# A worker process without Celery's consumer. It says what each of its parts has imported.
WORKER = """
import json, sys
from sqlalchemy import text
from cli.devstack.waiting import wait_until
from tasks.app import app
from tasks.preparation import prepare_worker
from tasks.runtime import database

def ended():
    with database().reading() as conn:
        return conn.execute(text("SELECT ended_at FROM sagas")).scalar_one() is not None

def run_first():
    app.tasks["tasks.sagas.advance"](sys.argv[1])
    assert wait_until(ended, 60.0)

app.loader.import_default_modules()
app.finalize()
found = []
for part in (lambda: prepare_worker(["webhooks"]), lambda: prepare_worker(["sagas", "webhooks"]), run_first):
    before = set(sys.modules)
    part()
    found.append(sorted(set(sys.modules) - before))
print(json.dumps(found))
"""


def test_the_first_decision_imports_nothing(database: Database, tmp_path: Path) -> None:
    """Neither the first call of a tool over HTTP. A worker of other queues loads none of this."""
    with odd_servers("http", tmp_path) as odd:
        source = {"name": "odd", "transport": "streamable_http", "url": odd.source.url}
        worker = {"kind": "worker", "name": "w", "version": "1", "tool_sources": [source]}
        deploy(database, ADMIN, worker, replace=True)
        step = {"id": "one", "kind": "commit", "worker": "w", "worker_version": "1", "tools": {"allow": ["tell"]}}
        step["with"] = {"message": {"value": "page"}, "times": {"value": 1}}
        deploy(database, ADMIN, {"kind": "saga", "name": "s", "version": "1", "steps": [step]}, replace=True)
        trace_id, _ = start_saga(database, AGENT, StartRequest("default", "s", "1", {}))
        command = [sys.executable, "-c", WORKER, trace_id.hex]
        ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, check=True, stdout=subprocess.PIPE)
    of_webhooks, of_sagas, of_the_first = json.loads(ran.stdout)
    assert of_webhooks == []
    assert {"httpcore2", "anyio._backends._asyncio"} <= set(of_sagas)
    assert of_the_first == []
    assert one(database, "SELECT status FROM sagas") == "COMPLETED"


def test_a_start_without_a_database(caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine("postgresql+psycopg2://nobody@127.0.0.1:9/none", 1, "web")
    prepare(Database(engine, NoPublisher(), ""))
    assert "its rehearsal failed" in caplog.text
