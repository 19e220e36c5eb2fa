"""The oracle of these tests: responses to clients and messages to receivers, compared with the database."""

import contextlib
import json
import threading
import time
from collections import defaultdict
from typing import Any

import httpx
import psycopg2
import psycopg2.extras
from standardwebhooks.webhooks import Webhook

from domain.log.audit import ORIGIN
from domain.log.audit_chain import ChainEnd, ChainHeads, ChainRow, verify
from tests.adapters.receiver import Receiver, Request

# From the end of the failure until no work is left. Longer means an error, also on a busy machine. Seconds.
SETTLES_WITHIN = 300.0
# Paths of the receiver: of the pauses' own URLs, and of an endpoint that hears of everything in the namespace.
CALLBACK, ENDPOINT = "/callback", "/endpoint"
OUTCOMES = {"approve": "approved", "reject": "rejected", "cancel": "cancelled"}


class Truth:
    """The truth about one namespace. `secrets` maps the path of the receiver's URL to its signing secret."""

    def __init__(self, database_url: str, namespace: str, receiver: Receiver, secrets: dict[str, str]) -> None:
        self._database_url = database_url
        self._namespace = namespace
        self._receiver = receiver
        self._verifiers = {path: Webhook(secret) for path, secret in secrets.items()}
        self._lock = threading.Lock()
        self._accepted: set[str] = set()
        self._told: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.domain_errors = 0
        self.unreachable = 0

    def accepted(self, document: dict[str, Any]) -> str:
        with self._lock:
            self._accepted.add(document["watchId"])
        return str(document["watchId"])

    def answered(self, verb: str, answer: httpx.Response) -> None:
        """Record the response to a decision: the requested outcome, or the earlier one."""
        document = answer.json()
        if answer.status_code == 409:
            assert document["code"] == "ALREADY_RESOLVED", document
            document = document["current"]
            assert document["status"] != OUTCOMES[verb], document
        else:
            assert answer.status_code == 200, answer.text
            assert document["status"] == OUTCOMES[verb], document
        self.read(document)

    def read(self, document: dict[str, Any]) -> str:
        """An outcome that a client was shown."""
        with self._lock:
            self._told[document["watchId"]].append(document)
        return str(document["status"])

    def refused(self, answer: httpx.Response) -> None:
        """The only way to be refused for a while: 503, in the form of every problem, with the time to come back."""
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["code"] == "DATABASE_UNAVAILABLE", answer.text
        assert int(answer.headers["retry-after"]) > 0, answer.headers
        with self._lock:
            self.domain_errors += 1

    def missed(self) -> None:
        """Web was not there."""
        with self._lock:
            self.unreachable += 1

    def settle(self) -> None:
        """Waits until all is done, then checks that all is right."""
        began = time.monotonic()
        while left := self._left():
            waited = time.monotonic() - began
            assert waited < SETTLES_WITHIN, f"stuck after {waited:.0f} s: {left}"
            threading.Event().wait(0.1)
        took = time.monotonic() - began
        stored = self._stored_outcomes()
        self._check_clients(stored)
        again = self._check_receiver(stored)
        self._check_attempts()
        self._check_audit(stored)
        print(
            f"settled in {took:.1f} s: {len(stored)} pauses, {again} webhooks more than once, "
            f"{self.domain_errors} refusals, {self.unreachable} times no connection"
        )

    def _left(self) -> dict[str, int]:
        """Return the unfinished work by kind, with counts."""
        found = {
            "pending pauses": self.count("pauses", "status = 'pending'"),
            "pending deliveries": self.count("webhook_deliveries", "status = 'pending'"),
            "leases": self.count("webhook_deliveries", "lease_token IS NOT NULL"),
            "unlinked entries": self.count("audit_unlinked", "true"),
        }
        return {name: count for name, count in found.items() if count}

    def _stored_outcomes(self) -> dict[str, dict[str, Any]]:
        """By watchId. Every accepted pause is there, and no other."""
        rows = self.rows("SELECT * FROM pauses WHERE namespace = %s")
        stored = {"wch_" + row["id"].replace("-", ""): row for row in rows}
        assert stored.keys() == self._accepted
        return stored

    def _check_clients(self, stored: dict[str, dict[str, Any]]) -> None:
        for watch_id, documents in self._told.items():
            row = stored[watch_id]
            for document in documents:
                _check_document(document, row)

    def _check_receiver(self, stored: dict[str, dict[str, Any]]) -> int:
        """Each pause's webhooks came to each path, in order, each under one id. Returns how many came again."""
        arrived: dict[tuple[str, str], list[Request]] = defaultdict(list)
        bodies: dict[str, bytes] = {}
        for request in list(self._receiver.requests):
            path = request.line.split()[1]
            self._verifiers[path].verify(request.body, request.headers)
            message = request.headers["webhook-id"]
            assert bodies.setdefault(message, request.body) == request.body
            arrived[path, json.loads(request.body)["data"]["watchId"]].append(request)
        again = 0
        for watch_id, row in stored.items():
            for path in self._verifiers:
                expected = ["pause.created"] if path == ENDPOINT else []
                requests = arrived.pop((path, watch_id), [])
                firsts = {request.headers["webhook-id"]: json.loads(request.body) for request in requests}
                types = [body["type"] for body in firsts.values()]
                assert types == [*expected, f"pause.{row['status']}"], (path, watch_id, types)
                _check_document(list(firsts.values())[-1]["data"], row)
                again += len(requests) - len(firsts)
        assert not arrived, "webhooks about pauses that are not stored"
        return again

    def _check_attempts(self) -> None:
        """One success is recorded for each delivery, and as many attempts as it says."""
        rows = self.rows("""
            SELECT d.id, d.status, d.attempts, count(a) AS kept, count(a) FILTER (WHERE a.outcome = 'succeeded') AS good
            FROM webhook_deliveries d LEFT JOIN webhook_attempts a ON a.delivery_id = d.id
            WHERE d.namespace = %s GROUP BY d.id
        """)
        for row in rows:
            assert (row["status"], row["good"], row["kept"]) == ("delivered", 1, row["attempts"]), row

    def _check_audit(self, stored: dict[str, dict[str, Any]]) -> None:
        """The chain is whole, and tells of each pause's beginning and end once, and of no pause that is not stored."""
        rows = self.rows(
            "SELECT seq, hash, entry, entry::text AS text FROM audit_events WHERE namespace = %s ORDER BY seq"
        )
        hashes = [ORIGIN, *(bytes(row["hash"]) for row in rows)]
        chain = [
            ChainRow(self._namespace, row["seq"], hashes[place + 1], hashes[place], row["text"])
            for place, row in enumerate(rows)
        ]
        (head,) = self.rows("SELECT seq, hash FROM audit_heads WHERE namespace = %s")
        assert (
            verify([*chain, ChainHeads({self._namespace: ChainEnd(head["seq"], bytes(head["hash"]))})]).first_bad
            is None
        )
        told: dict[str, list[str]] = defaultdict(list)
        for entry in (row["entry"] for row in rows):
            if entry["type"] in (
                "pause.created",
                "pause.approved",
                "pause.rejected",
                "pause.expired",
                "pause.cancelled",
            ):
                told[entry["subject"]].append(entry["type"])
        assert told == {watch_id: ["pause.created", f"pause.{row['status']}"] for watch_id, row in stored.items()}

    def count(self, table: str, condition: str) -> int:
        found: int = self.rows(f"SELECT count(*) FROM {table} WHERE namespace = %s AND {condition}")[0]["count"]
        return found

    def rows(self, query: str) -> list[dict[str, Any]]:
        """`%s` in the query is the namespace."""
        connected = contextlib.closing(psycopg2.connect(self._database_url))
        with connected as connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(query, [self._namespace])
            return [dict(row) for row in cursor.fetchall()]


def _check_document(document: dict[str, Any], row: dict[str, Any]) -> None:
    said = document["decision"] or {}
    told = (document["status"], said.get("decidedBy"), said.get("comment"))
    assert told == (row["status"], row["decided_by"], row["comment"]), document
