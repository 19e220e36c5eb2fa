"""The application without a server in front and without a stack behind."""

from functools import partial
from typing import Any, cast

from flask import Flask

from adapters.wake import Waker
from app import create_app
from app.deps import Deps
from app.key_cache import KeyCache
from services.pauses import create_pauses
from services.together import Together
from services.transaction import Store


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
