"""Who gets a place where many want one: the laws that keep one namespace from taking all."""

from uuid import UUID, uuid4

import pytest

from tasks.slots import MOST_WAITING, Slot, Slots


def fill(places: Slots, namespace: str, wanted: int = 100) -> int:
    """How many it got."""
    return sum(places.take(namespace, uuid4()) for _ in range(wanted))


@pytest.mark.parametrize(("total", "alone"), [(1, 1), (4, 3), (24, 16), (96, 64)])
def test_one_alone_leaves_a_third(total: int, alone: int) -> None:
    places = Slots(total, lambda _: None)
    assert fill(places, "a") == alone


def test_a_later_caller_finds_a_place() -> None:
    """This also holds if several namespaces flood, one after the other."""
    places = Slots(24, lambda _: None)
    assert [fill(places, namespace) for namespace in "abc"] == [16, 6, 2]
    places.give_back("a")
    assert places.take("d", uuid4())


def test_what_a_person_has_decided_waits_behind_no_work_of_its_own_namespace() -> None:
    """Up to the eighth that is for others."""
    places = Slots(24, lambda _: None)
    assert fill(places, "a") == 16
    assert sum(places.take("a", uuid4(), decided=True) for _ in range(9)) == 5
    assert places.take("b", uuid4())


def test_a_row_without_a_place_is_woken_when_there_is_one() -> None:
    """First those of the namespace that has the fewest; within one the row that came first."""
    woken: list[UUID] = []
    places = Slots(3, woken.append)
    first, second, other = uuid4(), uuid4(), uuid4()
    assert fill(places, "a", 2) == 2
    assert fill(places, "b", 1) == 1
    assert not places.take("a", first)
    assert not places.take("a", second)
    assert not places.take("a", first)
    assert not places.take("c", other)
    places.give_back("b")
    assert woken == [other]
    places.give_back("a")
    assert woken == [other, first, second]
    places.give_back("a")
    assert woken == [other, first, second]


def test_no_more_rows_are_remembered_than_a_process_has_room_for() -> None:
    woken: list[UUID] = []
    places = Slots(1, woken.append)
    assert fill(places, "b", MOST_WAITING * 2) == 1
    places.give_back("b")
    while places.take("b", uuid4()):
        places.give_back("b")
        if len(woken) == MOST_WAITING:
            break
    places.take("b", uuid4())
    places.give_back("b")
    assert len(woken) == MOST_WAITING


def test_a_place_is_released_once() -> None:
    """It ends with its block or in its new owner; a slot that was never taken is not released."""
    places = Slots(1, lambda _: None)
    with Slot(places, uuid4()) as slot:
        assert slot.take("a")
        assert slot.take("a"), "it is taken already"
        with Slot(places, uuid4()) as late:
            assert not late.take("b")
        other = slot.handed_on()
    assert not places.take("b", uuid4())
    other.give_back()
    other.give_back()
    assert places.take("b", uuid4())
