"""Formats of callbacks for the receivers of other products, by their names in `Pause.callback_format`.

A door sets the format of its pauses. Each attempt also has the headers of a Standard Webhook. Endpoints that subscribe
to events get Standard Webhooks always.
"""

from collections.abc import Mapping
from types import MappingProxyType

from domain.pauses.callbacks import gotohuman
from domain.pauses.callbacks.callback_format import CallbackFormat

FORMATS: Mapping[str, CallbackFormat] = MappingProxyType({"gotohuman": gotohuman.FORMAT})
