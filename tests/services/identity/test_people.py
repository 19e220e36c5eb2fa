"""People and groups: who may manage whom, and what becomes of those who are disabled."""

from datetime import timedelta

import pytest

from domain.identity.access import Principal, Role
from domain.values.errors import Conflict, Forbidden, Invalid, NotFound
from services.identity.groups import delete_group, list_groups, put_group
from services.identity.people import (
    EmailTaken,
    NotHere,
    NotOneself,
    PersonChange,
    TooManyAddresses,
    change_person,
    create_person,
    get_person,
    list_people,
    make_sign_in_link,
    sign_out_everywhere,
)
from services.identity.sessions import From, find_session
from services.identity.sign_in_links import LinkExpired, use_link
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Store
from services.operations.retention import prune
from tests.services.world import ADMIN, at_once, change, one, rows, someone

ANN = PersonChange(email="ann@example.com", name="Ann", role=Role.REVIEWER, namespaces=("default",))
HERE = From("192.0.2.1", "a browser")


def changed(**fields: object) -> PersonChange:
    return PersonChange(**{**{name: getattr(ANN, name) for name in ("email", "name", "role", "namespaces")}, **fields})  # type: ignore[arg-type]


def made(store: Store, new: PersonChange = ANN, by: Principal = ADMIN) -> str:
    """The new person's id."""
    return str(create_person(store, by, new)[0]["id"])


def signed_in(store: Store, person_id: str) -> str:
    """A new session's token."""
    link = make_sign_in_link(store, ADMIN, person_id)
    return use_link(store, link["url"].rpartition("/")[2], HERE)[0]


def entries(store: Store) -> list[str]:
    return [row["type"] for row in rows(store, "SELECT entry ->> 'type' AS type FROM audit_events ORDER BY seq")]


def test_an_address_is_one_person_however_it_is_written(store: Store) -> None:
    person = get_person(store, ADMIN, made(store, changed(email="  Ann@Example.COM ")))
    assert person["email"] == "ann@example.com"
    with pytest.raises(EmailTaken):
        made(store, changed(email="ANN@example.com"))
    outcomes = at_once([lambda: made(store, changed(email="bob@example.com"))] * 8)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, EmailTaken) for outcome in outcomes) == 7


def test_an_address_that_somebody_elsewhere_has_tells_nothing_of_them(store: Store) -> None:
    """Neither in making a person nor in changing one; of one's own people it is said."""
    mine = someone(Role.ADMIN, "default", id_="key_mine")
    made(store, changed(email="boss@example.com", namespaces=("elsewhere",)))
    ours = made(store, by=mine)
    for refused in (
        lambda: made(store, changed(email="boss@example.com"), mine),
        lambda: change_person(store, mine, ours, PersonChange(email="boss@example.com")),
    ):
        with pytest.raises(NotHere) as caught:
            refused()
        assert (caught.value.code, "boss" in caught.value.detail) == ("PERSON_NOT_YOURS", False)
    with pytest.raises(EmailTaken):
        made(store, by=mine)


def test_probing_for_addresses_is_recorded_and_slow(store: Store) -> None:
    """Each refusal is in the log; after five the namespace's admins wait, whichever address they ask for."""
    for name in ("boss", "chief"):
        made(store, changed(email=f"{name}@example.com", namespaces=("elsewhere",)))
    admins = [someone(Role.ADMIN, "default", id_=f"key_{n}") for n in range(20)]
    ours = made(store, by=admins[0])
    outcomes = at_once(
        [
            lambda a=admin: change_person(store, a, ours, PersonChange(email="boss@example.com"))  # type: ignore[misc]
            for admin in admins
        ]
    )
    assert sum(isinstance(outcome, NotHere) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, TooManyAddresses) for outcome in outcomes) == 15
    for email in ("chief@example.com", "nobody@example.com"):
        with pytest.raises(TooManyAddresses) as caught:
            made(store, changed(email=email), admins[0])
        assert 0 < caught.value.retry_after <= 3600
    # Their own people they manage as before, with the address that the form sends along.
    assert change_person(store, admins[0], ours, PersonChange(email="ANN@example.com", name="A."))["name"] == "A."
    assert made(store, changed(email="x@example.com", namespaces=("other",)), someone(Role.ADMIN, "other"))
    assert made(store, changed(email="y@example.com"))
    assert entries(store).count("person.refused") == 5
    boss = list_people(store, ADMIN, Page(), "boss@example.com").items[0]["id"]
    (told,) = {
        (row["namespace"], row["subject"], row["of"])
        for row in rows(
            store,
            "SELECT namespace, entry ->> 'subject' AS subject, entry #>> '{details,namespaces}' AS of"
            " FROM audit_events WHERE entry ->> 'type' = 'person.refused'",
        )
    }
    assert told == ("*", boss, '["default"]')
    change(store, "UPDATE sign_in_failures SET since = since - interval '59 minutes'")
    prune(store, timedelta(days=1))
    with pytest.raises(TooManyAddresses):
        made(store, changed(email="later@example.com"), admins[0])
    change(store, "UPDATE sign_in_failures SET since = since - interval '1 minute'")
    assert made(store, changed(email="later@example.com"), admins[0])


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"email": "ann"}, "email"),
        ({"email": "ann@exa mple.com"}, "email"),
        ({"email": "ann@example.com\n"}, None),
        ({"email": "änn@example.com"}, "email"),
        # In lower case the sign of Kelvin is a plain k.
        ({"email": "\u212aate@example.com"}, "email"),
        ({"email": "a" * 250 + "@example.com"}, "email"),
        ({"name": ""}, "name"),
        ({"name": "Ann\u202eadmin"}, "name"),
        ({"role": Role.AGENT}, "role"),
        ({"namespaces": ()}, "namespaces"),
        ({"groups": ("nobody",)}, "groups"),
        ({"channels": ("no url",)}, "channels[0]"),
    ],
)
def test_what_cannot_be_said_of_a_person(store: Store, wrong: dict[str, object], path: str | None) -> None:
    if path is None:
        assert made(store, changed(**wrong))
        return
    with pytest.raises(Invalid) as caught:
        made(store, changed(**wrong))
    assert [fault.path for fault in caught.value.faults] == [path]


def test_an_admin_of_some_namespaces_manages_the_people_within(store: Store) -> None:
    """Whoever reaches further is not there for them; and they give nothing that they have not."""
    narrow = someone(Role.ADMIN, "default")
    mine = made(store, ANN, narrow)
    wider = made(store, changed(email="wide@example.com", namespaces=("default", "other")))
    everywhere = made(store, changed(email="all@example.com", namespaces=("*",)))
    assert [person["id"] for person in list_people(store, narrow, Page()).items] == [mine]
    for other in (wider, everywhere, "usr_" + "0" * 32, "nonsense"):
        for call in (get_person, make_sign_in_link, sign_out_everywhere):
            with pytest.raises(NotFound):
                call(store, narrow, other)
        with pytest.raises(NotFound):
            change_person(store, narrow, other, PersonChange(name="x"))
    for namespaces in (("other",), ("*",)):
        with pytest.raises(Forbidden):
            change_person(store, narrow, mine, PersonChange(namespaces=namespaces))
        with pytest.raises(Forbidden):
            made(store, changed(email="x@example.com", namespaces=namespaces), narrow)


def test_who_is_disabled_is_out_at_once(store: Store) -> None:
    """Their sessions end with it, no link lets them in, and enabling brings none of them back."""
    id_ = made(store)
    token = signed_in(store, id_)
    waiting = make_sign_in_link(store, ADMIN, id_)["url"].rpartition("/")[2]
    assert find_session(store, token) is not None
    assert change_person(store, ADMIN, id_, PersonChange(disabled=True))["disabled_at"] is not None
    assert find_session(store, token) is None
    with pytest.raises(LinkExpired):
        use_link(store, waiting, HERE)
    with pytest.raises(Conflict):
        make_sign_in_link(store, ADMIN, id_)
    change_person(store, ADMIN, id_, PersonChange(disabled=False))
    assert find_session(store, token) is None
    assert entries(store)[-3:] == ["person.disabled", "session.ended", "person.enabled"]


def test_a_link_used_while_its_person_is_disabled_leaves_no_session(store: Store) -> None:
    """Whichever is first, afterwards nobody is signed in."""
    for _ in range(10):
        id_ = made(store, changed(email=f"p{one(store, 'SELECT count(*) FROM users')}@example.com"))
        token = make_sign_in_link(store, ADMIN, id_)["url"].rpartition("/")[2]
        outcomes = at_once(
            [lambda t=token: use_link(store, t, HERE)] * 3  # type: ignore[misc]
            + [lambda i=id_: change_person(store, ADMIN, i, PersonChange(disabled=True))]  # type: ignore[misc]
        )
        assert all(not isinstance(outcome, Exception) or isinstance(outcome, LinkExpired) for outcome in outcomes)
        assert one(store, "SELECT count(*) FROM sessions") == 0


def test_nobody_disables_or_demotes_themselves(store: Store) -> None:
    """So somebody is always left who may undo it. The rest of oneself one may change."""
    id_ = made(store, changed(role=Role.ADMIN, namespaces=("*",)))
    oneself = Principal(id_, "Ann", Role.ADMIN, ("*",))
    for wanted in (
        PersonChange(disabled=True),
        PersonChange(role=Role.REVIEWER),
        PersonChange(namespaces=("default",)),
    ):
        with pytest.raises(NotOneself):
            change_person(store, oneself, id_, wanted)
    assert change_person(store, oneself, id_, PersonChange(name="Ann B.", role=Role.ADMIN))["name"] == "Ann B."


def test_a_change_that_changes_nothing_is_no_event(store: Store) -> None:
    id_ = made(store)
    change_person(store, ADMIN, id_, ANN)
    assert entries(store) == ["person.created"]


def test_channels_hold_secrets_and_are_told_by_kind(store: Store) -> None:
    put_group(store, ADMIN, "legal", None, ("slack://secret-token",))
    id_ = made(store, changed(channels=("mailtos://u:secret-password@example.com",), groups=("legal",)))
    person = get_person(store, ADMIN, id_)
    assert person["channels"] == ["mailtos://example.com"]
    assert list_groups(store)[0]["channels"] == ["slack://…"]
    log = " ".join(row["entry"] for row in rows(store, "SELECT entry::text FROM audit_events"))
    assert "secret" not in log


def test_groups(store: Store) -> None:
    """Made, changed, counted, deleted with their places in people; only by an admin of all namespaces."""
    assert put_group(store, ADMIN, "legal", "reads contracts", ("slack://x",))["channels"] == ["slack://…"]
    assert put_group(store, ADMIN, "legal", "reads all", None)["channels"] == ["slack://…"]
    assert put_group(store, ADMIN, "legal", "reads all", ())["channels"] == []
    put_group(store, ADMIN, "ops", None, None)
    id_ = made(store, changed(groups=("legal", "ops")))
    assert [(group["name"], group["people"]) for group in list_groups(store)] == [("legal", 1), ("ops", 1)]
    delete_group(store, ADMIN, "legal")
    assert get_person(store, ADMIN, id_)["groups"] == ["ops"]
    change_person(store, ADMIN, id_, PersonChange(disabled=True))
    assert [group["people"] for group in list_groups(store)] == [0]
    with pytest.raises(NotFound):
        delete_group(store, ADMIN, "legal")
    with pytest.raises(Invalid):
        put_group(store, ADMIN, "No Group", None, None)
    narrow = someone(Role.ADMIN, "default")
    for call in (lambda: put_group(store, narrow, "ops", None, None), lambda: delete_group(store, narrow, "ops")):
        with pytest.raises(Forbidden):
            call()
    created = [type_ for type_ in entries(store) if type_.startswith("group")]
    assert created == ["group.created", "group.changed", "group.changed", "group.created", "group.deleted"]


def test_email_is_a_channel_of_people_only(store: Store) -> None:
    """A group has no address."""
    assert get_person(store, ADMIN, made(store, changed(channels=("email",))))["channels"] == ["email"]
    with pytest.raises(Invalid):
        put_group(store, ADMIN, "legal", None, ("email",))
