"""Limits on failed sign-ins, and on other attempts that reveal something. The database counts for all web processes.

An attempt is counted before it is checked, so that simultaneous attempts are limited too.
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

# Ten guesses in 15 minutes are about a thousand a day. That finds no password of twelve characters, and lets a person
# try each password they know. A person who is locked out can sign in by a link.
WINDOW = timedelta(minutes=15)
EMAIL_LIMIT = 10
# The longest window of all counts in this table.
LONGEST_WINDOW = timedelta(hours=1)
# An office behind one address has many people, each with a slip now and then.
ADDRESS_LIMIT = 50


class TooManyAttempts(Exception):
    """Too many attempts. `retry_after`: seconds to wait."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts: try again in {retry_after} s")
        self.retry_after = retry_after


def count_attempt(database: Database, email: str, address: str | None) -> None:
    """Count an attempt to sign in. Raise `TooManyAttempts`."""
    limits = {_email(email): EMAIL_LIMIT} | ({_address(address): ADDRESS_LIMIT} if address else {})
    waits = []
    with database.transaction() as uow:
        # The e-mail address always comes first, so that two attempts cannot deadlock.
        for subject, limit in limits.items():
            failures, over_in = count(uow, subject, limit, WINDOW)
            if failures > limit:
                waits.append(over_in)
    if waits:
        raise TooManyAttempts(max(waits))


def count(uow: UnitOfWork, subject: str, limit: int, window: timedelta, more: int = 1) -> tuple[int, int]:
    """Add `more` to the subject's count. Return the count within the window, and the seconds until the window ends.

    Another transaction that counts the same subject waits until this one ends.
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
    """Reset the count of the e-mail address, and take one from that of the IP address, after a correct password."""
    columns = sign_in_failures.c
    uow.conn.execute(delete(sign_in_failures).where(columns.subject == _email(email)))
    if address:
        one_less = update(sign_in_failures).where(columns.subject == _address(address), columns.failures > 0)
        uow.conn.execute(one_less.values(failures=columns.failures - 1))


def _email(email: str) -> str:
    # A hash: people type their password into the wrong field.
    return "email:" + hashlib.sha256(email.encode("utf-8", "replace")).hexdigest()


def _address(address: str) -> str:
    """Return the subject of an IP address. For IPv6 it is the /64 network, which one client usually has to itself."""
    try:
        ip = unmapped(ip_address(address))
    except ValueError:
        return f"address:{address}"
    return f"address:{ip}" if ip.version == 4 else f"address:{ip_network((ip, 64), strict=False)}"
