"""Fields of the requests of clients."""

from domain.values.field_reader import FieldReader


def required_text(fields: FieldReader, name: str, most: int) -> str:
    """Return the text of a field that must have one; empty after an error."""
    text = fields.text(name, required=True, most=most)
    if text is None and fields.has(name) and fields.raw(name) is None:
        fields.field_error(name, "is null: it must be a text")
    return text or ""


def short(text: str, most: int) -> str:
    """Return the text as one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 2]} …"
