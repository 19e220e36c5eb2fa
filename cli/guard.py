"""Limit a process in time, so that nothing outlasts it: no name server that hangs, and no body that never ends."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def end_after(seconds: float, end: Callable[[int], NoReturn]) -> None:
    """Call `end` with SIGALRM after the seconds, or with the signal that asks the process to end.

    The handler calls it, and raises nothing: an exception could reach code that is handling another one.
    """

    def handle(number: int, frame: FrameType | None) -> NoReturn:
        for other in (signal.SIGALRM, *SIGNALS):
            signal.signal(other, signal.SIG_IGN)
        end(number)

    for number in (signal.SIGALRM, *SIGNALS):
        signal.signal(number, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def in_thread(work: Callable[[], T]) -> T:
    """Return what the work returns, or raise what it raises.

    The main thread waits meanwhile, because a handler would wait for a system call such as a name look-up.
    """
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # the main thread raises it
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True).start()
    done.wait()
    if errors:
        raise errors[0]
    return results[0]


def stop() -> None:
    """Take the limit and the handlers back."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGALRM, *SIGNALS):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
