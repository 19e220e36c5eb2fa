"""The dependencies of views, passed to `create_app`; none is global."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app

from adapters.artifacts import ArtifactFiles
from adapters.oidc import Provider
from adapters.redis.pubsub import ChangeSubscriber
from adapters.text_cipher import TextCipher
from app.http.key_cache import KeyCache
from domain.manifests.host_access import HostRules
from services.kernel.group_commit import GroupCommit
from services.kernel.unit_of_work import Database
from services.operations.health import Backlog
from services.operations.recent_counts import RecentCounts
from services.operations.statistics import Statistics
from services.pauses.changes import PauseChange
from services.pauses.lifecycle import Created, CreateRequest
from services.pauses.receipt_keys import Signer
from services.reviews.shared_decisions import DecisionCall
from services.sagas.shared_starts import StartCall, Started

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer


@dataclass(frozen=True, slots=True)
class Deps:
    """The dependencies of views.

    Attributes:
        creations: the group commit that creates the pauses of concurrent requests in one transaction.
        decisions: likewise for decisions on pauses and held steps.
        starts: likewise for starts of sagas.
        anonymous_role: the role of requests without a key (loopback only); None refuses them.
        pause_expires_in: the default time limit of a pause, in seconds.
        max_waiters: the number of long polls and streams that this process holds at once.
        max_streams: the number of those that need a thread.
        backlogs: the counts of waiting work that `/metrics` shows.
        statistics: the counts of the charts.
        revision: the migration that this code needs.
        artifact_files: the server's own files that manifests may refer to.
        broker_error: return why the broker accepts no wake-ups; None if it does.
        signer: makes and uses the keys that sign receipts.
        cipher: encrypts the tokens of callbacks.
        channel_error: return what is wrong with a notification channel, or None; may take a second.
        provider: the identity provider, if one is configured.
        proxies: the number of proxies in front of this server that add to `X-Forwarded-For`.
        tracer: the tracer, if tracing is enabled.
        host_rules: the resources of worker machines that tool sources may use.
    """

    database: Database
    creations: GroupCommit[CreateRequest, Created]
    decisions: GroupCommit[DecisionCall, PauseChange]
    starts: GroupCommit[StartCall, Started]
    subscriber: ChangeSubscriber
    keys: KeyCache
    anonymous_role: str | None
    pause_expires_in: int
    max_waiters: int
    max_streams: int
    backlogs: RecentCounts[Backlog]
    statistics: Statistics
    revision: str
    artifact_files: ArtifactFiles
    broker_error: Callable[[], str | None]
    channel_error: Callable[[str], str | None]
    signer: Signer
    cipher: TextCipher
    provider: Provider | None = None
    proxies: int = 0
    tracer: "Tracer | None" = None
    host_rules: HostRules | None = None


def deps() -> Deps:
    return cast(Deps, current_app.extensions["sagahold"])
