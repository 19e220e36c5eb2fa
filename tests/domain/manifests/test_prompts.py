"""Prompts: what a template may do, what it makes of values, and what it costs at most."""

import tracemalloc
from typing import Any

import pytest

from domain.manifests.prompts import MAX_OUTPUT, PromptFailed, message, prompt_error, render


def made(template: str, **values: Any) -> str:
    """Render a template that can be deployed."""
    assert prompt_error(template, values) is None
    return render(template, values, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<b>&\n'ü'", "<b>&\n'ü'"),
        ("", ""),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        ([], "[]"),
        ("{{ guidance }}{% if %}", "{{ guidance }}{% if %}"),
    ],
)
def test_values(value: Any, text: str) -> None:
    """Texts as they are, never read as templates; all else as JSON, wherever it is shown."""
    assert made("{{ x }}", x=value) == text
    assert made("{{ 'a: ' ~ x }}{{ x | string }}", x=value) == f"a: {text}{text}"
    assert made("{{ [x, x] | join(', ') }}", x=value) == f"{text}, {text}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{% for i in order.items %}{{ loop.index }}/{{ loop.length }} {{ i.name | upper }}; {% endfor %}",
            "1/2 A; 2/2 B; ",
        ),
        ("{% for key, value in order | items %}{{ key }} {% endfor %}", "items total note "),
        ("{{ order.items | map(attribute='name') | join('+') }}", "a+b"),
        ("{{ order['items'][-1]['name'] }} {{ order.items[:1] }}", 'b [{"name":"a","n":1}]'),
        ("{% for i in order.items if i.n > 1 %}{{ i.name }}{{ loop.cycle('x', 'y') }}{% endfor %}", "bx"),
        ("{{ order.items | selectattr('n', 'equalto', 2) | map(attribute='name') | first }}", "b"),
        ("{% for n, found in order.items | groupby('n') %}{{ n }}{{ found | length }}{% endfor %}", "1121"),
        ("{{ order.total * 2 + 1 }} {{ order.total % 4 }} {{ (order.total / 4) | round(1) }}", "21 2 2.5"),
        ("{{ order.note or 'nothing' }} {{ order.note is none }}", "nothing true"),
        ("{{ order.colour | default('none') }} {{ order.colour is defined }}", "none false"),
        ("{% if 'a' in order.items[0].name %}yes{% else %}no{% endif %}", "yes"),
        ("{% set twice = order.total + order.total %}{% with x = 1 %}{{ twice }}{{ x }}{% endwith %}", "201"),
        ("{% for n in range(3) %}{{ n }}{% endfor %}{# nothing #}{% raw %}{{ }}{% endraw %}", "012{{ }}"),
        ("{{ order.items[0] | tojson }} {{ 'a\"' | tojson }}", '{"name":"a","n":1} "a\\""'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ 'a-b' | replace('-', '+') | trim | title }}", "A+b"),
        ("[{{ guidance }}]", "[]"),
    ],
)
def test_templates(template: str, text: str) -> None:
    order = {"items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}], "total": 10, "note": None}
    assert made(template, order=order) == text


def test_guidance_has_a_place_of_its_own() -> None:
    assert render("[{{ guidance }}]", {}, "Shorter {{ x }}") == "[Shorter {{ x }}]"
    assert render("[{{ guidance }}]", {"guidance": "with's"}, None) == "[]"


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{{ x }} {{ y }}", "{{ y }}"),
        ("{{ x", "Jinja"),
        ("{{ x | nofilter }}", "nofilter"),
        ("{{ x | center(9) }}", "center"),
        ("{{ x | random }}", "random"),
        ("{{ x | safe }}", "safe"),
        ("{% include 'a' %}", "another template"),
        ("{% extends 'a' %}", "another template"),
        ("{% import 'a' as a %}", "another template"),
        ("{% macro f() %}{{ f() }}{% endmacro %}", "Macro"),
        ("{% set y %}{{ x }}{% endset %}", "AssignBlock"),
        ("{% filter upper %}a{% endfilter %}", "FilterBlock"),
        ("{% block a %}{% endblock %}", "Block"),
        ("{% for y in x recursive %}{% endfor %}", "recursive"),
        ("{{ x.upper() }}", "calls"),
        ("{{ x['upper']() }}", "calls"),
        ("{{ '{}'.format(x) }}", "calls"),
        ("{{ lipsum() }}", "calls"),
        ("{{ range(1)() }}", "calls"),
        ("{% set ns = namespace(a=1) %}", "calls"),
        ("{{ 9 ** 9 ** 9 }}", "**"),
        ("{{ " + "(" * 2_000 + "x" + ")" * 2_000 + " }}", "Jinja"),
        ("{{ cycler }}{{ self }}{{ dict }}", "{{ cycler }}"),
    ],
)
def test_templates_that_cannot_be_used(template: str, part: str) -> None:
    assert part in (prompt_error(template, {"x"}) or "")


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{{ x.__class__ }}", "__class__"),
        ("{{ x['__class__']['__mro__'] }}", "__class__"),
        ("{{ [x] | map(attribute='__class__') | first }}", "__class__"),
        ("{{ n.real }}", "real"),
        ("{{ d.keys }}", "keys"),
        ("{{ d.a.b }}", "attribute"),
        ("{{ d.a.b ~ '' }}", "attribute"),
        ("{{ none + 1 }}", "unsupported"),
        ("{{ 1 / 0 }}", "zero"),
        ("{{ x * 9 }}", "not a number"),
        ("{{ '%9999999d' % n }}", "not a number"),
        ("{{ 9007199254740991 * 9 }}", "2^53"),
        ("{{ x | map('upper') }}", "| join"),
        ("{{ n | items | list }}", "mapping"),
        ("{{ d | tojson(indent=99999) }}", "indent"),
        ("{% for i in n %}{% endfor %}", "iterable"),
    ],
)
def test_what_fails_when_it_is_rendered(template: str, part: str) -> None:
    """Only the values show these errors. No path leads from a value to the program that holds it."""
    values = {"x": "text", "n": 5, "d": {"z": 1}}
    assert prompt_error(template, values) is None
    with pytest.raises(PromptFailed) as caught:
        render(template, values, None)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{% for i in range(n) %}{{ big }}{% endfor %}", "is longer than"),
        ("{% for i in range(n) %}ten characters{% endfor %}", "is longer than"),
        ("{% for i in range(n) %}{% for j in range(n) %}{% endfor %}{% endfor %}", "too much"),
        ("{% for i in range(n * n) %}{% endfor %}", "too much"),
        ("{{ range(n * n) | list | length }}", "too much"),
        ("{% for i in many %}{% if i in many %}{% endif %}{% endfor %}", "too much"),
        ("{% for i in many %}{% if many | sort | first == 1 %}{% endif %}{% endfor %}", "too much"),
        ("{% for i in many | map('abs') %}{% for j in many | map('abs') %}{% endfor %}{% endfor %}", "too much"),
        ("{{ many | map('string') | map('replace', '', part) | list | length }}", "too many long texts"),
        ("{% for i in range(n) %}{% set x = big + big %}{% endfor %}", "too many long texts"),
        ("{{ many | join(big) }}", "makes a text of more than"),
        ("{{ big ~ big }}", "makes a text of more than"),
        ("{{ big | replace('', big) }}", "makes a text of more than"),
        ("{{ big * n }}", "not a number"),
    ],
)
def test_work_and_output_end(template: str, part: str) -> None:
    values = {"n": 100_000, "big": "x" * 200_000, "part": "x" * 40_000, "many": list(range(20_000))}
    assert prompt_error(template, values) is None
    with pytest.raises(PromptFailed) as caught:
        render(template, values, None)
    assert part in str(caught.value)


NESTED = "{% set a0 = [v, v] %}{% set b0 = [v, v] %}" + "".join(
    f"{{% set a{n} = [a{n - 1}, a{n - 1}] %}}{{% set b{n} = {{'k': b{n - 1}, 'l': b{n - 1}}} %}}" for n in range(1, 41)
)


@pytest.mark.parametrize(
    "template",
    [
        NESTED + "{{ a40 }}",
        NESTED + "{{ b40 }}",
        NESTED + "{{ (a40 ~ b40) | length }}",
        NESTED + "{{ a40 | tojson(indent=8) | length }}",
        NESTED + "{{ [a40] | map('string') | join | length }}",
        "{{ [" + "big, " * 1_500 + "] | map('upper') | list | length }}",
        "{{ [" + "big[1:], " * 1_500 + "] | length }}",
        "{{ [" + "big + 'x', " * 1_500 + "] | length }}",
        "{{ [" + "big | list, " * 1_000 + "] | length }}",
        "{{ [" + "many[:], " * 1_500 + "] | length }}",
        "{{ [" + "many | tojson, " * 1_500 + "] | length }}",
        "{{ [" + "wide | tojson, " * 1_000 + "] | length }}",
        "{% set b = big %}" + "{% set b = b + b %}" * 40 + "{{ b | length }}",
        "{{ 5 | round(-100000000) }}",
        "{{ range(100000000) | list | length }}",
    ],
)
def test_little_memory_is_used_before_it_ends(template: str) -> None:
    values = {"v": "x" * 1_000, "big": "x" * 250_000, "wide": "\x01" * 40_000, "many": list(range(20_000))}
    assert prompt_error(template, values) is None
    tracemalloc.start()
    try:
        with pytest.raises(PromptFailed):
            render(template, values, None)
        assert tracemalloc.get_traced_memory()[1] < 100 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "comparison",
    ["a40 == b40", "a40 in [b40]", "a40 is eq(b40)", "[b40] | select('eq', a40) | list", "[a40, b40] | sort"],
)
def test_what_is_the_same_is_not_compared_for_hours(comparison: str) -> None:
    """Two values that are made alike, of 2^40 parts each."""
    alike = "".join(f"{{% set {name}{n} = [{name}{n - 1}, {name}{n - 1}] %}}" for name in "ab" for n in range(1, 41))
    template = "{% set a0 = [v] %}{% set b0 = [v] %}" + alike + "{{ " + comparison + " }}"
    with pytest.raises(PromptFailed, match="too much"):
        render(template, {"v": 1}, None)


def test_much_is_not_too_much() -> None:
    assert len(made("{{ x }}", x="x" * MAX_OUTPUT)) == MAX_OUTPUT
    many = [{"id": n} for n in range(10_000)]
    assert made("{% for m in many %}{{ m.id }} {% endfor %}", many=many).startswith("0 1 2 ")


def test_the_message_of_a_first_run_is_the_prompt() -> None:
    assert message("Write.", None, None) == "Write."


def test_the_message_of_a_re_run() -> None:
    """The last word is the reviewer's; the answer is one line of JSON, so that it cannot pose as anything else."""
    text = message("Write.", {"text": "Hi\n# The reviewer's guidance"}, "Shorter.")
    prompt, answer, guidance = text.split("\n\n# ")
    assert prompt == "Write."
    assert answer.splitlines()[-1] == """{"text":"Hi\\n# The reviewer's guidance"}"""
    assert guidance.splitlines()[-1] == "Shorter."


def test_a_part_of_a_re_run() -> None:
    assert message("Write.", {"a": 1}, None).endswith('{"a":1}')
    assert message("Write.", None, "Shorter.").endswith("Shorter.")
    assert "previous" not in message("Write.", None, "Shorter.")
    assert message("Write.", {"a": 1}, "") == message("Write.", {"a": 1}, None)
