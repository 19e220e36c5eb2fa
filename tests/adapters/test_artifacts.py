"""Files of the server that manifests refer to: only those inside of their folder."""

from pathlib import Path

import pytest

from adapters.artifacts import MAX_FILE, ArtifactFiles


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    root = tmp_path / "prompts"
    (root / "deep").mkdir(parents=True)
    (root / "hello.j2").write_text("Hello {{ name }}, é", encoding="utf-8")
    (root / "deep" / "link.j2").symlink_to(root / "hello.j2")
    (tmp_path / "secret").write_text("secret")
    (root / "out.j2").symlink_to(tmp_path / "secret")
    (root / "loop.j2").symlink_to(root / "loop.j2")
    (root / "large.j2").write_bytes(b"x" * (MAX_FILE + 1))
    (root / "binary.j2").write_bytes(b"\xff\xfe")
    return ArtifactFiles({"prompt": root})


def test_what_is_inside_is_read(files: ArtifactFiles) -> None:
    assert files.text("prompt", "hello.j2") == "Hello {{ name }}, é"
    assert files.text("prompt", "deep/link.j2") == "Hello {{ name }}, é"


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("policy", "hello.j2", "the server has no folder for it"),
        ("prompt", "none.j2", "is not in the server's folder"),
        ("prompt", "deep", "is not in the server's folder"),
        ("prompt", "loop.j2", "is not in the server's folder"),
        ("prompt", "out.j2", "is outside its folder"),
        ("prompt", "../secret", "is outside its folder"),
        ("prompt", "large.j2", "is larger than 256 KiB"),
        ("prompt", "binary.j2", "is not UTF-8 text"),
        ("prompt", "a\x00b", "is not in the server's folder"),
    ],
)
def test_the_rest_is_refused(files: ArtifactFiles, name: str, path: str, message: str) -> None:
    with pytest.raises(LookupError) as caught:
        files.text(name, path)
    assert message in str(caught.value)


def test_an_absolute_path_leads_out(files: ArtifactFiles, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="is outside its folder"):
        files.text("prompt", str(tmp_path / "secret"))
