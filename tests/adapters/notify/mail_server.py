"""A mail server on loopback that keeps what it is given; one that wants a password, is too busy, or never answers."""

import asyncio
import socket
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

PASSWORD = "correct horse"


class MailServer:
    """`with MailServer() as server:`

    Attributes:
        busy: so many mails it first refuses for now.
        stalls: it takes mails, and does not say so as long as this is set. `stalled` is set when it first does.
        broken: connections that were gone by then.
        password: the only right one, for every user.
    """

    def __init__(self, *, port: int = 0, password: bool = False, busy: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.to: list[str] = []
        self.busy = busy
        self.broken = 0
        self.password = PASSWORD
        self.stalls, self.stalled = threading.Event(), threading.Event()
        self._arrived = threading.Condition()
        options: dict[str, Any] = {}
        if password:
            options = {"authenticator": self._check, "auth_required": True, "auth_require_tls": False}
        self.port = port or _free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stalls.clear()
        self._controller.stop(no_assert=True)

    def url(self, to: str = "", user: str = "", password: str = "") -> str:
        login = f"{user}:{password}@" if user else ""
        named = f"&to={to}" if to else ""
        return f"mailto://{login}127.0.0.1:{self.port}?from=sagahold@example.com{named}"

    def wait_for(self, count: int) -> list[EmailMessage]:
        """The mails, once there are so many."""
        assert self.came(count, 60), f"{len(self.mails)} mails, not {count}"
        return list(self.mails)

    def came(self, count: int, seconds: float) -> bool:
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.mails) >= count, seconds)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.busy > 0:
            self.busy -= 1
            return "451 come back later"
        if self.stalls.is_set():
            self.stalled.set()
            try:
                while self.stalls.is_set():
                    await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.broken += 1
                raise
        content = envelope.content
        assert isinstance(content, bytes)
        with self._arrived:
            self.to.extend(envelope.rcpt_tos)
            self.mails.append(message_from_bytes(content, policy=policy.default))
            self._arrived.notify_all()
        return "250 kept"

    def _check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == self.password.encode(), handled=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
