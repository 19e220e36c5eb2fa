"""Whether messages could be sent by the channels that a person or group is given: asked before they are stored."""

from collections.abc import Sequence

from app.deps import deps
from domain.identity.person import channel_errors
from domain.values.errors import FieldError, Invalid


def check_channels(channels: Sequence[str] | None) -> None:
    """Raises `Invalid`. Not within a transaction: names are looked up."""
    if channels is None:
        return
    field_errors = list(channel_errors(channels))
    if not field_errors:
        told = [(number, deps().channel_error(channel)) for number, channel in enumerate(channels)]
        field_errors = [
            FieldError(f"channels[{number}]", field_error) for number, field_error in told if field_error is not None
        ]
    if field_errors:
        raise Invalid(field_errors)
