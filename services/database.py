"""The connection pool, and the limits that keep one slow statement from holding up the rest."""

import json
from functools import partial

from sqlalchemy import Engine, create_engine

# A statement, a wait for a lock, or a transaction left open beyond these is a fault, not patience. Milliseconds.
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_SECONDS = 3
# How long a request waits for a free connection before it is told to come back (503).
POOL_TIMEOUT_SECONDS = 5


def open_engine(url: str, pool_size: int, name: str) -> Engine:
    """`name` shows in pg_stat_activity. Nothing connects before the first query."""
    timeouts = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} -c timezone=UTC"
    )
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # The last used connection first: the others stay idle and can be closed by the server's own means.
        pool_use_lifo=True,
        json_serializer=partial(json.dumps, ensure_ascii=False, separators=(",", ":")),
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": f"sagahold {name}",
            "options": timeouts,
            # A peer that vanished without a word is noticed within about 15 s.
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 15_000,
        },
    )
