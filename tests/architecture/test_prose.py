"""The prose linter finds what breaks the house style, and only that."""

from collections.abc import Iterator

from lint.prose import Passage, findings, markdown, python, template


def rules(passages: Iterator[Passage]) -> list[tuple[int, str]]:
    return [(line, words.split(":")[0]) for line, words in findings(passages)]


def test_a_page() -> None:
    """Code in backticks and fenced blocks is no prose."""
    page = """# What counts

A pause waits for a decision. Each sentence is
short. The `watchId` and the `hint` are names.

```sh
nobody stands here: one: two
```

| What it holds | a signal to the voters |
| --- | --- |
- Whoever votes
- one: two: three
"""
    assert rules(markdown(page)) == [(1, "start"), (10, "start"), (10, "wake-up"), (12, "start"), (13, "colons")]


def test_a_long_sentence_is_found_where_it_begins() -> None:
    assert rules(markdown("Short.\nShort.\n" + "A word " * 13 + ".")) == [(3, "length")]
    assert rules(markdown("A word " * 12 + "here.")) == []


def test_a_module() -> None:
    """Comments, docstrings and messages are prose; SQL and identifiers are not."""
    module = '''"""Of every pause: one."""

# Nobody may
# vote twice.
def claim(tx, hint):
    """Claim a due row.

    SIGTERM is a signal to the process.
    """
    tx.execute("SELECT hint FROM the_store")
    raise ValueError(f"the electorate of {hint} is empty")
'''
    assert rules(python(module, with_strings=True)) == [
        (3, "words"),
        (1, "start"),
        (1, "docstring"),
        (11, "voters"),
    ]
    assert (11, "voters") not in rules(python(module, with_strings=False))


def test_a_template() -> None:
    page = """<p title="Nobody knows this">Vote <b>now</b>:
{{ hint }}</p>
{% if hint %}<code>the hint</code>{% endif %}
<button>Settle the parcel</button><script>let hint = "a hint"</script>"""
    assert rules(template(page)) == [(1, "words"), (4, "delivery")]
