"""What tasks work with, made once in each worker process at its first use (a forked child makes its own)."""

import atexit
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from celery import current_app

import settings as environment
from adapters.egress import Egress
from adapters.mcp import ToolClient
from adapters.notify.channel import MOST_AT_ONCE, Messenger
from adapters.otel.tracing import open_tracer, tell_hold
from adapters.redis import pubsub
from adapters.redis.publisher import SignalThread
from services.kernel.connection_pool import open_engine
from services.kernel.leases import NOTIFICATION, SAGA, WEBHOOK
from services.kernel.unit_of_work import Hint, Store
from tasks.lazy import Once
from tasks.leases import LeaseKeeper
from tasks.model_requests import Thinker, Thoughts
from tasks.slots import Places
from tasks.wakeups import send_hints
from tasks.worker_name import OwnName

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer


@Once
def settings() -> environment.Settings:
    return environment.load_or_exit()


@Once
def store() -> Store:
    redis = pubsub.connect(settings().redis_url)
    signals = SignalThread(partial(send_hints, redis), partial(pubsub.send, redis))
    engine = open_engine(settings().database_url, settings().db_pool_size, "worker")
    spans = tracer()
    held = None if spans is None else partial(tell_hold, spans)
    holder = own_names[0].mine if own_names else b""
    return Store(engine, signals, settings().public_url, settings().egress_allow, held, holder)


# That of this process, once it has one (`tasks.app`).
own_names: list[OwnName] = []


@Once
def tracer() -> "Tracer | None":
    """None where no spans are wanted."""
    made = open_tracer("sagahold-worker") if settings().tracing else None
    if made is not None:
        atexit.register(made.close)
    return made


@Once
def egress() -> Egress:
    return Egress(settings().egress_allow)


@Once
def messenger() -> Messenger:
    made = Messenger(settings().egress_allow, settings().mail_url)
    atexit.register(made.close)
    return made


def _places(total: int, kind: str) -> Places:
    return Places(total, lambda row: store().signals.publish([Hint(kind, row, chosen=True)], []))


def _share() -> int:
    """Of the threads that messages leave, three sevenths for calls, as many for deliveries: the rest is for what waits
    for nobody. Celery's app tells how many threads there are, whatever the command line said."""
    threads: int = current_app.conf.worker_concurrency
    return max(1, (threads - MOST_AT_ONCE) * 3 // 7)


@Once
def calls() -> Places:
    return _places(_share(), SAGA)


@Once
def deliveries() -> Places:
    return _places(_share(), WEBHOOK)


@Once
def messages() -> Places:
    return _places(MOST_AT_ONCE, NOTIFICATION)


@Once
def tool_client() -> ToolClient:
    client = ToolClient(rules=settings().host_rules)
    atexit.register(client.close)
    return client


@Once
def thoughts() -> Thoughts:
    return Thoughts(store(), leases(), _thinker, tracer())


@Once
def _thinker() -> Thinker:
    # Its library takes seconds and 60 MB, and many workers never ask.
    from adapters.llm import LlmSettings, Thinker

    found = settings()
    retry = found.llm_retry_enabled, found.llm_retry_max_attempts, found.llm_retry_base_delay, found.llm_retry_max_delay
    return Thinker(tool_client(), LlmSettings(*retry, environ=os.environ))


@Once
def leases() -> LeaseKeeper:
    return LeaseKeeper(store())


@Once
def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
