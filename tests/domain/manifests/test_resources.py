"""Resources that a reason step may read: its patterns cover them, and no way leads out of the patterns."""

import posixpath
import unicodedata
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.manifests.resources import NotBound, allows, bind, pattern_error


@pytest.mark.parametrize(
    "pattern",
    [
        "docs://all",
        "docs://{page}",
        "docs://{page}/*",
        "docs://**",
        "docs://*",
        "file:///srv/{page}/a%20b.md",
        "urn:isbn:{page}",
        "https://docs.example.com/a/**",
        "https://docs.example.com/a?page={page}",
    ],
)
def test_patterns(pattern: str) -> None:
    assert pattern_error(pattern, {"page"}) is None


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("docs://{nobody}", "{nobody}"),
        ("docs://{}", "{}"),
        ("docs://{page", "character"),
        ("{page}", "scheme"),
        ("{page}://x", "scheme"),
        ("/srv/x", "scheme"),
        ("docs", "scheme"),
        ("", "scheme"),
        ("docs://../x", ".."),
        ("docs://x/..", ".."),
        ("docs://x/{page}/../y", ".."),
        ("docs://x/%2e%2e/y", ".."),
        ("docs://x/%252e%252e/y", ".."),
        ("docs://x%2fy", "encoded"),
        ("docs://x//y", "has an empty"),
        ("docs://x\\y", "character"),
        ("docs://x#y", "character"),
        ("docs://x y", "character"),
        ("docs://ü", "character"),
        ("docs://50%", "character"),
        ("https://me@docs.example.com/x", "@"),
        ("docs://*/x", "before its end"),
        ("docs://a*", "inside a segment"),
        ("docs://a/{page}*", "inside a segment"),
        ("docs://a/***", "before its end"),
        ("docs://a?b=/*", "question mark"),
        ("docs:*", "inside a segment"),
        ("docs://" + "x" * 3_000, "longer than"),
    ],
)
def test_patterns_that_cannot_be_used(pattern: str, part: str) -> None:
    assert part in (pattern_error(pattern, {"page"}) or "")


def test_bound() -> None:
    values = {"a": "x y", "b": 7, "c": "ü*{b}", "d": "100%", "e": 1.5, "f": "a@b:c?d#e"}
    patterns = ("docs://{a}/{b}/**", "docs://{c}/{a}", "docs://{d}", "docs://{e}", "docs://{f}")
    bound = bind(patterns, values)
    assert bound == (
        "docs://x%20y/7/**",
        "docs://%C3%BC%2A%7Bb%7D/x%20y",
        "docs://100%25",
        "docs://1.5",
        "docs://a%40b%3Ac%3Fd%23e",
    )
    assert all(allows(bound, uri) for uri in (*bound[1:], "docs://x%20y/7/8/9"))


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            [],
            {},
            "",
            " ",
            "..",
            ".",
            "a/b",
            "a\\b",
            "../x",
            "a..b",
            "%2e%2e",
            "%2E.",
            "%252e",
            "a%2fb",
            "%5c",
        ),
        *("a\nb", "\x00", "\x7f", "\u202e", "\ud800", "．．", "‥", float("nan"), float("inf"), "x" * 3_000, "%c0%ae"),
    ],
)
def test_values_that_cannot_stand_in_a_uri(value: Any) -> None:
    with pytest.raises(NotBound):
        bind(("docs://x/{page}",), {"page": value})


def test_a_value_that_is_not_there() -> None:
    with pytest.raises(NotBound, match="page"):
        bind(("docs://{page}",), {})


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("docs://guide", "docs://guide"),
        ("docs://guide", "DOCS://Guide"),
        ("docs://x/guide", "docs://x/%67uide"),
        ("docs://x/%c3%bc", "docs://x/%C3%BC"),
        ("docs://*", "docs://guide"),
        ("docs://**", "docs://a/b/c"),
        ("docs://a/*", "docs://a/b"),
        ("docs://a/**", "docs://a/b/c.d..e"),
        ("docs://a/**", "docs://a/b/"),
        ("docs://a?page=1", "docs://a?page=1"),
        ("file:///srv/**", "file:///srv/a"),
    ],
)
def test_allowed(pattern: str, uri: str) -> None:
    assert allows((pattern,), uri)
    assert allows(("other:x", pattern), uri)
    assert not allows(("other:x",), uri)


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("docs://x/guide", "docs://x/Guide"),
        ("docs://guide", "docs://guide/"),
        ("docs://guide", "docs://guide2"),
        ("docs://guide", "docs://guide#x"),
        ("docs://guide", "docs://guide?x"),
        ("docs://*", "docs://a/b"),
        ("docs://*", "docs://"),
        ("docs://a/*", "docs://a/"),
        ("docs://a/*", "docs://a"),
        ("docs://a/*", "docs://a/b?c=d"),
        ("docs://a/**", "docs://a/b?c=../d"),
        ("docs://a/**", "docs://ab/c"),
        ("docs://a/**", "docs:/a/b"),
        *(
            ("docs://a/**", f"docs://a/{way}")
            for way in (
                *(
                    "../b",
                    "b/..",
                    "./b",
                    "%2e%2e/b",
                    "%2E./b",
                    ".%2e/b",
                    "%252e%252e/b",
                    "%25252e./b",
                    "..%2fb",
                    "b%2f..",
                    "%5c",
                ),
                *(
                    "..\\b",
                    "b\\c",
                    "..;/b",
                    "..;x=1/b",
                    "..%3b/b",
                    "..%20/b",
                    "%00",
                    "b%0a",
                    "b%7f",
                    "//b",
                    "/b",
                    "b//c",
                ),
                *(
                    "%c0%ae%c0%ae/b",
                    "．．/b",
                    "%ef%bc%8e%ef%bc%8e/b",
                    "%e2%80%a5/b",
                    "b c",
                    "b\n",
                    "\tb",
                    "%",
                    "%zz",
                    "b|c",
                ),
                *("x" * 3_000, "b:../c", "é", "<b>"),
            )
        ),
        ("https://docs.example.com/**", "https://docs.example.com@evil.example/x"),
        ("https://docs.example.com/**", "https://docs.example.com:x@evil.example/x"),
        ("https://docs.example.com/**", "https://me@docs.example.com/x"),
        ("https://docs.example.com/**", "https://docs.example.com.evil.example/x"),
        ("https://docs.example.com/**", "https://docs.example.com:8443/x"),
        ("https://docs.example.com/**", "https://docs.example.com%2f@evil.example/x"),
        ("https://docs.example.com/**", "https://docs.example.com\\@evil.example/x"),
        ("https://docs.example.com/**", "http://docs.example.com/x"),
        ("https://docs.example.com/**", "//docs.example.com/x"),
        ("https://docs.example.com/**", " https://docs.example.com/x"),
        ("docs://a", ""),
    ],
)
def test_not_allowed(pattern: str, uri: str) -> None:
    assert not allows((pattern,), uri)


_pieces = st.sampled_from(
    [
        *"ab/.:;@?#%\\*{}",
        "..",
        "%2e",
        "%2f",
        "%25",
        "%5C",
        "secret",
        "mine",
        "docs://",
        "//",
        "％",
        "．",
        "\x00",
        "\ud800",
    ]
)
_hostile = st.lists(_pieces, max_size=8).map("".join) | st.text(max_size=8)


def _read_by_the_laxest(uri: str) -> str:
    """The path as a server sees it that decodes until nothing is left to decode, and follows every way up."""
    text = uri
    while (decoded := unquote(text)) != text:
        text = decoded
    path = unicodedata.normalize("NFKC", text).replace("\\", "/").lower().removeprefix("docs:")
    return posixpath.normpath(f"/{path.lstrip('/')}")


# 250 examples take about 1 s, and still join each hostile piece to each pattern many times.
@settings(max_examples=250, deadline=None, database=None)
@given(_hostile, _hostile, st.sampled_from(["docs://root/{v}/*", "docs://root/{v}/**", "docs://root/{v}"]))
def test_no_way_out_of_a_prefix(value: str, asked: str, pattern: str) -> None:
    """Whatever an agent puts in and a model asks for: it lies in the folder that is written out."""
    try:
        bound = bind((pattern,), {"v": value})
    except NotBound:
        return
    inside = f"docs://root/{quote(value, safe='')}"
    assert allows(bound, inside) is (pattern == "docs://root/{v}")
    below = _read_by_the_laxest(inside)
    assert below.startswith("/root/")
    for uri in (asked, f"docs://root/{asked}", f"{inside}/{asked}", f"docs://root/{value}/{asked}"):
        if allows(bound, uri):
            assert f"{_read_by_the_laxest(uri)}/".startswith(f"{below}/")


@settings(max_examples=150, deadline=None, database=None)
@given(_hostile)
def test_hostile_uris_are_refused_not_raised(uri: str) -> None:
    assert allows(("docs://**",), uri) in (True, False)
    pattern_error(uri, ())
