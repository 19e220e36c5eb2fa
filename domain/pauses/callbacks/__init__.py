"""Formats of callbacks for the receivers of other products, by their names in `Pause.callback_format`.

A door sets the format of its pauses. Each attempt also has the headers of a Standard Webhook. Endpoints that subscribe
to events get Standard Webhooks always.
"""

from collections.abc import Mapping
from types import MappingProxyType

from domain.pauses.callbacks import awaithumans, gotohuman, terraform
from domain.pauses.callbacks.callback_format import CallbackFormat

FORMATS: Mapping[str, CallbackFormat] = MappingProxyType(
    {
        "awaithumans": awaithumans.FORMAT,
        "gotohuman": gotohuman.FORMAT,
        "terraform": terraform.FORMAT,
        "terraform-progress": terraform.PROGRESS,
    }
)
# The format that tells a receiver about a pending decision, by the format of the result.
PROGRESS_FORMATS: Mapping[str, str] = MappingProxyType({"terraform": "terraform-progress"})
