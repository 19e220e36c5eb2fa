"""The application without a server in front and without a stack behind."""

from functools import partial
from typing import Any, cast

from flask import Flask

from adapters.redis.pubsub import Waker
from app import create_app
from app.deps import Deps
from app.http.key_cache import KeyCache
from services.kernel.group_commit import Together
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import create_pauses


def app_alone(store: Store, keys: KeyCache, anonymous_role: str | None = None, proxies: int = 0) -> Flask:
    return create_app(
        Deps(
            store=store,
            creations=Together(partial(create_pauses, store)),
            waker=Waker(cast(Any, None), lambda ids: []),
            keys=keys,
            anonymous_role=anonymous_role,
            pause_expires_in=60,
            max_waiters=1,
            revision="",
            artifact_files=cast(Any, None),
            broker_fault=lambda: None,
            channel_fault=lambda channel: None,
            proxies=proxies,
        )
    )
