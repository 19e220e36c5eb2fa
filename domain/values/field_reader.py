"""A reader of a manifest's objects, field by field. It records each error with its place and reads on."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

from domain.values import canonical_json
from domain.values.errors import FieldError

E = TypeVar("E", bound=Enum)

# The author of more errors finds the rest after correcting these.
MAX_FIELD_ERRORS = 100
MAX_TEXT = 10_000
MAX_ITEMS = 200
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
NAME_RULE = "1 to 100 letters, digits, dots, hyphens and underscores, the first a letter, a digit or an underscore"


class FieldErrors:
    """The errors found so far.

    Attributes:
        unknown: places of unknown fields in a stored object, where they are not errors. A newer release may have
            written them, and the object must stay readable.
    """

    def __init__(self, *, stored: bool = False) -> None:
        self.found: list[FieldError] = []
        self.unknown: list[str] | None = [] if stored else None

    def add(self, path: str, message: str) -> None:
        if len(self.found) < MAX_FIELD_ERRORS:
            self.found.append(FieldError(path[: canonical_json.MAX_PATH], message))


class FieldReader:
    """The fields of one object. An unusable field is recorded, and read as the default or as an empty value.

    Use it as a context manager: on exit, each field that was not read is an error.
    """

    def __init__(self, field_errors: FieldErrors, path: str, value: object) -> None:
        self._field_errors = field_errors
        self.path = path
        self._value: Mapping[str, Any] = value if isinstance(value, dict) else {}
        # Each known field, with the reason why it is refused here.
        self._known: dict[str, str | None] = {}
        self.is_object = isinstance(value, dict)
        if not self.is_object:
            field_errors.add(path, "is not an object")

    def __enter__(self) -> "FieldReader":
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._value:
            if name not in self._known and self._field_errors.unknown is not None:
                self._field_errors.unknown.append(self.at(name))
            elif name not in self._known:
                known = ", ".join(sorted(name for name, why in self._known.items() if why is None))
                self._field_errors.add(self.at(name), f"is not a field here; use one of: {known}")
            elif (why := self._known[name]) is not None:
                self._field_errors.add(self.at(name), why)

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def field_error(self, name: str, message: str) -> None:
        self._field_errors.add(self.at(name), message)

    def has(self, name: str) -> bool:
        return name in self._value

    def refuse(self, names: Collection[str], why: str) -> None:
        """Refuse fields that are valid only elsewhere."""
        self._known |= dict.fromkeys(names, why)

    def raw(self, name: str, *, required: bool = False) -> Any:
        """Return the field's value as it is, or None when it is missing."""
        self._known[name] = None
        if required and name not in self._value and self.is_object:
            self.field_error(name, "is missing")
        return self._value.get(name)

    def inner(self, name: str, *, required: bool = False) -> "FieldReader | None":
        value = self.raw(name, required=required)
        return None if value is None else FieldReader(self._field_errors, self.at(name), value)

    def within(self, place: str, value: object) -> "FieldReader":
        """Return a reader of the object at this place inside a field that was read."""
        return FieldReader(self._field_errors, self.at(place), value)

    def objects(self, name: str, *, required: bool = False) -> Iterator["FieldReader"]:
        for index, item in enumerate(self.items(name, required=required)):
            yield FieldReader(self._field_errors, f"{self.at(name)}[{index}]", item)

    def items(self, name: str, *, required: bool = False) -> list[Any]:
        value = self.raw(name, required=required)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            self.field_error(name, f"is not a list of at most {MAX_ITEMS}")
            return []
        return value

    def text(self, name: str, *, required: bool = False, most: int = MAX_TEXT) -> str | None:
        """Return the text of the field, which is not blank."""
        value = self.raw(name, required=required)
        if value is None:
            return None
        if not isinstance(value, str):
            advice = ": put it in quotes" if isinstance(value, int | float) else ""
            self.field_error(name, f"is not a text{advice}")
            return None
        if not value.strip() or len(value) > most:
            self.field_error(name, f"must have 1 to {most} characters")
            return None
        return value

    def name(self, name: str, *, required: bool = True) -> str:
        """Return an identifier, empty if the field is not one."""
        value = self.text(name, required=required, most=100)
        if value is not None and not NAME.fullmatch(value):
            self.field_error(name, f"is not a name: {NAME_RULE}")
        return value or ""

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.items(name)
        for index, item in enumerate(found):
            if not isinstance(item, str) or not item.strip() or len(item) > MAX_TEXT:
                self._field_errors.add(f"{self.at(name)}[{index}]", f"is not a text of 1 to {MAX_TEXT} characters")
        texts = [item for item in found if isinstance(item, str)]
        return tuple(texts)

    def unique_texts(self, name: str) -> tuple[str, ...]:
        found = self.texts(name)
        for index, item in enumerate(found):
            if item in found[:index]:
                self._field_errors.add(f"{self.at(name)}[{index}]", "is a duplicate: remove it")
        return found

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.raw(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > MAX_ITEMS:
            self.field_error(name, f"is not an object of at most {MAX_ITEMS} fields")
            return {}
        return value

    def label(self, name: str) -> None:
        """Check a text or a number that is only for people to read."""
        value = self.raw(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            self.field_error(name, "is neither a text nor a number")

    def text_mapping(self, name: str) -> Mapping[str, str]:
        found = self.mapping(name)
        for key, value in found.items():
            if not isinstance(value, str):
                self._field_errors.add(f"{self.at(name)}.{key}", "is not a text: put it in quotes")
        return {key: value for key, value in found.items() if isinstance(value, str)}

    def yes(self, name: str) -> bool | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            self.field_error(name, "is neither true nor false")
            return None
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        found = canonical_json.whole(value)
        if found is None or not low <= found <= high:
            self.field_error(name, f"is not a whole number from {low} to {high}")
            return None
        return found

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            self.field_error(name, f"is not a number from {low:g} to {high:g}")
            return None
        return float(value)

    def one_of(self, name: str, words: type[E], *, required: bool = False) -> E | None:
        value = self.raw(name, required=required)
        if value is None:
            return None
        if not isinstance(value, str) or value not in {str(word.value) for word in words}:
            self.field_error(name, f"is not one of {', '.join(str(word.value) for word in words)}")
            return None
        return words(value)

    def checked(self, name: str, value: str | None, error_of: Callable[[str], str | None]) -> str | None:
        """Return the text. Record the message that `error_of` returns for it, if any."""
        if value is not None and (message := error_of(value)) is not None:
            self.field_error(name, message)
        return value


def named(fields: FieldReader, name: str, key: str, refused: Collection[str] = (), why: str = "") -> tuple[str, ...]:
    """Read distinct texts, each alone or as `{key: …, description: …}`. `refused`: fields that are invalid there."""
    found: list[str] = []
    for index, item in enumerate(fields.items(name)):
        place = f"{name}[{index}]"
        text = item
        if isinstance(item, dict):
            with fields.within(place, item) as inner:
                text = inner.text(key, required=True)
                inner.text("description")
                inner.refuse(refused, why)
        elif not isinstance(item, str) or not item.strip() or len(item) > MAX_TEXT:
            fields.field_error(place, f"is neither a text of 1 to {MAX_TEXT} characters nor {{{key}: …}}")
        if isinstance(text, str):
            if text in found:
                fields.field_error(place, "is a duplicate: remove it")
            found.append(text)
    return tuple(found)
