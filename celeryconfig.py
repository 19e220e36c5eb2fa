"""Celery's settings, each with its reason. A message is only a hint that a row may be due: losing one costs a second.

Figures: docs/adr/0003 (acks), 0004 (pins), 0006 (pool); `tests/faults/test_broker_soak.py` guards the behaviour.
"""

from urllib.parse import parse_qs, urlsplit

from kombu import Queue

import settings

# Longest that a publisher, beat or the consumer's loop waits for a frozen Redis. Healthy, an answer takes under 1 ms;
# shorter would take a slow fsync for an outage, longer would hold up every other hint. Seconds.
BROKER_TIMEOUT = 2
# A sweep older than this is dropped unrun, so that an hour without workers is not followed by 3,600 sweeps at once.
# Not shorter: the worker compares beat's clock with its own, and clocks of two machines may be seconds apart.
SWEEP_EXPIRES = 10
PRUNE_EXPIRES = 600


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
    # Redis knows no acks; kombu emulates them with three more commands a message. When these fail (Redis frozen, then
    # killed) kombu counts the messages as held for ever, and a worker with all its slots held is deaf until restarted.
    # A hint needs no ack, so a pop is final; nothing is redelivered, and the worker spends less on each message.
    "ack_emulation": False,
}
broker_connection_timeout = BROKER_TIMEOUT
# A worker or beat that starts before Redis, or outlives it, goes on trying for ever: no one has to start it again.
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# Messages
task_serializer = "json"
accept_content = ["json"]
# No one reads a result: what came of a task stands in its row.
result_backend = None
task_ignore_result = True
# A failed publish is not tried again: the sweep finds the row, and the publisher is free for the next hint.
task_publish_retry = False
# Early: redelivery is the sweep's business, and late acks make a worker exit when Redis goes away (Celery 5.7.0).
task_acks_late = False

# Queues: each can be given its own workers (docs/operations.md).
task_default_queue = "maintenance"
task_queues = [Queue(name) for name in ("decisions", "sagas", "webhooks", "notifications", "maintenance")]
task_create_missing_queues = False  # a mistyped queue is an error here, not a queue that nobody reads
task_routes = {"tasks.webhooks.*": {"queue": "webhooks"}, "tasks.maintenance.*": {"queue": "maintenance"}}

# Worker
worker_pool = "threads"
worker_concurrency = 16
worker_prefetch_multiplier = 1
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
    "prune": {"task": "tasks.maintenance.prune", "schedule": 3600.0, "options": {"expires": PRUNE_EXPIRES}},
}
