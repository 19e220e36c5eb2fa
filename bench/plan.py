"""The order of the measurements. Compared figures are measured within seconds of each other."""

from collections import defaultdict
from collections.abc import Callable
from itertools import repeat
from statistics import median

from bench import memory, report
from bench.deliveries import drained
from bench.floor import EmptyRoute, RawInserts
from bench.latency import to_waiter, to_webhook
from bench.load import Load, drive, middle, one_at_a_time
from bench.parked import parked
from bench.report import Figure, Target
from bench.round_trips import CLIENTS as CLIENTS_OF_DOORS
from bench.round_trips import round_trips
from bench.saga_plan import SagaBench
from bench.scale import CLIENTS, TARGET_CLIENTS, Scale
from bench.subject import Subject
from bench.waiting import held

# Pauses for a closed loop of decisions. If they run out, the loop ends early and the rate is still valid.
DECISIONS_PER_SECOND = 2_000


class Bench:
    """The measurements of pauses; `run` fills `figures` and `targets`."""

    def __init__(
        self, scale: Scale, subject: Subject, floor: EmptyRoute, inserts: RawInserts, say: Callable[[str], None]
    ) -> None:
        self.figures: list[Figure] = []
        self.targets: list[Target] = []
        self._scale = scale
        self._subject = subject
        self._floor = floor
        self._inserts = inserts
        self._say = say

    def run(self) -> None:
        self._throughput()
        self._memory("after load")
        self._latencies()
        self._round_trips()
        self._deliveries()
        self._parked()
        self._waiting()
        self._sagas()

    def _throughput(self) -> None:
        found: dict[tuple[str, int], list[Load]] = defaultdict(list)
        for number in range(self._scale.rounds):
            self._say(f"rates, round {number + 1} of {self._scale.rounds}")
            self._subject.forget_pauses()
            for clients in CLIENTS:
                for name, load in self._rates(clients).items():
                    found[name, clients].append(load)
        loads = {key: middle(rounds) for key, rounds in found.items()}
        self._empty = {clients: loads["floor: empty Flask route", clients] for clients in CLIENTS}
        self._insert = {clients: loads["floor: raw INSERT+COMMIT", clients] for clients in CLIENTS}
        for name in dict.fromkeys(name for name, _ in loads):
            for clients in CLIENTS:
                floors = self._empty[clients], self._insert[clients]
                self.figures.append(report.rate(name, loads[name, clients], {"clients": clients}, *floors))
        create = loads["create a pause", TARGET_CLIENTS].rate
        vs_empty, vs_insert = create / self._empty[TARGET_CLIENTS].rate, create / self._insert[TARGET_CLIENTS].rate
        at = f"{TARGET_CLIENTS} clients"
        self.targets += [
            Target(f"create, {at}, vs the empty route", vs_empty, 0.20, 0.35, "×", more_is_better=True),
            Target(f"create, {at}, vs raw INSERT+COMMIT", vs_insert, 0.15, 0.25, "×", more_is_better=True),
        ]

    def _rates(self, clients: int) -> dict[str, Load]:
        subject, scale = self._subject, self._scale
        times = scale.seconds, scale.warm_up
        return {
            "floor: empty Flask route": drive(
                self._floor.server, clients, repeat(self._floor.server.request("GET", "/")), *times
            ),
            "floor: raw INSERT+COMMIT": self._inserts.measure(clients, *times),
            "create a pause": drive(subject.server, clients, subject.creations(), *times),
            "decide a pause": self._decide(clients, *times),
        }

    def _decide(self, clients: int, seconds: float, warm_up: float) -> Load:
        watch_ids = self._subject.park(int(DECISIONS_PER_SECOND * (seconds + warm_up)))
        return drive(self._subject.server, clients, self._subject.approvals(watch_ids), seconds, warm_up)

    def _latencies(self) -> None:
        found: dict[str, list[float]] = defaultdict(list)
        for number in range(self._scale.rounds):
            self._say(f"unloaded latencies, round {number + 1} of {self._scale.rounds}")
            found["decision → waiting agent"] += to_waiter(self._subject, self._scale.samples)
            found["decision → webhook received"] += to_webhook(self._subject, self._scale.samples)
        for (name, samples), must, aim in zip(found.items(), (10, 25), (4, 10), strict=True):
            load = one_at_a_time(samples)
            self.figures.append(report.latency(name, load, {"": "unloaded"}, self._empty[1], self._insert[1]))
            self.targets.append(Target(f"{name}, unloaded p50", load.p50, must, aim, "ms"))

    def _round_trips(self) -> None:
        for name, module in CLIENTS_OF_DOORS.items():
            self._say(f"round trips: {name}")
            load = one_at_a_time(round_trips(self._subject, module, self._scale.round_trips))
            self.figures.append(report.latency(name, load, {"": "unloaded"}, self._empty[1], self._insert[1]))

    def _deliveries(self) -> None:
        self._say("webhook deliveries")
        rate = median(drained(self._subject, self._scale.deliveries) for _ in range(self._scale.rounds))
        floors = rate / self._empty[TARGET_CLIENTS].rate, rate / self._insert[TARGET_CLIENTS].rate
        at = {"": "one worker process"}
        self.figures.append(Figure("webhook deliveries", "/s", rate, at, None, None, *floors))

    def _parked(self) -> None:
        scale, empty, insert = self._scale, self._empty[1], self._insert[1]
        self._say(f"the same with up to {scale.parked[-1]:,} parked")
        raw_bytes = self._inserts.row_bytes()
        found = parked(self._subject, scale.parked, scale.parked_seconds, scale.warm_up, scale.rounds)
        for name, loads in found.loads.items():
            for level, load in loads.items():
                self.figures.append(report.rate(f"{name}, 1 client", load, {"parked": level}, empty, insert))
        ratio = found.bytes_each / raw_bytes
        self.figures.append(Figure("bytes per parked pause", "B", found.bytes_each, {}, vs_insert=ratio))
        for name in ("create", "decide"):
            told = f"{name} p50, {scale.parked[-1]:,} parked vs none"
            self.targets.append(Target(told, found.slowdown[name], 1.2, 1.05, "×"))
        self.targets.append(Target("bytes per parked pause", found.bytes_each, 2_500, 1_200, "B"))

    def _memory(self, when: str) -> None:
        floor = memory.of_tree(self._floor.pid)
        self.figures.append(Figure("memory (PSS)", "MiB", floor, {"": f"floor: empty Flask app, {when}"}))
        for name, size in memory.of_stack(self._subject.stack).items():
            at = {"": f"{name}, {when}"}
            self.figures.append(Figure("memory (PSS)", "MiB", size, at, vs_empty_route=size / floor))

    def _waiting(self) -> None:
        self._say(f"{self._scale.waiters:,} agents waiting")
        found = held(self._subject, self._scale.waiters, self._scale.seconds)
        name = f"{found.waiters:,} agents waiting"
        others = report.rate(name, found.others, {"": "create meanwhile, 1 client"}, self._empty[1], self._insert[1])
        self.figures += [
            Figure(name, "MiB", found.memory, {"": "memory (PSS) of web"}),
            Figure(name, "", found.threads, {"": "threads of web"}),
            Figure(name, "", found.connections, {"": "database connections open"}),
            Figure(name, "", found.active_connections, {"": "database connections at work"}),
            others,
            Figure(name, "s", found.all_answered, {"": "first decision → all answered"}),
        ]
        told = "agents waiting on one web process"
        self.targets.append(Target(told, found.waiters, self._scale.waiters, 10_000, "", more_is_better=True))

    def _sagas(self) -> None:
        sagas = SagaBench(self._scale, self._subject, self._empty, self._insert, self._say)
        figures, targets = sagas.run()
        self.figures += figures
        self.targets += targets
