"""The measurements of sagas, which follow those of pauses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench import memory
from bench.load import Load, one_at_a_time
from bench.report import Figure, Target, latency, rate
from bench.sagas import MODEL_REQUESTS, SHAPES, Sagas
from bench.scale import Scale
from bench.subject import Subject

# The value of the target.
IN_FLIGHT = 16
TARGET_SHAPE = "three steps, one held"
# Models that one worker waits for at once.
MANY_MODELS = 64
ONE_WORKER = "1 worker process"


class SagaBench:
    """The measurements of sagas; `run` returns figures and targets.

    `empty` and `insert` are the floors at one client and at 16.
    """

    def __init__(
        self,
        scale: Scale,
        subject: Subject,
        empty: dict[int, Load],
        insert: dict[int, Load],
        say: Callable[[str], None],
    ) -> None:
        self._scale, self._subject, self._say = scale, subject, say
        self._empty, self._insert = empty, insert
        self._figures: list[Figure] = []
        self._targets: list[Target] = []

    def run(self) -> tuple[list[Figure], list[Target]]:
        with Sagas(self._subject) as sagas:
            self._latencies(sagas)
            self._rates(sagas, {"": ONE_WORKER})
            with self._second_worker():
                self._rates(sagas, {"": "2 worker processes"})
            self._requests(sagas)
            self._parked(sagas)
            sagas.forget()
        return self._figures, self._targets

    def _latencies(self, sagas: Sagas) -> None:
        self._say("sagas, one at a time")
        sagas.unloaded(3)  # the first ones start the tool server
        found = sagas.unloaded(self._scale.saga_samples)
        for name, samples in (
            ("saga: start → held", found.held),
            ("saga: decision → next tool call", found.next_call),
            ("saga: decision → completed", found.completed),
        ):
            load = one_at_a_time(samples)
            self._figures.append(latency(name, load, {"": "unloaded"}, self._empty[1], self._insert[1]))
        load = one_at_a_time(found.next_call)
        self._targets += [
            Target("decision → saga's next tool call, unloaded p50", load.p50, 15, 6, "ms"),
            Target("decision → saga's next tool call, unloaded p99", load.p99, 40, 15, "ms"),
        ]

    def _rates(self, sagas: Sagas, at: dict[str, str]) -> None:
        for shape in SHAPES:
            self._say(f"sagas of {shape}, {at['']}")
            found = sagas.rate(shape, IN_FLIGHT, self._scale.saga_seconds, self._scale.warm_up)
            self._figures.append(self._per_second(f"saga: {shape}", found, at))
            if shape == TARGET_SHAPE and at[""] == ONE_WORKER:
                told = f"sagas of {shape}, {IN_FLIGHT} in flight"
                self._targets.append(Target(told, found, 60, 200, "/s", more_is_better=True))

    def _requests(self, sagas: Sagas) -> None:
        self._say("reason steps")
        sagas.requests(3)  # the first one loads the library
        load = one_at_a_time(sagas.requests(self._scale.saga_samples))
        at = {"": "mock, unloaded"}
        self._figures.append(latency("saga: one reason step", load, at, self._empty[1], self._insert[1]))
        for shape, in_flight in zip(MODEL_REQUESTS, (IN_FLIGHT, MANY_MODELS), strict=True):
            found = sagas.rate(shape, in_flight, self._scale.saga_seconds, self._scale.warm_up)
            self._figures.append(self._per_second(f"saga: {shape}", found, {"": f"mock, {in_flight} in flight"}))
        size = memory.of_stack(self._subject.stack)["worker"]
        self._targets.append(Target(f"worker after {MANY_MODELS} models at once, memory", size, 600, 200, "MiB"))

    def _parked(self, sagas: Sagas) -> None:
        number = self._scale.parked_sagas
        self._say(f"the same with {number:,} sagas held")
        size = sagas.park(number) / number
        self._rates(sagas, {"": f"1 worker process, {number:,} held"})
        self._figures.append(Figure("saga: bytes per held one", "B", size))
        self._targets.append(Target("bytes per held saga", size, 8_000, 4_000, "B"))
        listed = sagas.pending_review(self._scale.saga_seconds / 2, self._scale.warm_up)
        self._figures.append(rate("saga: pending-review", listed, {"held": number}, self._empty[1], self._insert[1]))

    def _per_second(self, name: str, found: float, at: dict[str, str]) -> Figure:
        floors = found / self._empty[IN_FLIGHT].rate, found / self._insert[IN_FLIGHT].rate
        return Figure(name, "/s", found, at, None, None, *floors)

    @contextmanager
    def _second_worker(self) -> Iterator[None]:
        name = self._subject.stack.add("worker")
        try:
            yield
        finally:
            self._subject.stack.stop_process(name)
