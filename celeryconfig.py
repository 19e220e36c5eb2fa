"""Celery's settings, each with its reason. A message is only a hint that a row may be due: losing one costs a second
or two, and losing the sweep's next ones 5 s each.

Figures: docs/adr/0003 (acks), 0004 (pins), 0006 (pool); `tests/faults/test_broker_soak.py` guards the behaviour.
"""

from urllib.parse import parse_qs, urlsplit

import settings

# Longest that a publisher, beat or the consumer's loop waits for a frozen Redis. Healthy, an answer takes under 1 ms;
# shorter would take a slow fsync for an outage, longer would hold up every other hint. Seconds.
BROKER_TIMEOUT = 2
# A sweep older than this is dropped unrun, so that an hour without workers is not followed by 3,600 sweeps at once.
# Not shorter: the worker compares beat's clock with its own, and clocks of two machines may be seconds apart.
SWEEP_EXPIRES = 10
PRUNE_EXPIRES = 60


def _broker_url(url: str) -> str:
    """kombu's spelling of a Unix socket; redis:// and rediss:// are the same here as there."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"


# Broker
broker_url = _broker_url(settings.load_or_exit().redis_url)
broker_transport_options = {
    # Without it a frozen Redis blocks a publisher for ever.
    "socket_timeout": BROKER_TIMEOUT,
    "socket_connect_timeout": BROKER_TIMEOUT,
    # One try: kombu would otherwise try again until `broker_connection_timeout` is over and double the wait.
    "max_retries": 0,
    # A half-open link is found after brpop's 1 s and twice this. The default, 25, leaves a worker deaf for 51 s.
    "health_check_interval": 5,
    # Redis knows no acks; kombu emulates them by more commands for each message. When these fail (Redis frozen, then
    # killed) kombu counts the messages as held for ever, and a worker with all its slots held is deaf until restarted.
    # A hint needs no ack, so a pop is final: nothing is redelivered, and a message costs 0.4 ms of CPU, not 1.2.
    "ack_emulation": False,
    # Hints have no priorities: a queue is one list in Redis, not four, and each wait for a hint names 5 keys, not 20.
    "priority_steps": [0],
}
broker_connection_timeout = BROKER_TIMEOUT
# A worker or beat that starts before Redis, or outlives it, goes on trying for ever: no one has to start it again.
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Also what Redis refuses passes: it is a replica for a while, has no memory left, or gets another password.
broker_channel_error_retry = True
worker_consumer = "tasks.consumer:PatientConsumer"

# Messages
task_serializer = "json"
accept_content = ["json"]
# No one reads a result: what came of a task stands in its row.
result_backend = None
task_ignore_result = True
# A failed publish is not tried again: the sweep finds the row, and the publisher is free for the next hint.
task_publish_retry = False
# Early: the row's lease says who works on what, and redelivery is the sweep's business.
task_acks_late = False

# Queues: each can be given its own workers (docs/operations.md).
task_default_queue = "maintenance"
task_queues: dict[str, dict[str, str]] = {
    name: {} for name in ("decisions", "sagas", "webhooks", "notifications", "maintenance")
}
task_create_missing_queues = False  # a mistyped queue is an error here, not a queue that nobody reads
task_routes = {
    "tasks.webhooks.*": {"queue": "webhooks"},
    "tasks.sagas.*": {"queue": "sagas"},
    "tasks.decisions.*": {"queue": "decisions"},
    "tasks.notifications.*": {"queue": "notifications"},
    "tasks.maintenance.*": {"queue": "maintenance"},
}

# Worker. Threads, because tasks wait for receivers and PostgreSQL: webhooks/s 201 in one process of 44 MB against 69 in
# prefork-4's 133 MB and 126 in prefork-8's 234 MB, at half the CPU each. One process can spend about 1,000 hints a
# second of CPU, so more cores are used by more workers. Threads have no time limits: a task bounds its own I/O.
worker_pool = "threads"
# 24 for tool calls, 24 for webhooks, 4 for messages, and 8 that nothing outside ever holds up (`tasks/slots.py`). Most
# of them wait; of those that have work more than 32 would wait for the GIL.
worker_concurrency = 60
# The least there is. What finds no place is not waited with: its hint ends, and the next one has its turn.
worker_prefetch_multiplier = 1
# No soft shutdown: told TERM a worker ends when what it holds is done. The soft one sleeps its whole timeout even when
# nothing is left to do (6.3 s for a task of 2 s), and cannot end a thread after it. Who cannot wait must kill the
# worker; the leases of what it was doing run out.
worker_soft_shutdown_timeout = 0.0
# Nobody controls workers over Redis: liveness is a row that the sweep stamps. Saves a subscription per worker.
worker_enable_remote_control = False
worker_hijack_root_logger = False  # logs are JSON lines, set up by the application

# Beat. No task uses ETA or countdown: what is due later is a row with a due_at.
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
