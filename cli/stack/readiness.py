"""Whether the web process says that everything behind it works, and if not what is missing."""

import httpx

LOOK_SECONDS = 5.0


class Readiness:
    """`/readyz`, asked again and again; `missing` tells what the last look found."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/readyz"
        self._faults: list[str] = ["web"]
        self.missing = "web does not answer"

    def look(self) -> bool:
        try:
            # No proxy of the environment stands between a machine and itself.
            answer = httpx.get(self._url, timeout=LOOK_SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            self.missing = f"web does not answer ({type(error).__name__})"
            return False
        if answer.status_code != httpx.codes.OK:
            self.missing = f"{self._url} answers {answer.status_code}: {answer.text[:300]}"
        return answer.status_code == httpx.codes.OK

    def blame(self, names: list[str]) -> str:
        return "web"
