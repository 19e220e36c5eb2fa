"""Hold an AI agent's risky action until a person has approved it, then run exactly what was approved, once."""

from sagahold.approval import require_approval
from sagahold.client import AsyncClient, Client
from sagahold.errors import (
    AlreadyUsed,
    ApprovalExpired,
    ArgumentsChanged,
    Cancelled,
    Expired,
    NotApproved,
    NotReachable,
    Rejected,
    RequestError,
    SagaholdError,
    StillPending,
    UnexpectedResponse,
)
from sagahold.events import Event
from sagahold.pauses import Decision, Outcome, Pause

__version__ = "0.1.0"
__all__ = [
    "AlreadyUsed",
    "ApprovalExpired",
    "ArgumentsChanged",
    "AsyncClient",
    "Cancelled",
    "Client",
    "Decision",
    "Event",
    "Expired",
    "NotApproved",
    "NotReachable",
    "Outcome",
    "Pause",
    "Rejected",
    "RequestError",
    "SagaholdError",
    "StillPending",
    "UnexpectedResponse",
    "require_approval",
]
