"""The Celery application: `celery -A tasks.app worker`."""

import gc
import logging
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup, setup_logging, worker_ready, worker_shutdown

import settings
from adapters.process.logs import log_as_json
from adapters.process.own_environment import hide_environment
from tasks.log_filters import calm

app = Celery("sagahold")
app.config_from_object("celeryconfig")
app.conf.imports = ("tasks.webhooks", "tasks.sagas", "tasks.notifications", "tasks.maintenance")


@setup_logging.connect  # type: ignore[untyped-decorator]
def _json_logs(**_: Any) -> None:
    """Connecting here stops Celery from setting up logging of its own. A worker and a beat call it first of all."""
    hide_environment()
    log_as_json(settings.load_or_exit().log_level)
    # A line for every hint received and done would be most of the log; warnings and errors stay.
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel(logging.WARNING)
    calm()


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _set_up(sender: str, instance: Any, conf: Any, **_: Any) -> None:
    """`sender`: the worker's name. `--concurrency` changes the worker, not the settings that `tasks.runtime` shares the
    threads out by."""
    conf.worker_concurrency = instance.concurrency
    # Here, as beat, which needs the application too, does without what this imports.
    from tasks.heartbeat import QUEUE
    from tasks.runtime import own_names
    from tasks.worker_name import WorkerName

    # Of each installation on this machine another one.
    loaded = settings.load_or_exit()
    own_names.append(WorkerName(f"{sender} {loaded.database_url}", loaded.run_dir))
    instance.app.amqp.queues.select_add(QUEUE)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    """Out of garbage collection: it lives as long as the process, and to go through it took a sixth of a second now and
    then, in which no thread did anything."""
    from adapters.redis import pubsub
    from services.kernel.leases import free
    from tasks.heartbeat import Heartbeat
    from tasks.runtime import database, own_names

    own_names[0].free_earlier(partial(free, database()))
    Heartbeat(pubsub.connect(settings.load_or_exit().redis_url))
    gc.collect()
    gc.freeze()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _finish_thoughts(**_: Any) -> None:
    """Not at the interpreter's exit: by then no thread can be started, so no name be looked up, and a model that has a
    turn to go could not be reached."""
    from tasks.runtime import requests

    requests().drain()
