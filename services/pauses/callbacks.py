"""Callbacks in the format of another product: made at each attempt, and they use the approval that they carry.

Such a product has no request by which its client uses an approval, so the callback does this before it is sent. After
the approval's validity an attempt says so instead, however long the receiver was away.
"""

from dataclasses import replace
from typing import Protocol
from uuid import UUID

from sqlalchemy import select

from domain.pauses.callbacks import FORMATS
from domain.pauses.execution import consume
from domain.pauses.pause import Pause, Status
from domain.pauses.validity import valid_until
from domain.values.canonical_json import encode
from domain.values.errors import ExecutionConflict
from models.callbacks import callback_tokens
from models.pauses import pause_of, pauses
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.execution import door_key, store_execution
from services.webhooks.worker import DeliveryJob


class CallbackNotMade(Exception):
    """This attempt has no body. The text is the reason, for an operator."""


class Decipher(Protocol):
    """The reader of stored tokens (`adapters.text_cipher`)."""

    def decrypt(self, stored: str) -> str: ...


def with_callback(database: Database, job: DeliveryJob, cipher: Decipher) -> DeliveryJob:
    """Return the job with the body and headers of its format; unchanged without a format. Raise `CallbackNotMade`."""
    if job.format is None:
        return job
    known = FORMATS.get(job.format)
    if known is None:
        raise CallbackNotMade(f"this release does not know the callback format {job.format!r}: upgrade it")
    with database.transaction() as uow:
        pause = _locked(uow, job.pause_id)
        headers = {"content-type": known.media_type}
        if known.needs_token:
            headers["authorization"] = f"Bearer {_token(uow, pause.id, cipher)}"
        usable = known.is_result and pause.status is Status.APPROVED
        valid = usable and _use(database, uow, pause, door_key(job.format))
    body = encode(known.document(pause, database.public_url, valid))
    return replace(job, body=body, headers=job.headers | headers | known.headers(body, job.secrets))


def _locked(uow: UnitOfWork, id_: UUID | None) -> Pause:
    query = select(pauses).where(pauses.c.id == id_).with_for_update(key_share=True)
    row = uow.conn.execute(query).mappings().one_or_none()
    if row is None:
        raise CallbackNotMade("the pause was deleted")
    return pause_of(row)


def _token(uow: UnitOfWork, id_: UUID, cipher: Decipher) -> str:
    stored = uow.conn.execute(select(callback_tokens.c.token).where(callback_tokens.c.pause_id == id_)).scalar()
    if stored is None:
        raise CallbackNotMade("the receiver's token is not stored yet: its next request brings it")
    try:
        return cipher.decrypt(stored)
    except ValueError as error:
        raise CallbackNotMade(str(error)) from None


def _use(database: Database, uow: UnitOfWork, pause: Pause, key: str) -> bool:
    """Use the approval, and return whether it is valid now and this key has used it."""
    until = valid_until(pause)
    if until is not None and until <= uow.now:
        return False
    try:
        used, events = consume(pause, key, None, uow.now)
    except ExecutionConflict:
        return False
    store_execution(database, uow, None, pause, used, events)
    return True
