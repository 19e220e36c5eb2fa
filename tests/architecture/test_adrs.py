"""The records of decisions: each has a number of its own."""

from collections import Counter

from tests.conftest import ROOT


def test_each_has_a_number_of_its_own() -> None:
    numbers = Counter[int]()
    for page in sorted((ROOT / "docs" / "adr").glob("*.md")):
        number = int(page.name.partition("-")[0])
        assert page.read_text().startswith(f"# {number}. "), page.name
        numbers[number] += 1
    assert [number for number, count in numbers.items() if count > 1] == []
