"""The reason why a service did not accept a message.

The library only returns False, and logs the reason together with addresses and tokens. This module therefore reads
servers' responses where they arrive, and keeps only their status codes. It patches libraries for the whole process, so
it runs only in a separate one.
"""

import os
import smtplib
import socket
import ssl
from typing import Any

import requests

# Statuses after which the same request may succeed later; every other 4xx is final.
_TEMPORARY = frozenset({408, 409, 423, 425, 429})


class Observer:
    """The last `error` since `fresh`, and whether it is `final`, so that a retry cannot help."""

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
            # A redirect would send the message and its token to an unknown place.
            answer = send(session, request, **(kwargs | {"allow_redirects": False}))
            status = answer.status_code
            if not 200 <= status < 300:
                refused = 400 <= status < 500 and status not in _TEMPORARY
                self._note(f"the service answered {status}", final=refused)
            if 300 <= status < 400:
                # Some services' code treats every status below 400 as success.
                answer.status_code = 502
            return answer

        requests.Session.send = seen  # type: ignore[method-assign,assignment]

    def _see_smtp(self) -> None:
        getreply = smtplib.SMTP.getreply

        def seen(server: smtplib.SMTP) -> tuple[int, bytes]:
            try:
                code, text = getreply(server)
            except smtplib.SMTPServerDisconnected:
                # The server often gives the reason just before; keep it.
                self._note(self.error or "the mail server closed the connection", final=self.final)
                raise
            if code >= 400:
                about = " (user name or password)" if code in (530, 534, 535) else ""
                # Codes like 502 reject an unknown kind of EHLO or AUTH; the client then tries another kind.
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
