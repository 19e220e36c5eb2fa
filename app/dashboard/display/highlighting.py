"""Syntax highlighting of diffs, SQL and JSON.

The time is linear in the text, even for a hostile one. A missing or wrong colour changes no text.
"""

import re
from collections.abc import Iterator

from markupsafe import Markup

from app.dashboard.display.value_text import visible
from app.dashboard.framework.page_decorator import dashboard

# Characters; a longer text is shown without colours.
MAX_COLOURED = 64_000
# Characters at the start of a text that determine its language.
_BEGINNING = 4_000
_DIFF = re.compile(r"^(?:diff --git |Index: |@@ -\d|--- [^\n]*\n\+\+\+ )", re.MULTILINE)
_SQL = re.compile(
    r"(?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/)?)|(?P<text>'(?:[^']|'')*+'?)|(?P<name>\"[^\"]*+\"?)"
    r"|(?P<number>\b\d[\d.]*+)|(?P<word>[A-Za-z_][A-Za-z_0-9$]*+)"
)
_JSON = re.compile(
    r"(?P<name>\"(?:[^\"\\]|\\.)*+\"(?=\s*+:))|(?P<text>\"(?:[^\"\\]|\\.)*+\"?)"
    r"|(?P<number>-?\b\d[\d.eE+-]*+)|(?P<word>\b(?:true|false|null)\b)"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keywords that destroy data or grant access.
_GRAVE = _words("ALTER DELETE DROP GRANT REVOKE TRUNCATE")
_WORDS = _GRAVE | _words(
    "ADD ALL AND ANY AS ASC BEGIN BETWEEN BY CALL CASCADE CASE CHECK COLUMN COMMIT CONSTRAINT COPY CREATE"
    " CROSS DATABASE DEFAULT DESC DISTINCT DO ELSE END EXCEPT EXECUTE EXISTS EXPLAIN FALSE FOR FOREIGN"
    " FROM FULL FUNCTION GROUP HAVING IF IN INDEX INNER INSERT INTERSECT INTO IS JOIN KEY LEFT LIKE LIMIT"
    " LOCK MERGE NOT NULL OFFSET ON OR ORDER OUTER OVER PARTITION PRIMARY REFERENCES RENAME REPLACE"
    " RETURNING RIGHT ROLE ROLLBACK SCHEMA SELECT SEQUENCE SET TABLE THEN TO TRIGGER TRUE TYPE UNION"
    " UNIQUE UPDATE USER USING VACUUM VALUES VIEW WHEN WHERE WITH"
)
_STATEMENTS = _words(
    "ALTER BEGIN CALL COMMIT COPY CREATE DELETE DO DROP EXPLAIN GRANT INSERT LOCK MERGE REVOKE ROLLBACK"
    " SELECT SET TRUNCATE UPDATE VACUUM WITH"
)
_LINES = (
    *(("+++", "about"), ("---", "about"), ("diff ", "about"), ("index ", "about"), ("@@", "hunk")),
    *(("+", "added"), ("-", "removed")),
)


@dashboard.app_template_filter("coloured")
def coloured(text: str) -> Markup:
    if len(text) > MAX_COLOURED:
        return visible(text)
    return Markup("").join(
        Markup('<span class="{}">{}</span>').format(kind, visible(piece)) if kind else visible(piece)
        for kind, piece in _pieces(text)
    )


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    beginning = text[:_BEGINNING]
    if _DIFF.search(beginning):
        return _lines(text)
    if beginning.lstrip()[:1] in ("{", "["):
        return _tokens(_JSON, text)
    return _tokens(_SQL, text) if _is_sql(beginning) else iter([("", text)])


def _is_sql(text: str) -> bool:
    """Recognise a statement by its first word and a further keyword or semicolon; "Update the customer" is none."""
    words = [found[0].upper() for found in _SQL.finditer(text) if found.lastgroup == "word"]
    if not words or words[0] not in _STATEMENTS:
        return False
    return any(word in _WORDS for word in words[1:6]) or text.rstrip().endswith(";")


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        yield next((kind for start, kind in _LINES if line.startswith(start)), ""), line


def _tokens(tokens: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    end = 0
    for found in tokens.finditer(text):
        kind = found.lastgroup or ""
        if kind == "word" and tokens is _SQL:
            word = found[0].upper()
            if word not in _WORDS:
                continue
            kind = "grave" if word in _GRAVE else "word"
        yield "", text[end : found.start()]
        yield kind, found[0]
        end = found.end()
    yield "", text[end:]
