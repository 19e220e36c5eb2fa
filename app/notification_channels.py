"""The check of a person's or group's notification channels before they are stored."""

from collections.abc import Sequence

from app.deps import deps
from domain.identity.person import channel_errors
from domain.values.errors import FieldError, Invalid


def check_channels(channels: Sequence[str] | None) -> None:
    """Raise `Invalid` for a channel that cannot be used. Call it outside a transaction: it resolves host names."""
    if channels is None:
        return
    field_errors = list(channel_errors(channels))
    if not field_errors:
        messages = [deps().channel_error(channel) for channel in channels]
        field_errors = [
            FieldError(f"channels[{number}]", message) for number, message in enumerate(messages) if message is not None
        ]
    if field_errors:
        raise Invalid(field_errors)
