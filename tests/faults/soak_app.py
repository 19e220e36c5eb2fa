"""A Celery application with the product's settings, queues and beat schedule; its tasks only write a line.

`python -m tests.faults.soak_app` is the publisher: for each number N on its input, it publishes N wake-ups.
"""

import itertools
import json
import os
import sys
import time

from celery import Celery

app = Celery("soak")
app.config_from_object("celeryconfig")

# Long enough that a burst fills every thread and leaves wake-ups waiting. Seconds.
WORK = 0.5


def note(**event: object) -> None:
    """One line by one write: the lines of several processes and threads do not mix."""
    line = json.dumps(event | {"at": time.time()}) + "\n"
    journal = os.open(os.environ["SOAK_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(journal, line.encode())
    finally:
        os.close(journal)


@app.task(name="tasks.webhooks.deliver")
def deliver(wakeup: int) -> None:
    note(event="started", wakeup=wakeup)
    time.sleep(WORK)


@app.task(name="tasks.maintenance.sweep_due")
def sweep_due() -> None:
    note(event="swept")


@app.task(name="tasks.maintenance.expire_pauses")
def expire_pauses(mark: str = "") -> None:
    if mark:
        note(event="marked", mark=mark)


@app.task(name="tasks.maintenance.prune")
def prune() -> None:
    note(event="pruned")


def publish() -> None:
    wakeups = itertools.count()
    for line in sys.stdin:
        for _ in range(int(line)):
            wakeup = next(wakeups)
            try:
                app.send_task("tasks.webhooks.deliver", (wakeup,))
            except Exception as error:
                note(event="refused", wakeup=wakeup, error=str(error))
            else:
                note(event="sent", wakeup=wakeup)


if __name__ == "__main__":
    publish()
