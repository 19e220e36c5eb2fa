"""Getting in: links that are good once, passwords, limits, identity providers; and the sessions that follow."""

from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from domain.identity.access import Principal, Role
from domain.identity.person import Identity
from domain.values.errors import Invalid, NotFound
from services.identity import passwords
from services.identity.bootstrap import OWNER, first_sign_in_link
from services.identity.login_throttle import ADDRESS_LIMIT, EMAIL_LIMIT, TooManyAttempts
from services.identity.people import (
    PersonChange,
    change_person,
    create_person,
    get_person,
    make_sign_in_link,
    sign_out_everywhere,
)
from services.identity.sessions import SignInOrigin, end_own_session, find_session, list_sessions
from services.identity.sign_in import (
    SignInRefused,
    own_absence,
    set_absence,
    set_password,
    sign_in,
    sign_in_as,
    sign_out_others,
)
from services.identity.sign_in_links import LinkExpired, find_review_link, make_link, review_of_link, use_link
from services.kernel.unit_of_work import Database
from tests.services.by_watch_id import decide_pause
from tests.services.world import ADMIN, REVIEWER, at_once, change, linked, one, post, reject, rows, uuid_of

EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
HERE = SignInOrigin("192.0.2.1", "a browser")
SUBJECT = "https://id.example|4711"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library's own parameters these tests would mostly wait for hashes."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=1024))
    passwords._dummy_hash.cache_clear()


@pytest.fixture
def ann(database: Database) -> Principal:
    new = PersonChange(email=EMAIL, name="Ann", role=Role.REVIEWER, namespaces=("default",))
    person = create_person(database, ADMIN, new)[0]
    return Principal(person["id"], "Ann", Role.REVIEWER, ("default",), email=EMAIL)


def link_of(database: Database, person: Principal) -> str:
    """A new link's token."""
    return str(make_sign_in_link(database, ADMIN, person.id)["url"].rpartition("/")[2])


def enter(database: Database, person: Principal) -> str:
    return use_link(database, link_of(database, person), HERE)[0]


def with_password(database: Database, person: Principal) -> str:
    """The token of the session in which it was set."""
    token = enter(database, person)
    set_password(database, person, token, "", PASSWORD)
    return token


def test_of_twenty_who_use_a_link_one_gets_in(database: Database, ann: Principal) -> None:
    token = link_of(database, ann)
    outcomes = at_once([lambda: use_link(database, token, HERE)] * 20)
    assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, LinkExpired) for outcome in outcomes) == 19
    assert one(database, "SELECT count(*) FROM sessions") == 1


def test_a_link_expires(database: Database, ann: Principal) -> None:
    token = link_of(database, ann)
    change(database, "UPDATE sign_in_links SET expires_at = clock_timestamp()")
    with pytest.raises(LinkExpired):
        use_link(database, token, HERE)


def test_only_hashes_of_tokens_are_stored(database: Database, ann: Principal) -> None:
    link = link_of(database, ann)
    session, _ = use_link(database, link, HERE)
    stored = " ".join(
        str(row)
        for table in ("sessions", "sign_in_links", "audit_events")
        for row in rows(linked(database), f"SELECT * FROM {table}")
    )
    assert link not in stored
    assert session not in stored


def test_a_session_ends_when_idle_and_in_the_end(database: Database, ann: Principal) -> None:
    """Being seen keeps it, but not beyond its last day."""
    token = enter(database, ann)
    change(database, "UPDATE sessions SET seen_at = seen_at - interval '11 h 59 min'")
    assert find_session(database, token) is not None
    change(database, "UPDATE sessions SET seen_at = clock_timestamp() - interval '12 h'")
    assert find_session(database, token) is None
    change(database, "UPDATE sessions SET seen_at = clock_timestamp()")
    assert find_session(database, token) is not None
    change(database, "UPDATE sessions SET expires_at = clock_timestamp()")
    assert find_session(database, token) is None


def test_sign_in_by_password(database: Database, ann: Principal) -> None:
    with_password(database, ann)
    token, person = sign_in(database, " ANN@example.com", PASSWORD, HERE)
    assert (person.id, person.email) == (ann.id, EMAIL)
    found = find_session(database, token)
    assert found is not None
    assert found.person.id == ann.id
    for email, password in (
        (EMAIL, PASSWORD + "x"),
        (EMAIL, ""),
        ("bob@example.com", PASSWORD),
        ("", ""),
        ("\0", "\ud800"),
    ):
        with pytest.raises(SignInRefused):
            sign_in(database, email, password, HERE)
    log = " ".join(row["entry"] for row in rows(linked(database), "SELECT entry::text FROM audit_events"))
    assert PASSWORD not in log
    assert "bob@example.com" not in log
    assert "sign_in.failed" in log


def test_who_has_no_password_or_is_disabled_has_none_that_is_right(database: Database, ann: Principal) -> None:
    for password in ("", "nobody has this one"):
        with pytest.raises(SignInRefused):
            sign_in(database, EMAIL, password, HERE)
    with_password(database, ann)
    change_person(database, ADMIN, ann.id, PersonChange(disabled=True))
    with pytest.raises(SignInRefused):
        sign_in(database, EMAIL, PASSWORD, HERE)


def test_an_unknown_address_costs_a_hash_too(
    database: Database, ann: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a response does not reveal who has an account."""
    with_password(database, ann)
    verified: list[str] = []
    hasher = passwords._hasher

    passwords.is_password("", None)

    class Counting:
        def verify(self, stored: str, password: bytes) -> bool:
            verified.append(stored.split("$")[3])
            return hasher.verify(stored, password)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    for email in (EMAIL, "nobody@example.com", "no address"):
        with pytest.raises(SignInRefused):
            sign_in(database, email, "wrong password!", HERE)
    assert len(verified) == 3
    assert len(set(verified)) == 1, "the same parameters, so the same time"


def test_a_password_is_hashed_anew_when_the_parameters_have_changed(database: Database, ann: Principal) -> None:
    with_password(database, ann)
    weak = PasswordHasher(time_cost=1, memory_cost=512).hash(PASSWORD)
    change(database, "UPDATE users SET password_hash = :weak", weak=weak)
    sign_in(database, EMAIL, PASSWORD, HERE)
    stored = one(database, "SELECT password_hash FROM users")
    assert stored != weak
    sign_in(database, EMAIL, PASSWORD, HERE)
    assert one(database, "SELECT password_hash FROM users") == stored


@pytest.mark.parametrize("wrong", ["", "short", "x" * 11, "x" * 129])
def test_a_password_has_twelve_characters_at_least(database: Database, ann: Principal, wrong: str) -> None:
    token = enter(database, ann)
    with pytest.raises(Invalid):
        set_password(database, ann, token, "", wrong)
    assert one(database, "SELECT password_hash FROM users") is None


def test_a_new_password_needs_the_old_one_and_ends_other_sessions(database: Database, ann: Principal) -> None:
    other = enter(database, ann)
    mine = with_password(database, ann)
    assert find_session(database, mine) is not None
    assert find_session(database, other) is None
    with pytest.raises(Invalid) as caught:
        set_password(database, ann, mine, "a wrong one", "another long password")
    assert caught.value.field_errors[0].path == "current"
    set_password(database, ann, mine, PASSWORD, "another long password")
    with pytest.raises(SignInRefused):
        sign_in(database, EMAIL, PASSWORD, HERE)
    sign_in(database, EMAIL, "another long password", HERE)


def test_a_forgotten_password_is_removed_by_an_admin(database: Database, ann: Principal) -> None:
    """Who does not see another, nor set one."""
    with_password(database, ann)
    assert not change_person(database, ADMIN, ann.id, PersonChange(remove_password=True))["has_password"]
    with pytest.raises(SignInRefused):
        sign_in(database, EMAIL, PASSWORD, HERE)
    set_password(database, ann, enter(database, ann), "", "another long password")
    sign_in(database, EMAIL, "another long password", HERE)


def test_too_many_guesses_of_one_persons_password(database: Database, ann: Principal) -> None:
    """From many addresses; then the right one is refused too, until time has passed. A link still lets them in."""
    with_password(database, ann)
    for number in range(EMAIL_LIMIT):
        with pytest.raises(SignInRefused):
            sign_in(database, EMAIL, "a wrong one", SignInOrigin(f"192.0.2.{number}", None))
    with pytest.raises(TooManyAttempts) as caught:
        sign_in(database, EMAIL, PASSWORD, HERE)
    assert 0 < caught.value.retry_after <= 900
    assert find_session(database, enter(database, ann)) is not None
    change(database, "UPDATE sign_in_failures SET since = since - interval '15 min'")
    sign_in(database, EMAIL, PASSWORD, HERE)


def test_too_many_guesses_from_one_address(database: Database, ann: Principal) -> None:
    """The limit counts the failures of many people; another address is not affected."""
    with_password(database, ann)
    change(database, "INSERT INTO sign_in_failures VALUES ('address:192.0.2.1', :limit, now())", limit=ADDRESS_LIMIT)
    with pytest.raises(TooManyAttempts):
        sign_in(database, EMAIL, PASSWORD, HERE)
    sign_in(database, EMAIL, PASSWORD, replace(HERE, address="192.0.2.2"))


def test_addresses_of_one_ipv6_network_are_one(database: Database, ann: Principal) -> None:
    """Any home has 2^64 of them."""
    with_password(database, ann)
    change(database, "DELETE FROM sign_in_failures")
    by_ipv6 = "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"
    for address in (*by_ipv6, "::ffff:192.0.2.1", "192.0.2.1", "no address"):
        with pytest.raises(SignInRefused):
            sign_in(database, EMAIL, "a wrong one", replace(HERE, address=address))
    counted = rows(database, "SELECT subject, failures FROM sign_in_failures WHERE subject LIKE 'address:%' ORDER BY 1")
    assert {row["subject"].partition(":")[2]: row["failures"] for row in counted} == {
        "192.0.2.1": 2,
        "2001:db8:0:1::/64": 1,
        "2001:db8::/64": 2,
        "no address": 1,
    }


def test_guesses_at_the_same_moment_are_counted_before_they_are_judged(database: Database, ann: Principal) -> None:
    with_password(database, ann)
    outcomes = at_once([lambda: sign_in(database, EMAIL, "a wrong one", HERE)] * 20)
    refused = sum(isinstance(outcome, SignInRefused) for outcome in outcomes)
    assert 0 < refused <= EMAIL_LIMIT
    assert sum(isinstance(outcome, TooManyAttempts) for outcome in outcomes) == 20 - refused


def test_the_right_password_forgets_the_slips_before(database: Database, ann: Principal) -> None:
    with_password(database, ann)
    for _ in range(3):
        for _ in range(EMAIL_LIMIT - 1):
            with pytest.raises(SignInRefused):
                sign_in(database, EMAIL, "a wrong one", HERE)
        sign_in(database, EMAIL, PASSWORD, HERE)


def test_an_identity_is_bound_at_its_first_sign_in(database: Database, ann: Principal) -> None:
    """From then on the provider's own id counts: the same address of another person gives no access."""
    _, person = sign_in_as(database, Identity(SUBJECT, "Ann@example.com", True), HERE)
    assert person.id == ann.id
    _, again = sign_in_as(database, Identity(SUBJECT, "renamed@example.com", False), HERE)
    assert again.id == ann.id
    with pytest.raises(SignInRefused):
        sign_in_as(database, Identity("https://id.example|4712", EMAIL, True), HERE)


@pytest.mark.parametrize(
    "identity",
    [
        Identity(SUBJECT, EMAIL, False),
        Identity(SUBJECT, None, True),
        Identity(SUBJECT, "nobody@example.com", True),
        Identity(SUBJECT, "", True),
    ],
)
def test_an_identity_that_nobody_here_has(database: Database, ann: Principal, identity: Identity) -> None:
    with pytest.raises(SignInRefused):
        sign_in_as(database, identity, HERE)
    assert one(database, "SELECT count(*) FROM sessions") == 0
    assert one(database, "SELECT count(*) FROM users WHERE oidc_subject IS NOT NULL") == 0


def test_who_is_disabled_is_refused_though_the_provider_knows_them(database: Database, ann: Principal) -> None:
    sign_in_as(database, Identity(SUBJECT, EMAIL, True), HERE)
    change_person(database, ADMIN, ann.id, PersonChange(disabled=True))
    with pytest.raises(SignInRefused):
        sign_in_as(database, Identity(SUBJECT, EMAIL, True), HERE)


def test_ones_own_sessions(database: Database, ann: Principal) -> None:
    """Sessions are listed, and ended one by one or all; a person ends only their own."""
    first, second, third = enter(database, ann), enter(database, ann), enter(database, ann)
    found = find_session(database, first)
    assert found is not None
    mine = list_sessions(database, found.user_id, first)
    assert len(mine) == 3
    assert [session["this"] for session in mine].count(True) == 1
    assert {(session["address"], session["browser"]) for session in mine} == {(HERE.address, HERE.browser)}
    (other,) = {session["id"] for session in list_sessions(database, found.user_id, second) if session["this"]}
    stranger = replace(ann, id="usr_" + "0" * 32)
    for id_ in (other, "zz", "00"):
        with pytest.raises(NotFound):
            end_own_session(database, stranger, id_)
    end_own_session(database, ann, other)
    assert find_session(database, second) is None
    sign_out_others(database, ann, first)
    assert find_session(database, first) is not None
    assert find_session(database, third) is None
    sign_out_others(database, ann, None)
    assert find_session(database, first) is None


def test_away(database: Database, ann: Principal) -> None:
    bob = PersonChange(email="bob@example.com", name="Bob", role=Role.REVIEWER, namespaces=("default",))
    bob_id = create_person(database, ADMIN, bob)[0]["id"]
    create_person(database, ADMIN, replace(bob, email="far@example.com", namespaces=("other",)))
    create_person(database, ADMIN, replace(bob, email="all@example.com", namespaces=("*",)))
    with database.transaction() as uow:
        tomorrow = uow.now + timedelta(days=1)
    set_absence(database, ann, tomorrow, " Bob@example.com ")
    assert own_absence(database, ann)["delegate"] == "bob@example.com"
    assert get_person(database, ADMIN, ann.id)["delegate_id"] == bob_id
    for until, delegate in (
        (tomorrow - timedelta(days=2), "bob@example.com"),
        (tomorrow, EMAIL),
        (tomorrow, "nobody@example.com"),
        # The response does not reveal that there is such a person.
        (tomorrow, "far@example.com"),
    ):
        with pytest.raises(Invalid):
            set_absence(database, ann, until, delegate)
    set_absence(database, ann, tomorrow, "all@example.com")
    set_absence(database, replace(ann, namespaces=("*",)), tomorrow, "far@example.com")
    set_absence(database, ann, None, "")
    assert own_absence(database, ann)["until"] is None


def test_a_reviews_link_opens_that_review_as_often_as_one_likes(database: Database, ann: Principal) -> None:
    """It does not sign in. It ends at its expiry, a day after the decision, or when the person is disabled."""
    watch_id = post(database)
    user_id = uuid_of(ann.id.replace("usr_", "wch_"))
    with database.transaction() as uow:
        token = make_link(uow, user_id, uow.now + timedelta(days=30), uuid_of(watch_id))
    for _ in range(3):
        found = find_review_link(database, ["another", token], uuid_of(watch_id))
        assert found is not None
        assert (found.person.id, found.pause_id) == (ann.id, uuid_of(watch_id))
    with pytest.raises(LinkExpired):
        use_link(database, token, HERE)
    assert find_session(database, token) is None
    assert find_review_link(database, [token], uuid_of(post(database))) is None
    decide_pause(database, REVIEWER, watch_id, reject())
    assert find_review_link(database, ["another", token], uuid_of(watch_id)) is not None
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '24 h' WHERE status <> 'pending'")
    assert find_review_link(database, ["another", token], uuid_of(watch_id)) is None
    assert review_of_link(database, token) == uuid_of(watch_id)
    assert review_of_link(database, "another") is None
    change(database, "UPDATE pauses SET resolved_at = clock_timestamp() WHERE status <> 'pending'")
    change(database, "UPDATE sign_in_links SET expires_at = clock_timestamp()")
    assert find_review_link(database, ["another", token], uuid_of(watch_id)) is None
    change(database, "UPDATE sign_in_links SET expires_at = clock_timestamp() + interval '1 h'")
    change_person(database, ADMIN, ann.id, PersonChange(disabled=True))
    assert find_review_link(database, ["another", token], uuid_of(watch_id)) is None


def test_links_that_went_to_another_place_let_nobody_in(database: Database, ann: Principal) -> None:
    """The address was a stranger's, or the chat room was open to all: that is why an admin changes it."""
    watch_id = post(database)
    user_id = uuid_of(ann.id.replace("usr_", "wch_"))
    rooms = ("json://a.example.com", "json://b.example.com")
    for change_, still in (
        (PersonChange(channels=rooms), True),
        (PersonChange(name="Anne"), True),
        (PersonChange(channels=rooms[:1]), False),
        (PersonChange(email="anne@example.com"), False),
    ):
        with database.transaction() as uow:
            token = make_link(uow, user_id, uow.now + timedelta(days=1), uuid_of(watch_id))
        change_person(database, ADMIN, ann.id, change_)
        assert (find_review_link(database, [token], uuid_of(watch_id)) is not None) is still


def test_of_two_links_to_one_review_the_last_one_opened_counts(database: Database, ann: Principal) -> None:
    bob = PersonChange(email="bob@example.com", name="Bob", role=Role.REVIEWER, namespaces=("default",))
    people = [ann.id, create_person(database, ADMIN, bob)[0]["id"]]
    pause_id = uuid_of(post(database))
    with database.transaction() as uow:
        tokens = [
            make_link(uow, uuid_of(i.replace("usr_", "wch_")), uow.now + timedelta(days=1), pause_id) for i in people
        ]
    for order in (1, -1):
        found = find_review_link(database, ["another", *tokens[::order]], pause_id)
        assert found is not None
        assert found.person.id == people[::order][0]


def test_signed_out_everywhere_no_link_lets_in(database: Database, ann: Principal) -> None:
    """They may have been opened on the lost phone."""
    watch_id = post(database)
    user_id = uuid_of(ann.id.replace("usr_", "wch_"))
    for sign_out in (
        lambda: sign_out_others(database, ann, None),
        lambda: sign_out_everywhere(database, ADMIN, ann.id),
    ):
        enter(database, ann)
        unused = link_of(database, ann)
        with database.transaction() as uow:
            token = make_link(uow, user_id, uow.now + timedelta(days=1), uuid_of(watch_id))
        sign_out()
        assert find_review_link(database, [token], uuid_of(watch_id)) is None
        with pytest.raises(LinkExpired):
            use_link(database, unused, HERE)


def test_the_owner_of_a_new_installation(database: Database) -> None:
    """Is made once; each start gives a new link."""
    first, second = first_sign_in_link(database), first_sign_in_link(database)
    assert first is not None
    assert second is not None
    assert first != second
    assert rows(database, "SELECT email, role, namespaces FROM users") == [
        {"email": OWNER, "role": "admin", "namespaces": ["*"]}
    ]
    recorded = rows(
        linked(database), "SELECT entry ->> 'type' AS type, entry ->> 'by' AS by FROM audit_events ORDER BY seq"
    )
    assert recorded == [{"type": f"{what}.created", "by": "system"} for what in ("person", "link", "link")]
    _, person = use_link(database, first.rpartition("/")[2], HERE)
    assert person.email == OWNER
    change_person(database, ADMIN, person.id, PersonChange(disabled=True))
    assert first_sign_in_link(database) is None
