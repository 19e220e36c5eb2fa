"""Readiness of the stack as the web process reports it."""

import httpx

TIMEOUT_SECONDS = 5.0
# Each probe writes a line to the web process's log.
PAUSE_SECONDS = 0.2
# The process with the most useful log for each failed check of `/readyz`.
WITNESSES = {
    "database": "postgres",
    "writable": "postgres",
    "migrations": "release",
    "broker": "redis",
    "workers": "worker",
    "beat": "beat",
}


class ReadinessProbe:
    """A probe of `/readyz`. After a failure, `missing` says why and `witness` names the process whose log to read."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/readyz"
        self.missing = ""
        self.witness = ""

    def look(self) -> bool:
        self.witness = "web"
        try:
            # Requests to this machine bypass a proxy that the environment names.
            answer = httpx.get(self._url, timeout=TIMEOUT_SECONDS, trust_env=False)
            if answer.status_code == httpx.codes.OK:
                return True
            checks = answer.json()["checks"]
        except httpx.HTTPError as error:
            self.missing = f"web does not answer ({type(error).__name__})"
        except (ValueError, KeyError):
            self.missing = f"web answers {answer.status_code}"
        else:
            failed = [name for name, good in checks.items() if not good]
            self.missing = f"{self._url} reports failed checks: {', '.join(failed)}"
            self.witness = WITNESSES.get(failed[0], "web") if failed else "web"
        return False
