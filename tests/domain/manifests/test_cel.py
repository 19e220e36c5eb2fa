"""CEL as our docs promise it: the cases follow the language's specification, one line each."""

from typing import Any

import pytest

from domain.manifests.cel import MAX_LENGTH, WHEN_NAMES, EvaluationFailed, certain_error, compile_error, judge, reads

ERROR = "error"
INPUT: dict[str, Any] = {
    "amount": 99.5,
    "n": 100,
    "name": "Ada",
    "tags": ["a", "b"],
    "empty": [],
    "none": None,
    "m": {"k": 1, "a-b": 2},
    "items": [{"p": 1}, {"p": 2}],
    "big": 9007199254740991,
    "flag": True,
    "when": "2026-03-30T21:00:00Z",
    "odd": "\U0001f600",
    "mixed": ["a", 1, 3],
}
CASES: list[tuple[str, bool | str]] = [
    ("1 + 2 * 3 == 7", True),
    ("7 / 2 == 3", True),
    ("-7 / 2 == -3", True),
    ("7 % 3 == 1", True),
    ("-7 % 3 == -1", True),
    ("7.0 / 2.0 == 3.5", True),
    ("-(-3) == 3", True),
    ("1 / 0 == 1", ERROR),
    ("1 % 0 == 1", ERROR),
    ("9223372036854775807 + 1 > 0", ERROR),
    ("9223372036854775807 * 2 > 0", ERROR),
    ("-9223372036854775808 - 1 < 0", ERROR),
    ("1.0/0.0 > 1.0", True),
    ("1 + 1.0 == 2.0", ERROR),
    ("1 == 1.0", True),
    ("1 < 1.5", True),
    ("2.5 > 2", True),
    ("1u == 1", True),
    ("input.amount < 100", True),
    ("input.amount >= 100", False),
    ("input.n > 99.5", True),
    ("input.n == 100.0", True),
    ("input.amount > 99", True),
    ("input.big == 9007199254740991", True),
    ("'a' < 'b'", True),
    ("'a' == \"a\"", True),
    ("'a' != 'b'", True),
    ("'a' + 'b' == 'ab'", True),
    ("1 == '1'", False),
    ("1 < '1'", ERROR),
    ("input.name.startsWith('A')", True),
    ("input.name.endsWith('a')", True),
    ("input.name.contains('d')", True),
    ("input.name.matches('^A.a$')", True),
    ("input.name.matches('d')", True),
    ("'abc'.matches('^b')", False),
    ("size(input.name) == 3", True),
    ("input.name.size() == 3", True),
    ("'\\u00e9' == 'é'", True),
    ("r'a\\d' == 'a\\\\d'", True),
    ("'a'.matches('(')", ERROR),
    ("has(input.name)", True),
    ("has(input.nothing)", False),
    ("has(input.none)", True),
    ("has(input.m.k)", True),
    ("!has(input.m.z)", True),
    ("input.nothing == 1", ERROR),
    ("nothing == 1", ERROR),
    ("has(input.nothing.deep)", ERROR),
    ("'a' in input.tags", True),
    ("'z' in input.tags", False),
    ("'k' in input.m", True),
    ("'z' in input.m", False),
    ("1 in [1, 2]", True),
    ("1 in []", False),
    ("2 in [1.0, 2.0]", True),
    ("[1, 2] + [3] == [1, 2, 3]", True),
    ("[1, 2][1] == 2", True),
    ("[1][5] == 1", ERROR),
    ("{'a': 1}['a'] == 1", True),
    ("{'a': 1}.a == 1", True),
    ("{'a': 1}['b'] == 1", ERROR),
    ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", True),
    ("[1, 2] == [2, 1]", False),
    ("input.tags[0] == 'a'", True),
    ("input.m['a-b'] == 2", True),
    ("size(input.m) == 2", True),
    ("size(input.empty) == 0", True),
    ("size([1,2]) == 2", True),
    ("input.tags == ['a', 'b']", True),
    ("{'a': 1} == input.m", False),
    ("input.m == {'k': 1, 'a-b': 2}", True),
    ("{1: 'a'}[1] == 'a'", True),
    ("{true: 1}[true] == 1", True),
    ("input.tags.all(t, size(t) == 1)", True),
    ("input.tags.exists(t, t == 'b')", True),
    ("input.tags.exists_one(t, t == 'b')", True),
    ("input.tags.filter(t, t != 'a') == ['b']", True),
    ("input.tags.map(t, t + '!') == ['a!', 'b!']", True),
    ("[1,2,3].map(x, x > 1, x * 2) == [4, 6]", True),
    ("[].all(x, false)", True),
    ("[].exists(x, true)", False),
    ("input.items.all(i, i.p > 0)", True),
    ("input.items.exists(i, i.p > 1)", True),
    ("input.m.all(k, size(k) > 0)", True),
    ("input.m.exists(k, k == 'k')", True),
    ("[1, 2].exists(x, [3, 4].exists(y, x + y == 6))", True),
    ("input.items.map(i, i.p) == [1, 2]", True),
    ("input.items.filter(i, i.p > 1).size() == 1", True),
    ("[1, 'a'].exists(x, x == 'a')", True),
    ("input.items.all(i, has(i.p))", True),
    ("true ? true : false", True),
    ("false ? 1/0 == 1 : true", True),
    ("input.n > 50 ? input.name == 'Ada' : false", True),
    ("true || 1/0 == 1", True),
    ("1/0 == 1 || true", True),
    ("false && 1/0 == 1", False),
    ("1/0 == 1 && false", False),
    ("1/0 == 1 || false", ERROR),
    ("1 / 0 == 1 && true", ERROR),
    ("!false", True),
    ("true && input.flag", True),
    ("false || 1 == 1", True),
    ("int('42') == 42", True),
    ("int(3.9) == 3", True),
    ("int(-3.9) == -3", True),
    ("double('1.5') == 1.5", True),
    ("double(1) == 1.0", True),
    ("string(1) == '1'", True),
    ("string(1.5) == '1.5'", True),
    ("uint(1) == 1u", True),
    ("int('x') == 1", ERROR),
    ("type(1) == int", True),
    ("type('a') == string", True),
    ("type(null) == null_type", True),
    ("type(1.0) == double", True),
    ("type([]) == list", True),
    ("type({}) == map", True),
    ("dyn(1) == 1", True),
    ("type(true) == bool", True),
    ("int(1e100) == 1", ERROR),
    ("string(input.n) == '100'", True),
    ("null == null", True),
    ("input.none == null", True),
    ("input.name == null", False),
    ("1 == null", False),
    ("null != 1", True),
    ("input.none > 1", ERROR),
    ("[1, null] == [1, null]", True),
    ("timestamp('2026-03-30T21:00:00Z') < timestamp('2026-03-31T00:00:00Z')", True),
    ("timestamp(input.when) + duration('1h') == timestamp('2026-03-30T22:00:00Z')", True),
    ("timestamp('2026-03-31T00:00:00Z') - timestamp('2026-03-30T00:00:00Z') == duration('24h')", True),
    ("timestamp(input.when).getFullYear() == 2026", True),
    ("timestamp(input.when).getHours() == 21", True),
    ("timestamp(input.when).getDayOfWeek() == 1", True),
    ("timestamp(input.when).getMonth() == 2", True),
    ("duration('90s') > duration('1m')", True),
    ("duration('90s').getSeconds() == 90", True),
    ("duration('90s').getMinutes() == 1", True),
    ("timestamp('nonsense') == timestamp('nonsense')", ERROR),
    ("input.name", ERROR),
    ("1", ERROR),
    ("", ERROR),
    ("1 +", ERROR),
    ("input.nope()", ERROR),
    ("b'abc' == b'abc'", True),
    ("'a' in 'abc'", ERROR),
    ("size(1) == 1", ERROR),
    ("0x10 == 16", True),
    ("1e3 == 1000.0", True),
    ("input.flag == true", True),
    ("input.flag == 1", False),
    ("'''a\nb''' == 'a\\nb'", True),
    ("input.tags.size() == 2 // yes", True),
    ("\n  input.n == 100\n  && true\n", True),
    ("[1,2,3].sum() == 6", ERROR),
    ("'b' > 'a' && 'B' < 'a'", True),
    ("input['name'] == 'Ada'", True),
    ("false && 1 == 'a'", False),
    ("{'a': {'b': [1]}}.a.b[0] == 1", True),
    ("[1, 2.0] == [1.0, 2]", True),
    ("-input.n == -100", True),
    ("!input.name", ERROR),
    ("input.n + 0.5 > 1.0", ERROR),
    ("double(input.n) + 0.5 > 1.0", True),
    ("size('Zoë') == 3", True),
    ("'Zoë👩‍🚀'.size() == 6", True),
    ("size(input.odd) == 1", True),
    ("size(b'Zo\\xc3\\xab') == 4", True),
    ("[0, 2].exists(x, 4 / x == 2)", True),
    ("[2, 0].exists(x, 4 / x == 2)", True),
    ("[0, 2].exists(x, 4 / x == 3)", ERROR),
    ("[0, 2].all(x, 4 / x == 3)", False),
    ("[2, 0].all(x, 4 / x == 3)", False),
    ("[0, 2].all(x, 4 / x == 2)", ERROR),
    ("input.mixed.exists(x, x > 2)", True),
    ("input.mixed.all(x, x > 2)", False),
    ("{0: 1, 2: 1}.exists(k, 4 / k == 2)", True),
    ("[0, 2].exists_one(x, 4 / x == 2)", ERROR),
    ("[0].exists(x, 1 / x == 1) || true", True),
    ("string(true) == 'true'", True),
    ("bool('true')", True),
    ("timestamp(input.when).getHours('Europe/Berlin') == 23", True),
]
# Where the evaluator differs from the specification. Neither can be deployed.
DIFFERENT: list[tuple[str, bool | str]] = [
    ("true || 1", True),
    ("int(true) == 1", True),
]


def _answer(expression: str, variables: dict[str, Any]) -> bool | str:
    try:
        return judge(expression, variables)
    except EvaluationFailed as failed:
        return ERROR if failed.reason else "an error without a reason"


@pytest.mark.parametrize(("expression", "expected"), CASES + DIFFERENT)
def test_what_an_expression_means(expression: str, expected: bool | str) -> None:
    assert _answer(expression, {"input": INPUT}) == expected


@pytest.mark.parametrize("expression", [expression for expression, expected in CASES if expected != ERROR])
def test_what_has_a_meaning_can_be_deployed(expression: str) -> None:
    assert compile_error(expression) is None
    assert certain_error(expression) is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "is not CEL"),
        ("1 +", "is not CEL"),
        ("input.x(", "is not CEL"),
        ("input.nope()", "there is no function nope()"),
        ("[1].sum() == 1", "there is no function sum()"),
        ("true || 1", "can only fail: || does not take (bool, int)"),
        ("int(true) == 1", "can only fail: int does not take (bool)"),
        ("size(1) == 1", "can only fail: size does not take (int) (line 1, column 5)"),
        ("size() == 1", "can only fail: size cannot be called like that"),
        ("input.name.contains('a', 'b')", "can only fail: contains cannot be called like that"),
        ("phase.startsWith(1)", "can only fail: startsWith does not take (string, int)"),
        ("phase > 5", "can only fail: > does not take (string, int)"),
        ("input + 1 == 2", "can only fail: + does not take (map(string, dyn), int)"),
        ("[1, 2].all(i, i + 1)", "can only fail"),
        ("-'a' == 1", "can only fail"),
        ("1.0 % 2.0 == 1.0", "can only fail"),
        ("size(input)", "can only fail: it gives a int, not true or false"),
        ("'yes'", "can only fail: it gives a string, not true or false"),
        ("input.ok ? 1 : 2", "can only fail"),
        ("input.name.matches('(')", "can only fail in matches('(')"),
        ("timestamp(input.at) > timestamp('tomorrow')", "can only fail in timestamp('tomorrow')"),
        ("duration('1 h') < duration(input.d)", "can only fail in duration('1 h')"),
        ("int('x') == input.n", "can only fail in int('x')"),
        ("timestamp(input.at).getHours('Mars/Base') > 1", "can only fail in getHours('Mars/Base')"),
        ("1 / 0 == 1", "can only fail: divide by zero"),
        ("[1][5] == 1", "can only fail"),
        ("tool == 'a' || tool.name == 'b'", "uses tool both as a text and as tool.name"),
        ("inputs.x == 1", "uses 'inputs', which is not one of arguments, input"),
        ("input.all(y, y.z) && z", "uses 'z'"),
        ("true ? input : b", "uses 'b'"),
        ("steps.a == 1", "uses 'steps'"),
        ("'a'\n" * MAX_LENGTH, "is longer than"),
        ("(" * 1_900 + "1" + ")" * 1_900, "is not CEL"),
    ],
)
def test_what_cannot_be_deployed(expression: str, message: str) -> None:
    field_error = compile_error(expression) or certain_error(expression)
    assert field_error is not None
    assert message in field_error


def test_when_sees_other_names() -> None:
    assert compile_error("steps.pay.output.data.ok", WHEN_NAMES) is None
    assert "uses 'arguments'" in (compile_error("arguments.x", WHEN_NAMES) or "")


@pytest.mark.parametrize("answer", ["1", "'true'", "null", "[true]", "{'a': true}"])
def test_only_true_and_false_are_answers(answer: str) -> None:
    with pytest.raises(EvaluationFailed, match="not true or false"):
        judge(answer, {})


@pytest.mark.parametrize(
    "expression",
    [
        "a" + ".b" * 1_900,
        "1" + "+1" * 1_900 + " == 1901",
        "!" * 3_900 + "true",
        "-" * 3_000 + "1 == 1",
        "true && " * 400 + "true",
        "a.b" + ".c" * 60_000,
    ],
)
def test_a_deep_expression_ends_in_a_result_or_an_error(expression: str) -> None:
    """Its evaluator recurses: without a limit of length the process would die."""
    compile_error(expression, {"a"})
    assert _answer(expression, {"a": {}}) in (True, False, ERROR)


@pytest.mark.parametrize(
    "expression",
    [
        "input.all(x, input.all(y, x != -1))",
        "input.map(x, input).size() > 0",
        "input.filter(x, x in input).size() > 0",
        "input.exists(x, input == [x])",
        "[[1]]" + ".map(a, a + a)" * 25 + ".size() == 1",
        "[[1]]" + ".map(a, [a, a])" * 25 + " == [1]",
        "[1]. // a comment\n map(a, input . map (b, input))[0] == 1",
        "[1].map(a, input.map(b, r'\\' == '' && input.all(c, c == '\\'))) == [1]",
    ],
)
def test_an_expression_with_too_much_to_do_is_refused_before_it_begins(expression: str) -> None:
    assert compile_error(expression) is None or "r'" in expression
    with pytest.raises(EvaluationFailed):
        judge(expression, {"input": list(range(50_000))})


def test_the_evaluator_limits_its_iterations_too() -> None:
    """The estimate admits these 150 × 150 iterations. The error is the same as the estimate's."""
    with pytest.raises(EvaluationFailed, match="too much work with this many values: nest fewer macros"):
        judge("input.all(x, input.all(y, x != -1))", {"input": list(range(150))})


def test_one_macro_over_a_usual_list_is_well_within_the_bound() -> None:
    items = [{"price": n, "currency": "EUR"} for n in range(1_000)]
    expression = "input.items.all(i, i.price < arguments.limit && i.currency in ['EUR', 'USD'])"
    assert judge(expression, {"input": {"items": items}, "arguments": {"limit": 1_000}, "output": [0] * 100_000})


def test_a_regular_expression_takes_linear_time() -> None:
    assert not judge("input.matches('^(a+)+$')", {"input": "a" * 50_000 + "!"})


def test_the_tool_as_others_name_it() -> None:
    for tool, answer in (("pay", True), ("refund", False), (None, False)):
        assert judge("tool == 'pay'", {"tool": tool}) is answer
        assert judge("tool.name == 'pay'", {"tool": tool}) is answer
        assert judge("tool['name'] == 'pay'", {"tool": tool}) is answer


def test_one_that_nests_too_deeply_can_be_read_and_fails() -> None:
    """It may have been deployed before there was a limit: its definition is needed for what else runs."""
    deep = "(" * 40 + "true" + ")" * 40
    assert compile_error(deep) is None
    assert "recursion limit" in (certain_error(deep) or "")
    assert _answer(deep, {}) == ERROR


def test_where_an_expression_reads() -> None:
    text = (
        "has(steps.a.facts.g) && steps['b'].output.data[0].x.size() > input.n && [1].all(x, x.steps == steps[input.k])"
    )
    assert list(reads(text, ("steps",))) == [
        ("steps", "a", "facts", "g"),
        ("steps", "b", "output", "data", 0, "x"),
        ("steps",),
    ]
