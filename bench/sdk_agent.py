"""An agent of the Python SDK, a process of its own: `python -m bench.sdk_agent NUMBER`. See `bench.round_trips`."""

import sys
import time

from sagahold import Client

from bench.subject import ACTION, CONTEXT_DOCUMENT


def main() -> None:
    with Client() as client:
        for _ in range(int(sys.argv[1])):
            began = time.perf_counter()
            pause = client.request(ACTION, context=CONTEXT_DOCUMENT)
            print("asks", pause.watch_id, flush=True)
            used = client.consume(client.wait(pause))
            client.outcome(used, "succeeded")
            print("took", time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
