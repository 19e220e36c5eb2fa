"""The README's lines, run exactly as printed."""

import re
import subprocess
from pathlib import Path

from cli.stack import Stack

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_curl_lines(stack: Stack, tmp_path: Path) -> None:
    """Copied into a shell beside a running stack, they create a pause, approve it with an edit, and read it back."""
    section = README.split("## The same with curl")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    (tmp_path / ".sagahold").symlink_to(stack.data.path)
    shell = subprocess.run(
        ["sh", "-euc", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert shell.returncode == 0, shell.stderr
    assert shell.stdout.count('"status":"approved"') == 2
    assert '"amount_cents":9900' in shell.stdout
    assert '"comment":"the shipping was not late"' in shell.stdout


def test_commands_exist() -> None:
    """Every `make` target and `sagahold` command that the README names is there."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert targets == {"demo", "up"}
    assert all(f"\n{target}: setup" in makefile for target in targets)
