"""The interface of a callback's format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from domain.pauses.pause import Pause


def no_headers(_body: str, _secrets: Sequence[str]) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class CallbackFormat:
    """A body and its signature.

    Attributes:
        document: return the body for a resolved pause, the server's public URL, and whether its approval is valid. An
            approval that is not must not look like one: it is too late, or something else has used it.
        headers: return the headers that sign the body. The secrets are those of the namespace (`whsec_…`), the newest
            first; for a day after a rotation there are two.
        method: the method of the request.
        media_type: the `Content-Type` of the body.
        needs_token: the request has the token of its pause as `Authorization: Bearer`.
        is_result: False for a report that the decision is pending. It uses no approval, and is sent only once.
    """

    document: Callable[[Pause, str, bool], Any]
    headers: Callable[[str, Sequence[str]], dict[str, str]] = no_headers
    method: str = "POST"
    media_type: str = "application/json"
    needs_token: bool = False
    is_result: bool = True
