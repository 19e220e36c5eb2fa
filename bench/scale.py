"""How long and how often each thing is measured."""

from dataclasses import dataclass

CLIENTS = (1, 8, 16, 32)
# What the targets compare.
TARGET_CLIENTS = 16


@dataclass(frozen=True)
class Scale:
    """
    Attributes:
        rounds: each figure is the median of so many; what is compared is measured next to each other in each round.
        seconds, warm_up: one point of a closed loop; what is answered during the warm-up does not count.
        samples: unloaded latencies, one at a time, in each round.
        parked: pauses that wait while others are made and decided.
        parked_seconds: one point with so many parked.
        deliveries: webhooks that the workers drain.
        waiters: requests held at once.
        saga_samples: sagas one at a time. saga_seconds: one point of sagas a second. parked_sagas: held meanwhile.
    """

    rounds: int
    seconds: float
    warm_up: float
    samples: int
    parked: tuple[int, ...]
    parked_seconds: float
    deliveries: int
    waiters: int
    saga_samples: int
    saga_seconds: float
    parked_sagas: int


FULL = Scale(
    rounds=3,
    seconds=3.0,
    warm_up=0.5,
    samples=80,
    parked=(0, 10_000, 200_000),
    parked_seconds=2.0,
    deliveries=1_000,
    waiters=1_000,
    saga_samples=100,
    saga_seconds=6.0,
    parked_sagas=10_000,
)
# The same code and the same figures, too short to mean anything: for the test that the bench works.
QUICK = Scale(
    rounds=1,
    seconds=0.3,
    warm_up=0.1,
    samples=10,
    parked=(0, 100, 2_000),
    parked_seconds=0.3,
    deliveries=50,
    waiters=50,
    saga_samples=3,
    saga_seconds=1.5,
    parked_sagas=50,
)
