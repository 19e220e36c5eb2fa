"""The review policy of a pause: who has to agree before it is approved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import Fault, Invalid, NotSupportedYet


@dataclass(frozen=True, slots=True)
class Review:
    approvals: int = 1

    def document(self) -> dict[str, Any]:
        return {"approvals": self.approvals}


ONE_APPROVAL = Review()


def parse(value: Mapping[str, Any] | None) -> Review:
    """Raises `Invalid` for what can mean nothing, `NotSupportedYet` for what this version does not do."""
    if value is None:
        return ONE_APPROVAL
    for name in value:
        if name != "approvals":
            raise NotSupportedYet([Fault(f"review.{name}", 'is not supported yet: only {"approvals": 1} is')])
    approvals = value.get("approvals", 1)
    if not isinstance(approvals, int) or isinstance(approvals, bool) or approvals < 1:
        raise Invalid([Fault("review.approvals", "is not a whole number from 1 up")])
    if approvals != 1:
        raise NotSupportedYet([Fault("review.approvals", "is not supported yet for more than 1")])
    return ONE_APPROVAL
