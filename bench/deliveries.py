"""Webhooks that an otherwise idle worker delivers per second."""

import time

from bench.load import drive
from bench.receiver import Receiver
from bench.subject import Subject

# A worker sends at most ten messages at once to a receiver; two receivers keep all of its threads busy.
RECEIVERS = 2
CLIENTS = 16
SLOWEST = 60.0
# The load ends with the decisions, not after a time.
UNBOUNDED = 60.0


def drained(subject: Subject, number: int) -> float:
    """Decide this many pauses at once, and measure the rate from the last decision to the last webhook."""
    with Receiver() as one, Receiver() as other:
        receivers = (one, other)
        decided = [watch_id for receiver in receivers for watch_id in subject.park(number // RECEIVERS, receiver.url)]
        drive(subject.server, CLIENTS, subject.approvals(decided), UNBOUNDED, warm_up=0)
        began = time.perf_counter()
        for receiver in receivers:
            receiver.wait_for_all(number // RECEIVERS, SLOWEST)
        after = [at for receiver in receivers for at in receiver.arrivals if at > began]
    return len(after) / (max(after) - began)
