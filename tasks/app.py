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
from tasks.log_filters import install_log_filters

app = Celery("sagahold")
app.config_from_object("celeryconfig")
app.conf.imports = ("tasks.webhooks", "tasks.sagas", "tasks.notifications", "tasks.maintenance")


@setup_logging.connect  # type: ignore[untyped-decorator]
def _json_logs(**_: Any) -> None:
    """Set up JSON logs. This receiver keeps Celery from configuring logging; worker and beat call it first."""
    hide_environment()
    log_as_json(settings.load_or_exit().log_level)
    # Lines for each wake-up received and done would fill the log; warnings and errors remain.
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel(logging.WARNING)
    install_log_filters()


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _set_up(sender: str, instance: Any, conf: Any, **_: Any) -> None:
    """Name the worker and add its heartbeat queue. `sender` is the worker's name."""
    # `--concurrency` changes the worker, not the settings by which `tasks.runtime` divides the threads.
    conf.worker_concurrency = instance.concurrency
    # Imported here because beat also imports this module and needs none of these.
    from tasks.heartbeat import QUEUE
    from tasks.runtime import own_names
    from tasks.worker_name import WorkerName

    # Installations on one machine get different names.
    loaded = settings.load_or_exit()
    own_names.append(WorkerName(f"{sender} {loaded.database_url}", loaded.run_dir))
    instance.app.amqp.queues.select_add(QUEUE)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _begin(sender: Any, **_: Any) -> None:
    """Release the leases of a predecessor, load what the first decision needs, and start the heartbeat and the audit
    log's sequencer.

    `sender`: the consumer, which receives no message before this returns.

    Then exclude all loaded objects from garbage collection. They live as long as the process, and a full collection of
    them stopped every thread for a sixth of a second now and then.
    """
    from adapters.redis.connection import connect
    from services.kernel.leases import release
    from tasks.heartbeat import Heartbeat
    from tasks.preparation import prepare_worker
    from tasks.runtime import database, own_names
    from tasks.sequencer import SequencerThread

    own_names[0].free_earlier(partial(release, database()))
    prepare_worker(sender.app.amqp.queues.consume_from)
    Heartbeat(connect(settings.load_or_exit().redis_url))
    SequencerThread(database())
    gc.collect()
    gc.freeze()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    """Finish the tool calls and the model requests.

    At the interpreter's exit it is too late: no thread can start, so no name resolves and no model is reachable.
    """
    from tasks.runtime import requests, tool_calls

    tool_calls().drain()
    requests().drain()
