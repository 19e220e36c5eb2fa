"""Whether the web process says that everything behind it works, and if not what is missing."""

import httpx

LOOK_SECONDS = 5.0
# Each look is a line in the web process's log.
PAUSE_SECONDS = 0.2
# Whose log tells most when `/readyz` says that a check failed.
WITNESSES = {
    "database": "postgres",
    "writable": "postgres",
    "migrations": "release",
    "broker": "redis",
    "workers": "worker",
    "beat": "beat",
}


class ReadinessProbe:
    """`/readyz`, asked again and again. `missing` tells what the last look found, `witness` whose log to read."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/readyz"
        self.missing = ""
        self.witness = ""

    def look(self) -> bool:
        self.witness = "web"
        try:
            # No proxy of the environment stands between a machine and itself.
            answer = httpx.get(self._url, timeout=LOOK_SECONDS, trust_env=False)
            if answer.status_code == httpx.codes.OK:
                return True
            checks = answer.json()["checks"]
        except httpx.HTTPError as error:
            self.missing = f"web does not answer ({type(error).__name__})"
        except (ValueError, KeyError):
            self.missing = f"web answers {answer.status_code}"
        else:
            failed = [name for name, good in checks.items() if not good]
            self.missing = f"{self._url} misses {', '.join(failed)}"
            self.witness = WITNESSES.get(failed[0], "web") if failed else "web"
        return False
