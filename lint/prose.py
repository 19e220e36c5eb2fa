"""`python lint/prose.py [path …]`: find prose that breaks the rules in `prose.toml`, in docs, code and templates.

Print `file:line: rule: words (advice)` for each finding, and exit with status 1 if there is one.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RULES: dict[str, Any] = tomllib.loads((ROOT / "lint" / "prose.toml").read_text())
CODE = "CODE"  # the place of an identifier, a path or a value
# Texts in these folders are input and expectations of tests; their docstrings and comments are prose.
DATA_FOLDERS = {"tests", "bench", "migrations", "lint"}
# A middle dot separates the facts in a line of a page.
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]”’*_]*\s+(?=[\"'(\[“‘*_]*[A-Z0-9])|\s+·\s+")
COMMENT_MARKS = {
    **dict.fromkeys((".toml", ".yml", ".yaml", ".sh", ""), "#"),
    **dict.fromkeys((".js", ".mjs"), "//"),
    ".ts": r"(?://|/?\*+)",  # also a documentation comment, whose lines begin with an asterisk
}
PROSE_ATTRIBUTES = {"title", "alt", "aria-label", "placeholder", "data-confirm"}
INLINE_TAGS = {"a", "b", "strong", "em", "i", "span", "small", "abbr", "time", "mark", "q"}


class Passage(NamedTuple):
    line: int
    text: str  # keeps its newlines, so that a sentence's own line is known
    docstring: bool = False


def blank(found: re.Match[str]) -> str:
    """Replace code by a placeholder on the same number of lines."""
    return CODE + "\n" * found[0].count("\n")


def without_code(text: str) -> str:
    text = re.sub(r"(`+)[^`]+?\1", blank, text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)  # a link's text
    text = re.sub(r"<!--.*?-->|</?[a-zA-Z][^>\n]*>", "", text)
    return re.sub(r"\bhttps?://\S+|\S+[/_@=]\S+|\S*\w\(\)\S*", blank, text)


def markdown(text: str) -> Iterator[Passage]:
    """Yield paragraphs, list items, headings and table cells; skip fenced code."""
    text = re.sub(r"(?ms)^( *)(`{3,}|~{3,}).*?^\1\2 *$", lambda found: "\n" * found[0].count("\n"), text)
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        item = re.match(r"\s*(?:[-*+]|\d+\.|>|#+) +", line)
        table = line.lstrip().startswith("|")
        if lines and (item or table or not line.strip()):
            yield Passage(start, "\n".join(lines))
            lines = []
        if table:
            cells = re.sub(r"`[^`]*`", CODE, line).strip().strip("|").split("|")
            yield from (Passage(number, cell.strip()) for cell in cells)
        elif line.strip():
            start = start if lines else number
            lines.append(line[item.end() :] if item else line)


def python(text: str, with_strings: bool) -> Iterator[Passage]:
    """Yield comments and docstrings, and messages among the string literals."""
    comments = (each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type == tokenize.COMMENT)
    yield from joined([(each.start[0], each.start[1], each.string.lstrip("#!: ")) for each in comments])
    docstrings = set[int]()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            constant = node.body[0].value  # type: ignore[attr-defined]
            docstrings.add(id(constant))
            yield from paragraphs(constant.lineno, constant.value)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree) if with_strings else ():
        if id(node) in docstrings or id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        elif isinstance(node, ast.JoinedStr):
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else CODE for part in node.values)
        else:
            continue
        if is_message(said):
            yield Passage(node.lineno, said.replace("\n", " "))


def is_message(text: str) -> bool:
    """Tell a sentence for a person from SQL, a policy or other code."""
    words = re.findall(r"(?<!\S)[A-Za-z][a-z'-]*(?=[.,:;!?]?(?:\s|$))", text)
    code = re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|LOCK|SET|WHERE|BEGIN)\b|[{}=<>\\]|'self'|^/", text)
    return len(words) >= 3 and not code and len(words) * 2 > len(text.split())


def paragraphs(line: int, text: str) -> Iterator[Passage]:
    first = True
    for block in re.split(r"(\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\s+\w+: ))", text):
        if block.strip():
            yield Passage(line, block, first)
            first = False
        line += block.count("\n")


def joined(comments: list[tuple[int, int, str]]) -> Iterator[Passage]:
    """Join the comments of adjacent lines at one indentation."""
    numbered = enumerate(comments)
    for _, group in groupby(numbered, key=lambda each: (each[1][0] - each[0], each[1][1])):
        lines = [comment for _, comment in group]
        text = "\n".join(words for _, _, words in lines)
        yield Passage(lines[0][0], re.sub(r"(noqa|type: ignore|pragma|fmt|mypy)\b.*", "", text))


class Template(HTMLParser):
    """Collect the texts that a page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.passages: list[Passage] = []
        self._line, self._text, self._skip = 1, "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skip += tag in ("script", "style", "pre")
        for name, value in attrs:
            if name in PROSE_ATTRIBUTES and value:
                self.passages.append(Passage(self.getpos()[0], value))
        if tag in ("code", "kbd"):
            self._text += " `"
        elif tag not in INLINE_TAGS:
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        self._skip -= tag in ("script", "style", "pre")
        if tag in ("code", "kbd"):
            self._text += "` "
        elif tag not in INLINE_TAGS:
            self.flush()

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self._line = self._line if self._text.strip() else self.getpos()[0]
            self._text += data if self._text.strip() else data.lstrip("\n")

    def flush(self) -> None:
        self.passages.append(Passage(self._line, self._text))
        self._text = ""


def template(text: str) -> Iterator[Passage]:
    text = re.sub(
        r"(?s)\{\{.*?\}\}", blank, re.sub(r"(?s)\{%.*?%\}|\{#.*?#\}", lambda found: "\n" * found[0].count("\n"), text)
    )
    parser = Template()
    parser.feed(text)
    parser.flush()
    yield from parser.passages


def passages(path: Path) -> Iterator[Passage]:
    text = path.read_text()
    if path.suffix == ".md":
        yield from markdown(text)
    elif path.suffix == ".py":
        yield from python(text, with_strings=not set(path.relative_to(ROOT).parts) & DATA_FOLDERS)
    elif path.suffix in (".html", ".j2"):
        yield from template(text)
    elif mark := COMMENT_MARKS.get(path.suffix):
        lines = [line.removesuffix("*/") for line in text.split("\n")]
        found = [(number, re.match(rf"(\s*){mark}+ (.*)", line)) for number, line in enumerate(lines, 1)]
        yield from joined([(number, len(each[1]), each[2]) for number, each in found if each])


def findings(found: Iterator[Passage], in_tests: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the line and the words of each broken rule."""
    for passage in found:
        text, position = without_code(passage.text), 0
        for count, sentence in enumerate(SENTENCE_END.split(text)):
            start = text.index(sentence, position)
            position = start + len(sentence)
            line = passage.line + text[: start + len(sentence) - len(sentence.lstrip())].count("\n")
            plain = " ".join(sentence.split())
            first = passage.docstring and count == 0 and not in_tests
            yield from ((line, words) for words in broken(plain, first))


def broken(sentence: str, first_of_docstring: bool) -> Iterator[str]:
    words = [word for word in sentence.split() if re.search(r"\w", word)]
    if len(words) > RULES["max_words"]:
        yield f"length: {len(words)} words: {' '.join(words[:8])} … (at most {RULES['max_words']})"
    kinds = ("word", "sentence", "docstring") if first_of_docstring else ("word", "sentence")
    for rule in (rule for kind in kinds for rule in RULES[kind]):
        found = re.search(rule["pattern"], sentence, re.IGNORECASE)
        if found and not ("unless" in rule and re.search(rule["unless"], sentence)):
            shown = found[0] if len(found[0]) < 40 else f"{found[0][:38]}…"
            yield f"{rule['name']}: {shown} ({rule['say']})"


def files(arguments: list[str]) -> Iterator[Path]:
    """Yield the files that Git knows under the paths."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *arguments]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    for path in (Path(name).resolve() for name in names.split("\0") if name):
        suffixes = {".md", ".py", ".html", ".j2", *COMMENT_MARKS}
        if path.suffix in suffixes and path.is_file() and path.name not in ("LICENSE", "prose.toml"):
            yield path


def main() -> int:
    count = 0
    for path in files(sys.argv[1:]):
        in_tests = "tests" in path.relative_to(ROOT).parts
        for line, found in sorted(set(findings(passages(path), in_tests))):
            print(f"{path.relative_to(ROOT)}:{line}: {found}")
            count += 1
    if count:
        print(f"{count} findings", file=sys.stderr)
    return count > 0


if __name__ == "__main__":
    sys.exit(main())
