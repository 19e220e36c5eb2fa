"""What views work with. `create_app` is given it; nothing here is global."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app

from adapters.artifacts import ArtifactFiles
from adapters.oidc import Provider
from adapters.redis.pubsub import ChangeSubscriber
from app.http.key_cache import KeyCache
from domain.manifests.host_access import HostRules
from services.kernel.group_commit import GroupCommit
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import Created, CreateRequest

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer


@dataclass(frozen=True, slots=True)
class Deps:
    """
    Attributes:
        creations: creates pauses, those of concurrent requests in one transaction.
        anonymous_role: requests without a key act with it (loopback only); None refuses them.
        pause_expires_in: seconds after which a pause expires that does not say when.
        max_waiters: requests that this process holds at once.
        revision: the migration that this code was written for.
        artifact_files: the server's own files that manifests may refer to.
        broker_fault: why the queue's broker takes no hints now; None: it does.
        channel_fault: what is wrong with a channel that a person or group is to be told by; takes a second.
        provider: of identities, when one is configured.
        proxies: in front of this server, each of which adds to `X-Forwarded-For` whom it was asked by.
        tracer: where spans are wanted.
        host_rules: what tool sources may use of the machines that workers run on.
    """

    database: Database
    creations: GroupCommit[CreateRequest, Created]
    subscriber: ChangeSubscriber
    keys: KeyCache
    anonymous_role: str | None
    pause_expires_in: int
    max_waiters: int
    revision: str
    artifact_files: ArtifactFiles
    broker_fault: Callable[[], str | None]
    channel_error: Callable[[str], str | None]
    provider: Provider | None = None
    proxies: int = 0
    tracer: "Tracer | None" = None
    host_rules: HostRules | None = None


def deps() -> Deps:
    return cast(Deps, current_app.extensions["sagahold"])
