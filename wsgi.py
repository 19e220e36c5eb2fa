"""The web process: the one place that knows both the API and the task queue. `granian --interface wsgi wsgi:app`."""

import gc
import logging
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.util import Finalize
from typing import Any

import granian.wsgi
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask
from granian.server import mp
from sqlalchemy.exc import SQLAlchemyError

import settings as environment
from adapters.artifacts import ArtifactFiles
from adapters.notify.channel import Messenger
from adapters.oidc import Provider
from adapters.otel.tracing import open_tracer, tell_hold
from adapters.process.logs import log_as_json
from adapters.process.own_environment import hide_environment
from adapters.receipts.signing import ReceiptSigner
from adapters.redis import pubsub
from adapters.redis.connection import connect, why_unusable
from adapters.redis.publisher import PublisherThread
from adapters.text_cipher import TextCipher
from app import create_app
from app.deps import Deps
from app.http.key_cache import KeyCache
from app.http.metrics import count_long_polls, forget_shared
from app.http.parking import Parking, with_access_log
from app.http.slow_bodies import BodyWatch
from domain.values.errors import ReceiptKeyUnavailable
from services.identity.keys import authenticate
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.group_commit import GroupCommit
from services.kernel.unit_of_work import Database
from services.operations.health import backlog
from services.operations.recent_counts import RecentCounts
from services.operations.statistics import Statistics
from services.pauses.lifecycle import create_pauses, resolved_among
from services.pauses.receipt_keys import current_key
from services.reviews.shared_decisions import decide_pauses
from services.sagas.shared_starts import start_sagas
from tasks.app import app as _celery  # noqa: F401  (wake-ups go through the current Celery app)
from tasks.preparation import prepare
from tasks.sequencer import SequencerThread
from tasks.wakeups import send_wakeups

log = logging.getLogger(__name__)

# Enough for 10,000 agents, the connections of 1,100 threads, and other files. If the hard limit is lower, that is used.
OPEN_FILES = 16_384
LOOK_SECONDS = 0.5
ORPHAN_SECONDS = 3.0


def build() -> Flask:
    hide_environment()
    _room_for_connections()
    settings = environment.load_or_exit()
    log_as_json(settings.log_level)
    _warn_of_risks(settings)
    redis_client, prober = connect(settings.redis_url), connect(settings.redis_url)
    publisher = PublisherThread(partial(send_wakeups, redis_client), lambda ids: subscriber.wake(ids))
    engine = open_engine(settings.database_url, settings.db_pool_size, "web", prepared=settings.prepared_statements)
    tracer = open_tracer("sagahold-web") if settings.tracing else None
    held = None if tracer is None else partial(tell_hold, tracer)
    database = Database(engine, publisher, settings.public_url, settings.egress_allow, held)
    subscriber = pubsub.ChangeSubscriber(
        connect(settings.redis_url), lambda ids: resolved_among(database, ids), count_long_polls
    )
    subscriber.start()
    SequencerThread(database)
    messenger = Messenger(settings.egress_allow, settings.mail_url)
    # Granian workers are multiprocessing children, which skip atexit. The publisher comes first: time is short.
    ends = [part.close for part in (publisher, messenger, tracer) if part is not None]
    Finalize(None, _call_all, ([*ends, forget_shared, logging.shutdown],), exitpriority=0)
    _when_told_to_stop(subscriber.stop)
    end_with_parent()
    signer = ReceiptSigner(settings.encryption_key, settings.receipt_keys_dir)
    # Without a database the first use makes the key. The server starts all the same.
    threading.Thread(target=_make_first_key, args=(database, signer), name="receipt key", daemon=True).start()

    # No request is answered before this returns, so `/readyz` is not either.
    prepare(database)
    return create_app(
        Deps(
            database=database,
            creations=GroupCommit(partial(create_pauses, database)),
            decisions=GroupCommit(partial(decide_pauses, database)),
            starts=GroupCommit(partial(start_sagas, database)),
            subscriber=subscriber,
            keys=KeyCache(lambda hash_: authenticate(database, hash_)),
            anonymous_role=settings.anonymous_role,
            pause_expires_in=settings.pause_expires_in,
            max_waiters=settings.max_waiters,
            max_streams=settings.max_streams,
            backlogs=RecentCounts(database, backlog),
            statistics=Statistics(database),
            revision=head_revision(),
            artifact_files=ArtifactFiles(settings.artifact_roots),
            broker_error=partial(why_unusable, prober),
            channel_error=messenger.channel_error,
            signer=signer,
            cipher=TextCipher(settings.encryption_key),
            provider=_provider(settings),
            proxies=settings.proxies,
            tracer=tracer,
            host_rules=settings.host_rules,
        )
    )


def _warn_of_risks(settings: environment.Settings) -> None:
    if settings.anonymous_role is not None:
        log.warning(
            "SAGAHOLD_ALLOW_ANONYMOUS: programs on this machine need no key, nor do clients that reach %s:%s by a proxy"
            " or a tunnel",
            settings.host,
            settings.port,
            extra={"role": settings.anonymous_role},
        )
    if environment.links_lead_to_loopback(settings):
        log.warning(
            "SAGAHOLD_HOST accepts other machines, but links begin with %s: set SAGAHOLD_PUBLIC_URL to the URL by which"
            " they reach this server",
            settings.public_url,
        )


def _make_first_key(database: Database, signer: ReceiptSigner) -> None:
    try:
        current_key(database, signer)
    except (DatabaseUnavailable, SQLAlchemyError, ReceiptKeyUnavailable) as error:
        log.warning("no key signs receipts yet; the first use tries again", extra={"reason": str(error)})


def _provider(settings: environment.Settings) -> Provider | None:
    oidc = settings.oidc
    if oidc is None:
        return None
    return Provider(
        oidc.issuer,
        oidc.client_id,
        oidc.client_secret,
        f"{settings.public_url}/sign-in/oidc/return",
        trust_email=oidc.trust_email,
        groups_claim=oidc.groups_claim,
    )


def _room_for_connections() -> None:
    """Raise the limit of open files. The usual 1,024 are fewer than the agents that may wait here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    """Make all the calls, and log those that fail. The last one flushes the log."""
    for call in calls:
        try:
            call()
        except Exception:
            log.exception("a part of the web process could not be closed")


def _when_told_to_stop(call: Callable[[], None]) -> None:
    """Call `call` on SIGTERM or SIGINT, which ends long polls at once instead of after up to a minute.

    Granian sets its own signal handlers after this module is loaded. Beside any handler, Python writes the number of
    the signal to this socket.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Detached, because the descriptor must outlive this function.
    signal.set_wakeup_fd(writer.detach())

    def listen() -> None:
        while reader.recv(1)[0] not in (signal.SIGTERM, signal.SIGINT):
            pass
        call()

    threading.Thread(target=listen, name="stop", daemon=True).start()


def park_long_polls() -> None:
    """Let long polls wait without a thread. Granian calls this function of its own after this module is loaded."""
    name = "_wsgi_call_wrap"
    wrap, access_log = vars(mp).get(name), vars(granian.wsgi).get("_build_access_logger")
    if wrap is None or access_log is None:
        log.warning("this version of granian cannot park requests, so each long poll holds a thread")
        return
    around = Parking().around

    def parking(application: Any, options: dict[str, Any], access_format: str | None = None) -> Any:
        # Granian's own access log would write a 500 for each request that is parked.
        serve = wrap(application, options, None)
        return around(with_access_log(serve, access_log(access_format)) if access_format else serve)

    setattr(mp, name, parking)


def end_with_parent() -> None:
    """End this process when granian's main process was killed.

    It would otherwise serve the port beside its successor, possibly with the code from before an upgrade.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(LOOK_SECONDS)
        logging.getLogger(__name__).error("the main process of the web server has ended, so this process ends too")
        os.kill(os.getpid(), signal.SIGTERM)
        # The time that granian itself gives to requests under way.
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def head_revision() -> str:
    """Return the newest migration of this code."""
    head = ScriptDirectory.from_config(Config("migrations/alembic.ini")).get_current_head()
    assert head is not None, "there is at least one migration"
    return head


app = BodyWatch().guard(build())
park_long_polls()
# Exclude these objects from garbage collection. They live as long as the process, and each full collection took an
# eighth of a second, in which no request was answered.
gc.collect()
gc.freeze()
