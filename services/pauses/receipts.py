"""The signed receipt of a decision, made on request and not stored."""

import random
from uuid import UUID

from sqlalchemy import func, select

from domain.identity.access import Principal
from domain.pauses.receipt import claims
from domain.values import ids
from domain.values.errors import ReceiptKeyUnavailable
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import get_pause
from services.pauses.receipt_keys import Signer, current_key


def issue_receipt(database: Database, signer: Signer, by: Principal, id_: UUID) -> str:
    """Return the receipt of the pause as it is now. Raise `NotFound`, `NotResolved`, `ReceiptKeyUnavailable`."""
    pause = get_pause(database, by, id_)
    with database.reading() as conn:
        now = conn.execute(select(func.clock_timestamp())).scalar_one()
    receipt_id = ids.text(ids.RECEIPT, ids.uuid7(now, random.getrandbits(62)))
    content = claims(pause, database.public_url, receipt_id, now)
    key = current_key(database, signer)
    try:
        return signer.sign(key, content)
    except ReceiptKeyUnavailable:
        # A rotation may just have deleted the key's file.
        newer = current_key(database, signer)
        if newer.kid == key.kid:
            raise
        return signer.sign(newer, content)
