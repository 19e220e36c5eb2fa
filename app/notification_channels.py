"""Whether messages could be sent by the channels that a person or group is given: asked before they are stored."""

from collections.abc import Sequence

from app.deps import deps
from domain.identity.person import channel_faults
from domain.values.errors import Fault, Invalid


def check_channels(channels: Sequence[str] | None) -> None:
    """Raises `Invalid`. Not within a transaction: names are looked up."""
    if channels is None:
        return
    faults = list(channel_faults(channels))
    if not faults:
        told = [(number, deps().channel_fault(channel)) for number, channel in enumerate(channels)]
        faults = [Fault(f"channels[{number}]", fault) for number, fault in told if fault is not None]
    if faults:
        raise Invalid(faults)
