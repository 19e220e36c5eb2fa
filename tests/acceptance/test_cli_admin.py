"""`sagahold keys …` and `sagahold webhooks …` against a running stack."""

import re
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.acceptance.commands import DONE, REFUSED, Ran
from tests.adapters.receiver import Receiver, reply

Call = Callable[..., Ran]
# A revoked key is refused everywhere within 5 s; a delivery comes at once. A busy machine takes longer.
EFFECT_SECONDS = 90.0


class TestKeys:
    def test_a_key_is_shown_once_and_works_until_it_is_revoked(
        self, call: Call, stack: Stack, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"ci {uuid4().hex[:8]}"
        made = call("keys", "create", name, "--role", "agent", "--namespace", namespace)
        (key,) = re.findall(r"hitl_\S+", made.out)
        (key_id,) = re.findall(r"key_[0-9a-f]{32}", made.out)
        listed = call("keys", "list").out
        assert key_id in listed
        assert key[:11] in listed
        assert key not in listed
        with monkeypatch.context() as agent:
            agent.setenv("SAGAHOLD_API_KEY", key)
            assert call("pause", "create", "x", "--json").document["namespace"] == namespace
            assert call("keys", "list").error.startswith("FORBIDDEN: ")
            bearer, body = {"Authorization": f"Bearer {key}"}, {"action": "x", "metadata": {"door": "claude-hook"}}
            httpx.post(f"{stack.url}/api/pause", json=body, headers=bearer).raise_for_status()
        listed = call("keys", "list").out
        assert re.search(r"Claude Code (just now|\d+ s ago)", listed)
        assert max(map(len, listed.splitlines())) <= 80
        shown = next(each for each in call("keys", "list", "--json").document["items"] if each["id"] == key_id)
        assert [used["door"] for used in shown["doors"]] == ["claude-hook", "api"]
        assert call("keys", "revoke", key_id).out == f"{key_id} ({name}) is revoked\n"
        monkeypatch.setenv("SAGAHOLD_API_KEY", key)
        assert wait_until(lambda: call("pause", "list").code == REFUSED, EFFECT_SECONDS)
        assert call("pause", "list").error.startswith("UNAUTHENTICATED: ")

    def test_without_a_namespace_a_key_reaches_only_the_default_one(self, call: Call) -> None:
        options = ("--expires-at", "2999-01-01T00:00:00Z", "--json")
        made = call("keys", "create", "x", "--role", "reviewer", *options).document
        assert (made["namespaces"], made["expires_at"]) == (["default"], "2999-01-01T00:00:00.000Z")
        assert call("keys", "create", "x", "--role", "agent", "--expires-at", "2001-01-01T00:00:00Z").code == REFUSED


class TestPeople:
    def test_a_person_from_first_to_last(self, call: Call, namespace: str) -> None:
        email = f"{uuid4().hex[:8]}@example.com"
        added = call("people", "add", email.upper(), "Ann", "--role", "operator", "--namespace", namespace)
        assert added.out.endswith(f"({email}) is added\n")
        assert call("people", "add", email, "Ann").error.startswith("EMAIL_TAKEN: ")
        listed = call("people", "list").out
        assert email in listed
        assert "operator" in listed
        (link,) = re.findall(r"http\S+/sign-in/link/\S+", call("people", "link", email).out)
        assert httpx.get(link).status_code == 200
        assert call("people", "disable", email).out.endswith(f"({email}) is disabled\n")
        assert httpx.get(link).status_code == 404
        assert call("people", "link", "nobody@example.com").code == REFUSED

    def test_a_person_is_changed(self, call: Call, namespace: str) -> None:
        """Omitted options change nothing. Lists are replaced, and emptied only by an explicit option."""
        email, group = f"{uuid4().hex[:8]}@example.com", f"g-{uuid4().hex[:8]}"
        call("people", "add", email, "Ann", "--namespace", namespace)
        made = call("groups", "create", group, "--description", "reads contracts", "--channel", "json://127.0.0.1:9/x")
        assert made.out == f"{group} is created\n"
        several = ("--role", "operator", "--namespace", namespace, "--namespace", "default", "--group", group)
        changed = call("people", "change", email, *several, "--json").document
        assert (changed["role"], changed["groups"], changed["name"]) == ("operator", [group], "Ann")
        assert sorted(changed["namespaces"]) == sorted([namespace, "default"])
        assert call("people", "change", email, "--name", "Anne").out.endswith(f"({email}) is changed: name\n")
        assert call("people", "change", email, "--disable", "--json").document["disabled_at"] is not None
        enabled = call("people", "enable", email, "--json").document
        assert (enabled["disabled_at"], enabled["groups"], enabled["name"]) == (None, [group], "Anne")
        assert call("people", "change", email, "--no-groups", "--json").document["groups"] == []
        assert "nothing to change" in call("people", "change", email).error
        call("groups", "delete", group)

    def test_a_group_from_first_to_last(self, call: Call) -> None:
        name = f"g-{uuid4().hex[:8]}"
        assert call("groups", "change", name, "--description", "x").code == REFUSED
        call("groups", "create", name, "--description", "reads contracts", "--channel", "json://127.0.0.1:9/x")
        assert "exists" in call("groups", "create", name).error
        assert "reads contracts" in call("groups", "list").out
        changed = call("groups", "change", name, "--no-channels", "--json").document
        assert (changed["description"], changed["channels"]) == ("reads contracts", [])
        assert "nothing to change" in call("groups", "change", name).error
        assert call("groups", "delete", name).out == f"{name} is deleted\n"
        assert call("groups", "delete", name).error.startswith("NOT_FOUND: ")


class TestWebhooks:
    def test_an_endpoint_from_first_to_last(self, call: Call, namespace: str) -> None:
        with Receiver() as receiver:
            options = ("--namespace", namespace, "--event", "pause.approved", "--header", "X-Team: shop")
            made = call("webhooks", "add", receiver.url, *options).out
            (endpoint_id,) = re.findall(r"ep_[0-9a-f]{32}", made)
            (secret,) = re.findall(r"whsec_\S+", made)
            assert re.findall(r"\S+", call("webhooks", "test", endpoint_id).out)[-1].startswith("dlv_")
            (request,) = receiver.wait_for(1)
            assert request.headers["x-team"] == "shop"
            shown = call("webhooks", "endpoint", endpoint_id).out
            assert secret not in shown
            assert "pause.approved" in shown
            assert secret not in call("webhooks", "rotate-secret", endpoint_id).out
            changed = call("webhooks", "change", endpoint_id, "--disable", "--all-events", "--to", f"{receiver.url}/2")
            assert "disabled" in changed.out
            assert "all events" in changed.out
            assert call("webhooks", "test", endpoint_id).error.startswith("ENDPOINT_DISABLED: ")
            assert call("webhooks", "change", endpoint_id, "--enable", "--json").document["url"] == f"{receiver.url}/2"
            assert endpoint_id in call("webhooks", "endpoints").out
        assert call("webhooks", "remove", endpoint_id).out == f"{endpoint_id} is removed\n"
        assert call("webhooks", "endpoint", endpoint_id).code == REFUSED

    def test_a_delivery_is_shown_and_sent_again(self, call: Call, paused: Callable[..., str]) -> None:
        with Receiver(reply(503, b"busy")) as receiver:
            watch_id = paused("x", "--callback-url", receiver.url)
            call("pause", "approve", watch_id)
            receiver.wait_for(1)
            (delivery,) = call("webhooks", "deliveries", "--pause", watch_id, "--json").document["items"]
            listed = call("webhooks", "deliveries", "--pause", watch_id, "--status", "pending").out
            assert delivery["id"] in listed
            assert watch_id in listed
            assert max(map(len, listed.splitlines())) <= 80
            receiver.script = reply()
            assert wait_until(lambda: "503" in call("webhooks", "delivery", delivery["id"]).out, EFFECT_SECONDS)
            assert call("webhooks", "redeliver", delivery["id"]).code == DONE
            first, second = receiver.wait_for(2)[:2]
            assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery["webhook_id"]
            shown = lambda: call("webhooks", "delivery", delivery["id"]).out  # noqa: E731
            assert wait_until(lambda: re.search(r"status +delivered", shown()) is not None, EFFECT_SECONDS)

    def test_what_an_endpoint_lost_is_sent_again(self, call: Call, namespace: str) -> None:
        with Receiver(reply(410)) as receiver:
            endpoint_id = call("webhooks", "add", receiver.url, "--namespace", namespace, "--json").document["id"]
            call("webhooks", "test", endpoint_id)
            receiver.wait_for(1)
            gone = lambda: "410 Gone" in call("webhooks", "endpoint", endpoint_id).out  # noqa: E731
            assert wait_until(gone, EFFECT_SECONDS)
            receiver.script = reply()
            call("webhooks", "change", endpoint_id, "--enable")
            ran = call("webhooks", "recover", endpoint_id, "--since", "2020-01-01T00:00:00Z")
            assert ran.out == "1 deliveries will be sent again\n"
            receiver.wait_for(2)
        call("webhooks", "remove", endpoint_id)

    def test_the_secret_of_callbacks_changes_only_on_request(self, call: Call, namespace: str) -> None:
        scope = ("--namespace", namespace)
        first = call("webhooks", "signing-secret", *scope).out
        assert re.fullmatch(r"whsec_\S+\n", first)
        assert call("webhooks", "signing-secret", *scope).out == first
        second = call("webhooks", "rotate-signing-secret", *scope).out
        assert second != first
        assert call("webhooks", "signing-secret", *scope).out == second


def test_the_floor_of_a_namespace(call: Call, namespace: str) -> None:
    """Omitted options leave their values unchanged."""
    assert "expire, reject, escalate" in call("namespace", "show", namespace).out
    assert "valid for at most 900 s" in call("namespace", "set", namespace, "--approval-valid-for", "15m").out
    assert "valid without a limit" in call("namespace", "set", namespace, "--approval-valid-for", "never").out
    allowed = ("--allow-on-timeout", "approve", "--allow-on-timeout", "expire")
    assert call("namespace", "set", namespace, "--review", '{"allow_self": true}', *allowed).code == DONE
    said = call("namespace", "set", namespace, "--min-expires-in", "2h", "--json").document
    assert (said["review"], said["min_expires_in"]) == ({"approvals": 1, "allow_self": True}, 7200)
    assert set(said["allowed_on_timeout"]) == {"approve", "expire"}
    assert call("namespace", "set", namespace, "--min-expires-in", "never", "--json").document["min_expires_in"] is None


def test_a_key_is_rotated(call: Call, namespace: str) -> None:
    """Both secrets are the same agent for a while; the second asks for what the first has made."""
    made = call("keys", "create", "bot", "--role", "agent", "--namespace", namespace, "--json").document
    with httpx.Client(base_url=call("ping", "--json").document["url"]) as web:

        def ask(secret: str, verb: str, path: str, json: object = None, **headers: str) -> httpx.Response:
            return web.request(verb, path, json=json, headers={"Authorization": f"Bearer {secret}", **headers})

        once = {"Idempotency-Key": f"rotated-{made['id']}"}
        first = ask(made["key"], "POST", "/api/pause", json={"action": "pay"}, **once).json()
        shown = call("keys", "rotate", made["id"], "--overlap", "2h").out
        (secret,) = re.findall(r"hitl_[A-Za-z0-9_-]{40,}", shown)
        assert "The old secret works until " in shown
        for key in (secret, made["key"]):
            assert ask(key, "GET", f"/api/pause/{first['watchId']}").status_code == 200
            again = ask(key, "POST", "/api/pause", json={"action": "pay"}, **once)
            assert (again.status_code, again.json()["watchId"]) == (200, first["watchId"])
        assert ask(secret, "POST", f"/api/pause/{first['watchId']}/cancel").json()["status"] == "cancelled"
        assert call("keys", "rotate", made["id"], "--overlap", "never").code == DONE
