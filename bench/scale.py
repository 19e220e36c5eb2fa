"""Duration and repetition of each measurement."""

from dataclasses import dataclass

CLIENTS = (1, 8, 16, 32)
# The number of clients in the targets.
TARGET_CLIENTS = 16


@dataclass(frozen=True)
class Scale:
    """The size of a run.

    Attributes:
        rounds: each figure is the median of this many rounds. Compared figures are adjacent in each round.
        seconds, warm_up: one point of a closed loop; responses during the warm-up do not count.
        samples: latencies without load, one at a time, in each round.
        round_trips: those of one client through its door, one at a time.
        parked: pauses that wait while others are created and decided.
        parked_seconds: one point with that many parked pauses.
        deliveries: webhooks that the workers deliver.
        waiters: long polls at the same time.
        saga_samples: sagas, one at a time.
        saga_seconds: one point of sagas per second.
        parked_sagas: held sagas during that.
    """

    rounds: int
    seconds: float
    warm_up: float
    samples: int
    round_trips: int
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
    round_trips=200,
    parked=(0, 10_000, 200_000),
    parked_seconds=2.0,
    deliveries=1_000,
    waiters=1_000,
    saga_samples=100,
    saga_seconds=6.0,
    parked_sagas=10_000,
)
# The same code and figures, too brief to be meaningful, for the test of the bench.
QUICK = Scale(
    rounds=1,
    seconds=0.3,
    warm_up=0.1,
    samples=10,
    round_trips=5,
    parked=(0, 100, 2_000),
    parked_seconds=0.3,
    deliveries=50,
    waiters=50,
    saga_samples=3,
    saga_seconds=1.5,
    parked_sagas=50,
)
