"""People and groups: who may manage whom, and what disabling a person does."""

from datetime import timedelta

import pytest

from domain.identity.access import Principal, Role
from domain.values.errors import Conflict, Forbidden, Invalid, NotFound
from services.identity.groups import delete_group, list_groups, put_group
from services.identity.people import (
    EmailTaken,
    NotOneself,
    PersonChange,
    PersonNotManaged,
    TooManyAddresses,
    change_person,
    create_person,
    get_person,
    list_people,
    make_sign_in_link,
    sign_out_everywhere,
)
from services.identity.sessions import SignInOrigin, find_session
from services.identity.sign_in_links import LinkExpired, use_link
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from tests.services.world import ADMIN, at_once, change, linked, one, prune, rows, someone

ANN = PersonChange(email="ann@example.com", name="Ann", role=Role.REVIEWER, namespaces=("default",))
HERE = SignInOrigin("192.0.2.1", "a browser")


def changed(**fields: object) -> PersonChange:
    return PersonChange(**{**{name: getattr(ANN, name) for name in ("email", "name", "role", "namespaces")}, **fields})  # type: ignore[arg-type]


def made(database: Database, new: PersonChange = ANN, by: Principal = ADMIN) -> str:
    """The new person's id."""
    return str(create_person(database, by, new)[0]["id"])


def signed_in(database: Database, person_id: str) -> str:
    """A new session's token."""
    link = make_sign_in_link(database, ADMIN, person_id)
    return use_link(database, link["url"].rpartition("/")[2], HERE)[0]


def entries(database: Database) -> list[str]:
    return [
        row["type"] for row in rows(linked(database), "SELECT entry ->> 'type' AS type FROM audit_events ORDER BY seq")
    ]


def test_an_address_is_one_person_however_it_is_written(database: Database) -> None:
    person = get_person(database, ADMIN, made(database, changed(email="  Ann@Example.COM ")))
    assert person["email"] == "ann@example.com"
    with pytest.raises(EmailTaken):
        made(database, changed(email="ANN@example.com"))
    outcomes = at_once([lambda: made(database, changed(email="bob@example.com"))] * 8)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, EmailTaken) for outcome in outcomes) == 7


def test_an_address_that_somebody_elsewhere_has_tells_nothing_of_them(database: Database) -> None:
    """Neither in making a person nor in changing one; of one's own people it is said."""
    mine = someone(Role.ADMIN, "default", id_="key_mine")
    made(database, changed(email="boss@example.com", namespaces=("elsewhere",)))
    ours = made(database, by=mine)
    for refused in (
        lambda: made(database, changed(email="boss@example.com"), mine),
        lambda: change_person(database, mine, ours, PersonChange(email="boss@example.com")),
    ):
        with pytest.raises(PersonNotManaged) as caught:
            refused()
        assert (caught.value.code, "boss" in caught.value.detail) == ("PERSON_NOT_YOURS", False)
    with pytest.raises(EmailTaken):
        made(database, by=mine)


def test_probing_for_addresses_is_recorded_and_slow(database: Database) -> None:
    """The log has each rejection. After five, the namespace's admins wait, whichever address they try."""
    for name in ("boss", "chief"):
        made(database, changed(email=f"{name}@example.com", namespaces=("elsewhere",)))
    admins = [someone(Role.ADMIN, "default", id_=f"key_{n}") for n in range(20)]
    ours = made(database, by=admins[0])
    outcomes = at_once(
        [
            lambda a=admin: change_person(database, a, ours, PersonChange(email="boss@example.com"))  # type: ignore[misc]
            for admin in admins
        ]
    )
    assert sum(isinstance(outcome, PersonNotManaged) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, TooManyAddresses) for outcome in outcomes) == 15
    for email in ("chief@example.com", "nobody@example.com"):
        with pytest.raises(TooManyAddresses) as caught:
            made(database, changed(email=email), admins[0])
        assert 0 < caught.value.retry_after <= 3600
    # Their own people they manage as before, with the address that the form sends along.
    assert change_person(database, admins[0], ours, PersonChange(email="ANN@example.com", name="A."))["name"] == "A."
    assert made(database, changed(email="x@example.com", namespaces=("other",)), someone(Role.ADMIN, "other"))
    assert made(database, changed(email="y@example.com"))
    assert entries(database).count("person.refused") == 5
    boss = list_people(database, ADMIN, Page(), "boss@example.com").items[0]["id"]
    (told,) = {
        (row["namespace"], row["subject"], row["of"])
        for row in rows(
            linked(database),
            "SELECT namespace, entry ->> 'subject' AS subject, entry #>> '{details,namespaces}' AS of"
            " FROM audit_events WHERE entry ->> 'type' = 'person.refused'",
        )
    }
    assert told == ("*", boss, '["default"]')
    change(database, "UPDATE sign_in_failures SET since = since - interval '59 minutes'")
    prune(database, timedelta(days=1))
    with pytest.raises(TooManyAddresses):
        made(database, changed(email="later@example.com"), admins[0])
    change(database, "UPDATE sign_in_failures SET since = since - interval '1 minute'")
    assert made(database, changed(email="later@example.com"), admins[0])


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
def test_what_cannot_be_said_of_a_person(database: Database, wrong: dict[str, object], path: str | None) -> None:
    if path is None:
        assert made(database, changed(**wrong))
        return
    with pytest.raises(Invalid) as caught:
        made(database, changed(**wrong))
    assert [field_error.path for field_error in caught.value.field_errors] == [path]


def test_an_admin_of_some_namespaces_manages_the_people_within(database: Database) -> None:
    """An admin does not see people with further namespaces, and grants none that they do not have."""
    narrow = someone(Role.ADMIN, "default")
    mine = made(database, ANN, narrow)
    wider = made(database, changed(email="wide@example.com", namespaces=("default", "other")))
    everywhere = made(database, changed(email="all@example.com", namespaces=("*",)))
    assert [person["id"] for person in list_people(database, narrow, Page()).items] == [mine]
    for other in (wider, everywhere, "usr_" + "0" * 32, "nonsense"):
        for call in (get_person, make_sign_in_link, sign_out_everywhere):
            with pytest.raises(NotFound):
                call(database, narrow, other)
        with pytest.raises(NotFound):
            change_person(database, narrow, other, PersonChange(name="x"))
    for namespaces in (("other",), ("*",)):
        with pytest.raises(Forbidden):
            change_person(database, narrow, mine, PersonChange(namespaces=namespaces))
        with pytest.raises(Forbidden):
            made(database, changed(email="x@example.com", namespaces=namespaces), narrow)


def test_who_is_disabled_is_out_at_once(database: Database) -> None:
    """Their sessions end with it, no link lets them in, and enabling brings none of them back."""
    id_ = made(database)
    token = signed_in(database, id_)
    waiting = make_sign_in_link(database, ADMIN, id_)["url"].rpartition("/")[2]
    assert find_session(database, token) is not None
    assert change_person(database, ADMIN, id_, PersonChange(disabled=True))["disabled_at"] is not None
    assert find_session(database, token) is None
    with pytest.raises(LinkExpired):
        use_link(database, waiting, HERE)
    with pytest.raises(Conflict):
        make_sign_in_link(database, ADMIN, id_)
    change_person(database, ADMIN, id_, PersonChange(disabled=False))
    assert find_session(database, token) is None
    assert entries(database)[-3:] == ["person.disabled", "session.ended", "person.enabled"]


def test_a_link_used_while_its_person_is_disabled_leaves_no_session(database: Database) -> None:
    """Whichever comes first, no session is left afterwards."""
    for _ in range(10):
        id_ = made(database, changed(email=f"p{one(database, 'SELECT count(*) FROM users')}@example.com"))
        token = make_sign_in_link(database, ADMIN, id_)["url"].rpartition("/")[2]
        outcomes = at_once(
            [lambda t=token: use_link(database, t, HERE)] * 3  # type: ignore[misc]
            + [lambda i=id_: change_person(database, ADMIN, i, PersonChange(disabled=True))]  # type: ignore[misc]
        )
        assert all(not isinstance(outcome, Exception) or isinstance(outcome, LinkExpired) for outcome in outcomes)
        assert one(database, "SELECT count(*) FROM sessions") == 0


def test_nobody_disables_or_demotes_themselves(database: Database) -> None:
    """So an admin is always left who may undo it. Other fields of oneself may be changed."""
    id_ = made(database, changed(role=Role.ADMIN, namespaces=("*",)))
    oneself = Principal(id_, "Ann", Role.ADMIN, ("*",))
    for wanted in (
        PersonChange(disabled=True),
        PersonChange(role=Role.REVIEWER),
        PersonChange(namespaces=("default",)),
    ):
        with pytest.raises(NotOneself):
            change_person(database, oneself, id_, wanted)
    assert change_person(database, oneself, id_, PersonChange(name="Ann B.", role=Role.ADMIN))["name"] == "Ann B."


def test_a_change_that_changes_nothing_is_no_event(database: Database) -> None:
    id_ = made(database)
    change_person(database, ADMIN, id_, ANN)
    assert entries(database) == ["person.created"]


def test_channels_hold_secrets_and_are_shown_by_kind(database: Database) -> None:
    put_group(database, ADMIN, "legal", None, ("slack://secret-token",))
    id_ = made(database, changed(channels=("mailtos://u:secret-password@example.com",), groups=("legal",)))
    person = get_person(database, ADMIN, id_)
    assert person["channels"] == ["mailtos://example.com"]
    assert list_groups(database)[0]["channels"] == ["slack://…"]
    log = " ".join(row["entry"] for row in rows(linked(database), "SELECT entry::text FROM audit_events"))
    assert "secret" not in log


def test_groups(database: Database) -> None:
    """Made, changed, counted, deleted with their places in people; only by an admin of all namespaces."""
    assert put_group(database, ADMIN, "legal", "reads contracts", ("slack://x",))["channels"] == ["slack://…"]
    assert put_group(database, ADMIN, "legal", "reads all", None)["channels"] == ["slack://…"]
    assert put_group(database, ADMIN, "legal", "reads all", ())["channels"] == []
    put_group(database, ADMIN, "ops", None, None)
    id_ = made(database, changed(groups=("legal", "ops")))
    assert [(group["name"], group["people"]) for group in list_groups(database)] == [("legal", 1), ("ops", 1)]
    delete_group(database, ADMIN, "legal")
    assert get_person(database, ADMIN, id_)["groups"] == ["ops"]
    change_person(database, ADMIN, id_, PersonChange(disabled=True))
    assert [group["people"] for group in list_groups(database)] == [0]
    with pytest.raises(NotFound):
        delete_group(database, ADMIN, "legal")
    with pytest.raises(Invalid):
        put_group(database, ADMIN, "No Group", None, None)
    narrow = someone(Role.ADMIN, "default")
    for call in (lambda: put_group(database, narrow, "ops", None, None), lambda: delete_group(database, narrow, "ops")):
        with pytest.raises(Forbidden):
            call()
    created = [type_ for type_ in entries(database) if type_.startswith("group")]
    assert created == ["group.created", "group.changed", "group.changed", "group.created", "group.deleted"]


def test_email_is_a_channel_of_people_only(database: Database) -> None:
    """A group has no address."""
    assert get_person(database, ADMIN, made(database, changed(channels=("email",))))["channels"] == ["email"]
    with pytest.raises(Invalid):
        put_group(database, ADMIN, "legal", None, ("email",))
