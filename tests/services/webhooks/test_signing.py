"""Signing secrets: made once, rotated with a day in which both sign, shown to whom they belong."""

import base64

import pytest

from domain.identity.access import Role
from domain.values.errors import Forbidden
from services.kernel.unit_of_work import Database
from services.webhooks.endpoints import rotate_endpoint_secret
from services.webhooks.signing import SECRET_BYTES, namespace_secret, rotate_namespace_secret
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    change,
    claim,
    deliveries,
    one,
    post,
    someone,
)


def signing_now(database: Database) -> list[str]:
    """Return the secrets that sign the newest delivery, the newest first."""
    row = deliveries(database)[-1]
    change(database, "UPDATE webhook_deliveries SET lease_token = NULL, leased_until = NULL")
    return list(claim(database, row).secrets)


def test_a_namespaces_secret_is_made_at_first_use_and_stays(database: Database) -> None:
    """32 random bytes; each namespace has its own."""
    first = namespace_secret(database, AGENT, "default")
    assert namespace_secret(database, AGENT, "default") == first
    assert namespace_secret(database, ADMIN, "other") != first
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == SECRET_BYTES


def test_only_who_sees_the_namespace(database: Database) -> None:
    """Neither read nor rotate."""
    stranger = someone(Role.AGENT, "other")
    for call in (namespace_secret, rotate_namespace_secret):
        with pytest.raises(Forbidden):
            call(database, stranger, "default")
    assert one(database, "SELECT count(*) FROM webhook_secrets") == 0


def test_a_callback_is_signed_with_the_secret_that_its_agent_can_read(database: Database) -> None:
    """Whether the agent asked for it before or after."""
    decide_pause(database, REVIEWER, post(database, callback_url=CALLBACK), approve())
    assert signing_now(database) == [namespace_secret(database, AGENT, "default")]


def test_after_a_rotation_both_sign_for_a_day(database: Database) -> None:
    """The newest first; the old one no longer once its day is over."""
    decide_pause(database, REVIEWER, post(database, callback_url=CALLBACK), approve())
    old = namespace_secret(database, AGENT, "default")
    new = rotate_namespace_secret(database, ADMIN, "default")
    assert namespace_secret(database, AGENT, "default") == new
    assert signing_now(database) == [new, old]
    change(database, "UPDATE webhook_secrets SET retires_at = retires_at - interval '23 h 59 min'")
    assert signing_now(database) == [new, old]
    change(database, "UPDATE webhook_secrets SET retires_at = retires_at - interval '2 min'")
    assert signing_now(database) == [new]


def test_an_endpoints_rotation(database: Database) -> None:
    """The same law; and it leaves other endpoints' and the namespace's secrets alone."""
    made, other = an_endpoint(database), an_endpoint(database)
    of_namespace = namespace_secret(database, ADMIN, "default")
    new = rotate_endpoint_secret(database, ADMIN, made["id"])["secret"]
    post(database)
    by_endpoint = {row["endpoint_id"]: claim(database, row).secrets for row in deliveries(database)}
    assert {tuple(secrets) for secrets in by_endpoint.values()} == {(new, made["secret"]), (other["secret"],)}
    assert namespace_secret(database, ADMIN, "default") == of_namespace


def test_a_rotation_before_the_first_use(database: Database) -> None:
    """There was no earlier secret, so the new one is the only one."""
    new = rotate_namespace_secret(database, ADMIN, "default")
    assert namespace_secret(database, ADMIN, "default") == new


def test_first_uses_at_the_same_time_are_one_secret(database: Database) -> None:
    """A secret that was returned verifies signatures."""
    told = at_once([lambda: namespace_secret(database, AGENT, "default")] * 16)
    assert len(set(told)) == 1
    assert one(database, "SELECT count(*) FROM webhook_secrets") == 1


def test_rotations_at_the_same_time_leave_one_newest(database: Database) -> None:
    """Every secret that was handed out still signs."""
    first = namespace_secret(database, AGENT, "default")
    told = at_once([lambda: rotate_namespace_secret(database, ADMIN, "default")] * 8)
    assert not [answer for answer in told if isinstance(answer, Exception)]
    assert len(set(told)) == 8
    assert one(database, "SELECT count(*) FROM webhook_secrets WHERE retires_at IS NULL") == 1
    assert namespace_secret(database, AGENT, "default") in told
    decide_pause(database, REVIEWER, post(database, callback_url=CALLBACK), approve())
    assert set(signing_now(database)) == {first, *told}
