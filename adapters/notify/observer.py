"""What the library does not tell: why a message was not taken. It returns False, and writes the rest to a log that may
hold addresses and tokens. So the answers of servers are looked at where they arrive, and only their numbers are kept.

For a process of its own, as it changes libraries for all of it.
"""

import os
import smtplib
import socket
import ssl
from typing import Any

import requests

# Answers that the same request may get otherwise later; every other 4xx stays as it is.
_PASSING = frozenset({408, 409, 423, 425, 429})


class Observer:
    """`error`: of the last thing that went wrong since `fresh`. `final`: trying again is of no use."""

    def __init__(self) -> None:
        self.fresh()

    def fresh(self) -> None:
        self.error: str | None = None
        self.final = False

    def install(self) -> None:
        self._see_http()
        self._see_smtp()
        self._see_sockets()

    def _note(self, error: str, *, final: bool = False) -> None:
        self.error, self.final = error, final

    def _see_http(self) -> None:
        send = requests.Session.send

        def seen(session: requests.Session, request: Any, **kwargs: Any) -> requests.Response:
            # A redirect would take what the message says, and its token, to a place that nobody has chosen.
            answer = send(session, request, **(kwargs | {"allow_redirects": False}))
            status = answer.status_code
            if not 200 <= status < 300:
                refused = 400 <= status < 500 and status not in _PASSING
                self._note(f"the service answered {status}", final=refused)
            if 300 <= status < 400:
                # Some services' code takes everything below 400 for a success.
                answer.status_code = 502
            return answer

        requests.Session.send = seen  # type: ignore[method-assign,assignment]

    def _see_smtp(self) -> None:
        getreply = smtplib.SMTP.getreply

        def seen(server: smtplib.SMTP) -> tuple[int, bytes]:
            try:
                code, text = getreply(server)
            except smtplib.SMTPServerDisconnected:
                # Often right after saying why.
                self._note(self.error or "the mail server closed the connection", final=self.final)
                raise
            if code >= 400:
                about = " (user name or password)" if code in (530, 534, 535) else ""
                # 502 and the like answer EHLO or AUTH of a kind that the server does not know: others are tried then.
                self._note(f"the mail server answered {code}{about}", final=530 <= code < 560)
            return code, text

        smtplib.SMTP.getreply = seen  # type: ignore[method-assign,assignment]

    def _see_sockets(self) -> None:
        look_up, connect, wrap = socket.getaddrinfo, socket.socket.connect, ssl.SSLContext.wrap_socket

        def looking_up(*args: Any, **kwargs: Any) -> Any:
            try:
                return look_up(*args, **kwargs)
            except OSError:
                self._note("the name of the service's host does not resolve")
                raise

        def connecting(sock: socket.socket, address: Any) -> None:
            try:
                connect(sock, address)
            except TimeoutError:
                self._note("the service did not answer in time")
                raise
            except OSError as error:
                why = os.strerror(error.errno).lower() if error.errno else "refused"
                self._note(f"the connection failed: {why}")
                raise

        def wrapping(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
            try:
                return wrap(context, *args, **kwargs)
            except ssl.SSLCertVerificationError as error:
                self._note(f"the TLS certificate is not trusted: {error.verify_message}")
                raise
            except ssl.SSLError as error:
                self._note(f"TLS failed: {error.reason}")
                raise

        socket.getaddrinfo = looking_up
        socket.socket.connect = connecting  # type: ignore[method-assign,assignment]
        ssl.SSLContext.wrap_socket = wrapping  # type: ignore[method-assign,assignment]
