"""The approval cycle, the same for every system."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from bench.latency import to_waiter
from bench.load import drive, quantile
from bench.peers.clients import Clients, Event, deadline
from bench.peers.systems import ONE, THREE, Ours, System, tokens
from bench.scale import TARGET_CLIENTS

# Longer than anything takes that is not lost. Seconds.
LOST_AFTER = 120.0
# Decisions each second in the paced measurement, and the seconds from a start to its decision.
PACE, LAG = 50, 1.0
MANY_IN_FLIGHT = 64
# Wait of one turn: events and answers end it, so it only bounds the look-ups of held steps. Seconds.
TURN = 0.001
# Decided of those that were held while everything was killed.
AFTER_RESTART = 50


@dataclass(frozen=True)
class Size:
    """How long each part takes: seconds of a rate, samples of a latency, and the worker processes of the scale-out."""

    seconds: float
    warm_up: float
    samples: int
    paced_seconds: float
    workers: tuple[int, ...]


FULL = Size(seconds=4.0, warm_up=0.5, samples=150, paced_seconds=8.0, workers=(1, 2, 4))
# The same code and figures, too brief to be meaningful, for the test of the harness.
QUICK = Size(seconds=0.4, warm_up=0.1, samples=5, paced_seconds=0.5, workers=(1,))


@dataclass
class Found:
    """One round of one system: rates per second, latencies in milliseconds, CPU in milliseconds a saga by group."""

    figures: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)


def measure(system: System, size: Size, held: int) -> Found:
    """Run the whole cycle once on a started system."""
    found = Found()
    in_flight(system, 4, size.warm_up)  # the first ones open connections and start the tool server
    latencies = unloaded(system, size.samples)
    found.figures |= {"next_p50": quantile(latencies, 0.5), "next_p99": quantile(latencies, 0.99)}
    found.figures |= creates_and_decides(system, size)
    if isinstance(system, Ours):
        found.figures["agent_p50"] = quantile(to_waiter(system.subject, size.samples), 0.5)
    latencies = paced(system, PACE, size.paced_seconds)
    found.figures |= {"paced_p50": quantile(latencies, 0.5), "paced_p99": quantile(latencies, 0.99)}
    for number in (TARGET_CLIENTS, MANY_IN_FLIGHT):
        rate, cpu = in_flight(system, number, size.seconds)
        found.figures[f"saga_{number}"] = rate
        found.cpu[f"{number} in flight"] = cpu
    if held:
        found.figures |= restart(system, held)
    if isinstance(system, Ours):
        for number in size.workers:
            while len(system.stack.names("worker")) < number:
                system.stack.add("worker")
            in_flight(system, MANY_IN_FLIGHT, size.warm_up)  # a new worker is ready when sagas get through it
            rate, cpu = in_flight(system, MANY_IN_FLIGHT, size.seconds)
            found.figures[f"workers_{number}"] = rate
            found.cpu[f"{number} workers"] = cpu
    return found


def creates_and_decides(system: System, size: Size) -> dict[str, float]:
    """Measure both with 16 clients. A decision counts when it is answered; what follows it may come later."""
    made = []

    def creations() -> Iterable[bytes]:
        for token in tokens("c"):
            made.append(token)
            yield system.pause(token)

    created = drive(system.server, TARGET_CLIENTS, iter(creations()), size.seconds, size.warm_up)
    number = int(created.rate * size.seconds) + 100
    holds = system.held_pauses(number)
    if holds is None:
        holds = list(_await(system, "held", made).values())
    requests = iter([system.decision(event) for event in holds])
    decided = drive(system.server, TARGET_CLIENTS, requests, size.seconds, 0.0)
    return {"create": created.rate, "decide": decided.rate}


def unloaded(system: System, samples: int) -> list[float]:
    """Measure one at a time, from sending the decision to the continuation's first line. Seconds."""
    found = []
    with Clients(system.server, 1, system.told) as clients:
        for token, _ in zip(tokens("u"), range(samples), strict=False):
            clients.send(system.start(ONE, token), lambda body, token=token: system.started(token, body))
            held = _await(system, "held", [token], clients)[token]
            sent = time.monotonic()
            clients.send(system.decision(held))
            found.append(_await(system, "resumed", [token], clients)[token].at - sent)
    return found


def paced(system: System, rate: int, seconds: float) -> list[float]:
    """Measure the same at `rate` starts and decisions a second, from when each decision is due."""
    number, gives = int(rate * seconds), tokens("p")
    began = time.monotonic()
    due: deque[tuple[float, str]] = deque()
    held: dict[str, Event] = {}
    sent: dict[str, float] = {}
    resumed: dict[str, float] = {}
    started = 0
    in_time = deadline(seconds + LAG + LOST_AFTER, f"not all of {number} went on")
    with Clients(system.server, TARGET_CLIENTS * 2, system.told) as clients:
        while len(resumed) < number:
            in_time()
            now = time.monotonic()
            while started < number and now >= began + started / rate:
                token = next(gives)
                clients.send(system.start(ONE, token), lambda body, token=token: system.started(token, body))
                due.append((began + started / rate + LAG, token))
                started += 1
            while due and now >= due[0][0] and due[0][1] in held:
                at, token = due.popleft()
                sent[token] = max(at, held[token].at)
                clients.send(system.decision(held[token]))
            clients.turn(TURN)
            for event in system.events():
                if event.kind == "held":
                    held[event.token] = event
                elif event.kind == "resumed" and event.token in sent:
                    resumed[event.token] = event.at
    return [at - sent[token] for token, at in resumed.items()]


def in_flight(system: System, number: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Return sagas of three steps per second, decided as soon as they are held, and CPU milliseconds of each."""
    gives, running, done = tokens("s"), set(), 0
    before = cpu_seconds(system.pids())
    began = last = time.monotonic()
    in_time = deadline(seconds + LOST_AFTER, "not all sagas ended")
    with Clients(system.server, number, system.told) as clients:
        while running or time.monotonic() < began + seconds:
            in_time()
            while len(running) < number and time.monotonic() < began + seconds:
                token = next(gives)
                running.add(token)
                clients.send(system.start(THREE, token), lambda body, token=token: system.started(token, body))
            clients.turn(TURN)
            for event in system.events():
                if event.kind == "held" and event.token in running:
                    clients.send(system.decision(event))
                elif event.kind == "done" and event.token in running:
                    running.remove(event.token)
                    done, last = done + 1, event.at
    after = cpu_seconds(system.pids())
    return done / (last - began), {name: 1000 * (after[name] - before[name]) / done for name in after}


def restart(system: System, number: int) -> dict[str, float]:
    """Hold `number`, kill -9 all processes but PostgreSQL and Redis, restart, and decide some at once. Seconds."""
    wanted = [token for token, _ in zip(tokens("k"), range(number), strict=False)]
    with Clients(system.server, TARGET_CLIENTS, system.told) as clients:
        for token in wanted:
            clients.send(system.start(ONE, token), lambda body, token=token: system.started(token, body))
        held = _await(system, "held", wanted, clients)
    killed = time.monotonic()
    system.kill_and_restart()
    up = time.monotonic()
    picked = wanted[:: max(1, number // AFTER_RESTART)][:AFTER_RESTART]
    with Clients(system.server, 4, system.told) as clients:
        for token in picked:
            clients.send(system.decision(held[token]))
        resumed = _await(system, "resumed", picked, clients)
    return {
        "restart_up": 1000 * (up - killed),
        "restart_p50": quantile([event.at - up for event in resumed.values()], 0.5),
    }


def cpu_seconds(groups: Mapping[str, list[int]]) -> dict[str, float]:
    """Return the CPU seconds of each group's processes and their children, ended ones included."""
    return {name: sum(map(_cpu_of_tree, pids)) for name, pids in groups.items()}


def _cpu_of_tree(pid: int) -> float:
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _await(system: System, kind: str, wanted: list[str], clients: Clients | None = None) -> dict[str, Event]:
    missing, found = set(wanted), {}
    in_time = deadline(LOST_AFTER, f"not all of {len(wanted)} were {kind}")
    while missing:
        in_time()
        if clients is None:
            time.sleep(TURN)
        else:
            clients.turn(TURN)
        for event in system.events():
            if event.kind == kind and event.token in missing:
                missing.remove(event.token)
                found[event.token] = event
    return found
