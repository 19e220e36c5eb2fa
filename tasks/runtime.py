"""The resources of tasks, made once in each worker process at their first use (a forked child makes its own)."""

import atexit
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from celery import current_app

import settings as environment
from adapters.egress import Egress
from adapters.mcp import ToolClient
from adapters.notify.channel import MOST_AT_ONCE, Messenger
from adapters.otel.tracing import open_tracer, tell_hold
from adapters.process.future_pool import FuturePool, Job
from adapters.receipts.signing import ReceiptSigner
from adapters.redis.connection import connect
from adapters.redis.publisher import PublisherThread
from adapters.text_cipher import TextCipher
from services.kernel.connection_pool import open_engine
from services.kernel.group_commit import GroupCommit
from services.kernel.leases import NOTIFICATION, SAGA, WEBHOOK
from services.kernel.unit_of_work import Database, WakeUp
from services.sagas.turns import Taken, Turn, take_turns
from tasks.lazy import Lazy
from tasks.leases import LeaseKeeper
from tasks.model_requests import ModelRequests, RequestRunner
from tasks.slots import Slots, SlotsByServer
from tasks.wakeups import send_wakeups
from tasks.worker_name import WorkerName

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer


# Calls in flight to one tool server; one namespace alone gets 64. An HTTP server answers so many at a time, and one
# on standard input reads them one after the other.
CALLS_OF_A_SERVER = 96
# Threads that record outcomes of tool calls. Those that come together share a transaction.
RECORDERS = 16


@Lazy
def settings() -> environment.Settings:
    return environment.load_or_exit()


@Lazy
def database() -> Database:
    redis = connect(settings().redis_url)
    publisher = PublisherThread(partial(send_wakeups, redis))
    engine = open_engine(
        settings().database_url, settings().db_pool_size, "worker", prepared=settings().prepared_statements
    )
    spans = tracer()
    held = None if spans is None else partial(tell_hold, spans)
    holder = own_names[0].mine if own_names else b""
    return Database(engine, publisher, settings().public_url, settings().egress_allow, held, holder)


# The name of this process, once it has one (`tasks.app`).
own_names: list[WorkerName] = []


@Lazy
def tracer() -> "Tracer | None":
    """Return the tracer; None: tracing is off."""
    made = open_tracer("sagahold-worker") if settings().tracing else None
    if made is not None:
        atexit.register(made.close)
    return made


@Lazy
def egress() -> Egress:
    return Egress(settings().egress_allow)


@Lazy
def cipher() -> TextCipher:
    return TextCipher(settings().encryption_key)


@Lazy
def signer() -> ReceiptSigner:
    return ReceiptSigner(settings().encryption_key, settings().receipt_keys_dir)


@Lazy
def messenger() -> Messenger:
    made = Messenger(settings().egress_allow, settings().mail_url)
    atexit.register(made.close)
    return made


def _waking(kind: str) -> Callable[[UUID], None]:
    """Return what wakes a row of this kind when a slot is free for it."""
    return lambda row: database().publisher.publish([WakeUp(kind, row, chosen=True)], [])


@Lazy
def tool_slots() -> SlotsByServer:
    return SlotsByServer(CALLS_OF_A_SERVER, _waking(SAGA))


@Lazy
def tool_calls() -> "FuturePool[Job]":
    return FuturePool("tool-calls", RECORDERS)


@Lazy
def turns() -> GroupCommit[Turn, Taken]:
    return GroupCommit(partial(take_turns, database()))


@Lazy
def deliveries() -> Slots:
    # Three sevenths of the threads without those for messages. The rest is for work that waits for no other system.
    # Celery's app knows the number of threads, from any source.
    threads: int = current_app.conf.worker_concurrency
    return Slots(max(1, (threads - MOST_AT_ONCE) * 3 // 7), _waking(WEBHOOK))


@Lazy
def messages() -> Slots:
    return Slots(MOST_AT_ONCE, _waking(NOTIFICATION))


@Lazy
def tool_client() -> ToolClient:
    client = ToolClient(rules=settings().host_rules)
    atexit.register(client.close)
    return client


@Lazy
def requests() -> ModelRequests:
    return ModelRequests(database(), turns(), leases(), _runner, tracer())


@Lazy
def _runner() -> RequestRunner:
    # Its library takes seconds and 60 MB, and many workers never need it.
    from adapters.llm import LlmSettings, ModelRunner

    found = settings()
    retry = found.llm_retry_enabled, found.llm_retry_max_attempts, found.llm_retry_base_delay, found.llm_retry_max_delay
    return ModelRunner(tool_client(), LlmSettings(*retry, environ=environment.with_secrets(os.environ)))


@Lazy
def leases() -> LeaseKeeper:
    return LeaseKeeper(database())


@Lazy
def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
