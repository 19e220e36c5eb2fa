"""`sagahold web | worker | beat | release`: each becomes one process of an installation."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

import settings
from adapters.process.running import is_running

# Modules and files lie here, in the repository as in the wheel.
ROOT = Path(__file__).parents[2]
QUEUES = "decisions,sagas,webhooks,notifications,maintenance"
# Threads for all that is no stream. They start only when needed; a thousand that a burst has started take 70 MB.
MORE_THREADS = 100
# Most clients keep an idle connection open for half a minute.
CONNECTIONS_PER_THREAD = 4
IDLE_THREAD_SECONDS = 5
# The Prometheus client reads it when it is imported. Processes then keep their counters in files of this folder.
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"


@click.command()
def web() -> NoReturn:
    """Become a web process: the API and the dashboard.

    It listens on SAGAHOLD_HOST and SAGAHOLD_PORT. SAGAHOLD_WEB_PROCESSES is its number of worker processes.
    """
    loaded = settings.load_or_exit()
    try:
        os.environ[SHARED_METRICS] = _metrics_folder()
    except OSError as error:
        raise click.ClickException(f"no folder for the metrics of the processes (TMPDIR): {error}") from None
    _become(*web_arguments(loaded))


@click.command()
@click.option("--name", help="Name in logs and checks, one per machine (default: SAGAHOLD_PROCESS or worker).")
@click.option("--queues", default=QUEUES, show_default=True, help="Serve only these queues, separated by commas.")
@click.option("--concurrency", type=click.IntRange(8, 1_000), help="Run this many threads.")
def worker(name: str | None, queues: str, concurrency: int | None) -> NoReturn:
    """Become a worker: sagas, decisions, webhooks, notifications and sweeps."""
    if unknown := sorted(set(queues.split(",")) - set(QUEUES.split(","))):
        raise click.BadParameter(
            f"{', '.join(map(repr, unknown))} is no queue; queues are {QUEUES}", param_hint="--queues"
        )
    _become(*worker_arguments(name or os.environ.get("SAGAHOLD_PROCESS") or "worker", queues, concurrency))


@click.command()
def beat() -> NoReturn:
    """Become beat, which requests sweeps once a second."""
    _become(*beat_arguments())


@click.command()
def release() -> NoReturn:
    """Migrate the database, once before a new version starts."""
    _become("alembic", "-c", "migrations/alembic.ini", "upgrade", "head")


def web_arguments(loaded: settings.Settings, application: str = "wsgi:app") -> tuple[str, ...]:
    """Return granian's module and arguments.

    Granian answers requests in threads; docs/adr/0005 compares it with gunicorn's gthread and gevent. A stream has a
    thread of its own, so that streams never block other requests. A long poll has a connection and no thread, for which
    docs/adr/0033 gives the reasons.
    """
    threads = loaded.max_streams + MORE_THREADS
    options = {
        "--interface": "wsgi",
        # Set explicitly: while granian detects the version, it never closes a silent connection.
        "--http": 1,
        "--host": loaded.host,
        "--port": loaded.port,
        "--workers": loaded.web_processes,
        "--blocking-threads": threads,
        "--blocking-threads-idle-timeout": IDLE_THREAD_SECONDS,
        "--backlog": 4096,
        "--backpressure": loaded.max_waiters + threads * CONNECTIONS_PER_THREAD,
        "--workers-kill-timeout": 3,
    }
    return "granian", *(str(part) for option in options.items() for part in option), "--no-ws", application


def _metrics_folder() -> str:
    """Make a folder for the counters of this `web`, and remove those of others that have ended."""
    name = re.compile(r"sagahold-metrics-(\d+)-.+")
    for old in Path(tempfile.gettempdir()).glob("sagahold-metrics-*"):
        # One of another user stays.
        if (found := name.fullmatch(old.name)) and not is_running(int(found[1])):
            shutil.rmtree(old, ignore_errors=True)
    # The number stays the same when this process becomes granian.
    return tempfile.mkdtemp(prefix=f"sagahold-metrics-{os.getpid()}-")


def worker_arguments(
    name: str, queues: str = QUEUES, concurrency: int | None = None, application: str = "tasks.app"
) -> tuple[str, ...]:
    """Return Celery's module and arguments for a worker."""
    threads = ("--concurrency", str(concurrency)) if concurrency else ()
    # Gossip, mingle and heartbeats are not used: a row that sweeps stamp shows that a worker is alive.
    silent = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    where = ("--hostname", f"{name}@%h", "--queues", queues)
    return "celery", "-A", application, "worker", *where, *threads, *silent


def beat_arguments(application: str = "tasks.beat_app") -> tuple[str, ...]:
    """Return Celery's module and arguments for beat."""
    return "celery", "-A", application, "beat", "--scheduler", "celery.beat.Scheduler"


def _become(module: str, *arguments: str) -> NoReturn:
    """Replace this process, so that its signals and its memory are the program's own."""
    # Celery and granian look for modules in their directory first, where a file of the user may have the same name.
    os.chdir(ROOT)
    paths = (str(ROOT), os.environ.get("PYTHONPATH"))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = (sys.executable, "-m", module, *arguments)
    os.execve(sys.executable, command, environ)  # noqa: S606  (no shell is needed)
