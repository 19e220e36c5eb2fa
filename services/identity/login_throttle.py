"""How often a sign-in may fail, and other things that tell too much when they are tried too often. Counted in the
database, as any number of web processes answer.

An attempt counts before it is judged, so that a hundred at the same moment are not a hundred guesses.
"""

import hashlib
from datetime import timedelta
from ipaddress import ip_address, ip_network
from math import ceil

from sqlalchemy import case, delete, func, update
from sqlalchemy.dialects.postgresql import insert

from domain.values.network import unmapped
from models.people import sign_in_failures
from services.kernel.unit_of_work import Database, UnitOfWork

# Ten guesses in a quarter of an hour are about a thousand a day: hopeless for a password of twelve characters, and
# enough for someone who tries every password that they know. Who is locked out gets in by a link meanwhile.
WINDOW = timedelta(minutes=15)
EMAIL_LIMIT = 10
# The longest window of all that is counted here.
LONGEST_WINDOW = timedelta(hours=1)
# An office behind one address has many people, each with a slip now and then.
ADDRESS_LIMIT = 50


class TooManyAttempts(Exception):
    """`retry_after`: seconds to wait."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"again in {retry_after} s")
        self.retry_after = retry_after


def count_attempt(database: Database, email: str, address: str | None) -> None:
    """Raises `TooManyAttempts`."""
    limits = {_email(email): EMAIL_LIMIT} | ({_address(address): ADDRESS_LIMIT} if address else {})
    waits = []
    with database.transaction() as uow:
        # Always the e-mail first: two attempts never wait for each other.
        for subject, limit in limits.items():
            failures, over_in = count(uow, subject, limit, WINDOW)
            if failures > limit:
                waits.append(over_in)
    if waits:
        raise TooManyAttempts(max(waits))


def count(uow: UnitOfWork, subject: str, limit: int, window: timedelta, more: int = 1) -> tuple[int, int]:
    """How many there are within the window with these `more`, and the seconds until it is over.

    Whoever counts the same subject waits until the transaction ends.
    """
    columns = sign_in_failures.c
    over = columns.since <= uow.now - window
    new = insert(sign_in_failures).values(subject=subject, failures=more, since=uow.now)
    counted = new.on_conflict_do_update(
        index_elements=["subject"],
        set_={
            "failures": case((over, more), else_=func.least(columns.failures + more, limit + 1)),
            "since": case((over, uow.now), else_=columns.since),
        },
    )
    row = uow.conn.execute(counted.returning(columns.failures, columns.since)).one()
    return row.failures, ceil((row.since + window - uow.now).total_seconds())


def forget_attempts(uow: UnitOfWork, email: str, address: str | None) -> None:
    """It was the right password: the e-mail's count is over, and this attempt was none of the address's failures."""
    columns = sign_in_failures.c
    uow.conn.execute(delete(sign_in_failures).where(columns.subject == _email(email)))
    if address:
        one_less = update(sign_in_failures).where(columns.subject == _address(address), columns.failures > 0)
        uow.conn.execute(one_less.values(failures=columns.failures - 1))


def _email(email: str) -> str:
    # A hash: people type their password into the wrong field.
    return "email:" + hashlib.sha256(email.encode("utf-8", "replace")).hexdigest()


def _address(address: str) -> str:
    """Of IPv6 the network: whoever has one address there has 2^64 of them."""
    try:
        ip = unmapped(ip_address(address))
    except ValueError:
        return f"address:{address}"
    return f"address:{ip}" if ip.version == 4 else f"address:{ip_network((ip, 64), strict=False)}"
