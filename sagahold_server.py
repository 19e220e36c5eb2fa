"""The way into the server from a wheel, in which this file is `sagahold_server/__init__.py` beside all others.

docs/adr/0034 has the reasons.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = str(Path(__file__).parent)


def main() -> NoReturn:
    """Run the command line. Only this process and its children find the server's modules, and find them first."""
    sys.path.insert(0, ROOT)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *(path for path in paths if path not in ("", ROOT))])
    from cli.main import main as command_line

    command_line()
