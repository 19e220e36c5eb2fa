"""Reads take no lock and change nothing, so they succeed while another transaction changes the same rows."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from adapters.receipts.signing import ReceiptSigner
from app.dashboard.framework.cookies import SESSION
from app.http.key_cache import KeyCache
from domain.values import ids
from models.tables import metadata
from services.kernel.unit_of_work import Database
from services.operations.checkpoints import Checkpoints
from services.pauses.receipt_keys import current_key
from tests.api.alone import app_alone
from tests.browser.people import add_person
from tests.services.saga_world import start, step
from tests.services.world import ADMIN, an_endpoint, deliveries, linked, one, post

KEY = "hitl_" + "x" * 43
BY_KEY = ("/v1/", "/api/", "/metrics", "/aap/", "/compat/")
# Kept in the audit log: who looked. Or they never end, or need what is not here.
RECORDED = {"/v1/webhooks/signing-secret", "/v1/audit/export", "/v1/audit/evidence", "/audit/export"}
ELSEWHERE = {
    "/api/pause/<watch_id>/events",
    "/inbox/events",
    "/inbox/decide",
    "/sign-in/oidc",
    "/sign-in/oidc/return",
    "/readyz",
    # Without its trailing slash, which the other one has; files that `make docs` builds.
    "/docs/guide",
    "/docs/guide/",
}


@pytest.fixture
def client(database: Database) -> Iterator[FlaskClient]:
    who = add_person(database, "admin", namespaces=["*"])
    with app_alone(database, KeyCache(lambda hash_: ADMIN)).test_client() as client:
        client.set_cookie(SESSION, who.token)
        yield client


def test_every_get_is_answered_while_all_rows_are_locked(database: Database, client: FlaskClient) -> None:
    endpoint = an_endpoint(database)
    values = {"watch_id": post(database), "endpoint_id": endpoint["id"], "namespace": "default", "token": "none"}
    start(database, step("a"))
    current_key(database, ReceiptSigner())
    linked(database)
    Checkpoints(database, ReceiptSigner(), timedelta(hours=1)).sign()
    values["trace_id"] = one(database, "SELECT id FROM sagas").hex
    values["delivery_id"] = ids.text(ids.DELIVERY, deliveries(database)[0]["id"])
    rules = [rule.rule for rule in client.application.url_map.iter_rules() if "GET" in (rule.methods or ())]
    wanted = [rule for rule in rules if rule not in RECORDED | ELSEWHERE]
    paths = [re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values.get(found[1], "none"), rule) for rule in wanted]
    tables = ", ".join(metadata.tables)
    asked = {
        "/v1/sagas/steps": {"trace_id": values["trace_id"]},
        "/v1/audit/proof/inclusion": {"namespace": "default", "index": 0, "size": 1},
        "/v1/audit/proof/consistency": {"namespace": "default", "from": 1, "to": 1},
        "/v1/audit/checkpoint": {"namespace": "default"},
        "/compat/gohumanloop/v1/humanloop/status": {"conversation_id": "none", "request_id": "none"},
    }
    late = {}
    with database.transaction() as uow:
        uow.conn.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))
        for path in paths:
            headers = {"Authorization": f"Bearer {KEY}"} if path.startswith(BY_KEY) else {}
            status = client.get(path, headers=headers, query_string=asked.get(path)).status_code
            # A pending pause has no receipt.
            expected = (409,) if path.endswith("/receipt") else (200, 303)
            if status not in expected and not ("none" in path and status == 404):
                late[path] = status
    assert late == {}
