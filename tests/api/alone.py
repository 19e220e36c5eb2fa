"""The application without a server in front and without a stack behind."""

from functools import partial
from typing import Any, cast

from flask import Flask

from adapters.receipts.signing import ReceiptSigner
from adapters.redis.pubsub import ChangeSubscriber
from adapters.text_cipher import TextCipher
from app import create_app
from app.deps import Deps
from app.http.key_cache import KeyCache
from services.kernel.group_commit import GroupCommit
from services.kernel.unit_of_work import Database
from services.operations.health import backlog
from services.operations.recent_counts import RecentCounts
from services.operations.statistics import Statistics
from services.pauses.lifecycle import create_pauses
from services.reviews.shared_decisions import decide_pauses
from services.sagas.shared_starts import start_sagas


def app_alone(database: Database, keys: KeyCache, anonymous_role: str | None = None, proxies: int = 0) -> Flask:
    return create_app(
        Deps(
            database=database,
            creations=GroupCommit(partial(create_pauses, database)),
            decisions=GroupCommit(partial(decide_pauses, database)),
            starts=GroupCommit(partial(start_sagas, database)),
            subscriber=ChangeSubscriber(cast(Any, None), lambda ids: []),
            keys=keys,
            anonymous_role=anonymous_role,
            pause_expires_in=60,
            max_waiters=1,
            max_streams=1,
            backlogs=RecentCounts(database, backlog),
            statistics=Statistics(database),
            revision="",
            artifact_files=cast(Any, None),
            broker_error=lambda: None,
            channel_error=lambda channel: None,
            signer=ReceiptSigner(),
            cipher=TextCipher(),
            proxies=proxies,
        )
    )
