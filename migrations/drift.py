"""`python -m migrations.drift`: check that the migrations, on an empty database, make the tables of `models`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cli.devstack import Stack


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), processes=False) as stack:
        environ = {**os.environ, "DATABASE_URL": stack.database_url}
        for command in (["upgrade", "head"], ["check"]):
            alembic = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", *command]
            if (status := subprocess.run(alembic, env=environ).returncode) != 0:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
