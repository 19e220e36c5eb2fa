"""Celery's settings, each with its reason.

A message only wakes a worker for a row that may be due. A lost one costs a second or two, and 5 s more if the sweep's
wake-up is lost as well.

Figures: docs/adr/0003 (acks), 0004 (pins), 0006 (pool); `tests/faults/test_broker_soak.py` guards the behaviour.
"""

import settings
from adapters.redis.connection import HEALTH_CHECK_INTERVAL, TIMEOUT, broker

# A sweep older than this is dropped, so that an hour without workers is not followed by 3,600 sweeps at once. It is not
# shorter, because the worker compares beat's clock with its own, and clocks of two machines may differ by seconds.
SWEEP_EXPIRES = 10
PRUNE_EXPIRES = 60


# Broker
_broker = broker(settings.load_or_exit().redis_url)
broker_url = _broker.url
broker_use_ssl = _broker.tls
broker_transport_options = {
    **_broker.options,
    # Without it a frozen Redis blocks a publisher indefinitely.
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    # One try: otherwise kombu retries until `broker_connection_timeout` has passed, which doubles the wait.
    "max_retries": 0,
    # A half-open link is found after brpop's 1 s and twice this. The default, 25, leaves a worker deaf for 51 s.
    "health_check_interval": HEALTH_CHECK_INTERVAL,
    # Redis has no acks; kombu emulates them by more commands per message. If these fail (Redis frozen, then killed),
    # kombu never releases the messages. A worker whose slots are all taken then receives nothing until it is restarted.
    # A wake-up needs no ack: nothing is redelivered, and a message costs 0.4 ms of CPU instead of 1.2 ms.
    "ack_emulation": False,
    # Wake-ups have no priorities. A queue is one list in Redis instead of four, and a BRPOP names 5 keys instead of 20.
    "priority_steps": [0],
}
broker_connection_timeout = TIMEOUT
# A worker or beat that starts before Redis, or loses it, retries without end, so that it needs no restart.
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Errors that Redis returns are transient too: a fail-over, a lack of memory, a new password.
broker_channel_error_retry = True
worker_consumer = "tasks.consumer:PatientConsumer"

# Messages
task_serializer = "json"
accept_content = ["json"]
# Results are not read: the outcome of a task is in its row.
result_backend = None
task_ignore_result = True
# A failed publish is not retried: the sweep finds the row, and the publisher is free for the next wake-up.
task_publish_retry = False
# Early acks: the row's lease says who works on it, and the sweep replaces redelivery.
task_acks_late = False

# Queues: each can be given its own workers (docs/operations.md).
task_default_queue = "maintenance"
task_queues: dict[str, dict[str, str]] = {
    name: {} for name in ("decisions", "sagas", "webhooks", "notifications", "maintenance")
}
task_create_missing_queues = False  # a mistyped queue is an error, not a queue without consumers
task_routes = {
    "tasks.webhooks.*": {"queue": "webhooks"},
    "tasks.sagas.*": {"queue": "sagas"},
    "tasks.decisions.*": {"queue": "decisions"},
    "tasks.notifications.*": {"queue": "notifications"},
    "tasks.maintenance.*": {"queue": "maintenance"},
}

# Worker. Threads, because tasks wait for receivers and PostgreSQL. One process with 44 MB delivered 201 webhooks a
# second. Prefork-4 delivered 69 with 133 MB, and prefork-8 126 with 234 MB, at twice the CPU per webhook. One process
# handles about 1,000 wake-ups a second, so more cores need more workers. Threads have no time limits: a task bounds its
# I/O.
worker_pool = "threads"
# 24 for webhooks, 4 for notifications (`tasks/slots.py`), and the rest for work that waits for nothing outside. Sagas
# whose wake-ups wait in as many threads share a transaction. More than about 32 active ones would wait for the GIL.
worker_concurrency = 60
# The minimum. A wake-up that finds no free slot ends at once, and the next one is received.
worker_prefetch_multiplier = 1
# No soft shutdown: after TERM a worker ends when its tasks are done. A soft shutdown always sleeps its whole timeout
# (6.3 s for a task of 2 s), and cannot end a thread after it. To stop sooner, kill the worker: its leases expire.
worker_soft_shutdown_timeout = 0.0
# Remote control is not used: a row that sweeps stamp shows liveness. This saves one subscription per worker.
worker_enable_remote_control = False
worker_hijack_root_logger = False  # logs are JSON lines, set up by the application

# Beat. No task uses ETA or countdown: work that is due later is a row with `due_at`.
beat_max_loop_interval = 1
beat_schedule = {
    "sweep_due": {"task": "tasks.maintenance.sweep_due", "schedule": 1.0, "options": {"expires": SWEEP_EXPIRES}},
    "expire_pauses": {
        "task": "tasks.maintenance.expire_pauses",
        "schedule": 1.0,
        "options": {"expires": SWEEP_EXPIRES},
    },
    "attend_reviews": {
        "task": "tasks.maintenance.attend_reviews",
        "schedule": 1.0,
        "options": {"expires": SWEEP_EXPIRES},
    },
    "prune": {"task": "tasks.maintenance.prune", "schedule": 60.0, "options": {"expires": PRUNE_EXPIRES}},
}
