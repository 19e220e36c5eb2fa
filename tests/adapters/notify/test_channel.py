"""Messages by the real library to a real mail server and web service: what arrives, and what is said when not."""

import json
import logging
from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import quote

import pytest

from adapters.notify.channel import Messenger
from domain.delivery.notification import NotificationContent, Reason, RenderedMessage, SendResult, compose
from tests.adapters.notify.mail_server import PASSWORD, MailServer
from tests.adapters.receiver import Exchange, Receiver, reply

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
ACTION = "Refund <b>4,200 €</b> & tell @everyone \u202eevil"
LETTER = NotificationContent(
    Reason.WAITING, ACTION, "default", "billing agent", None, "https://hold.example.com/r/token", True
)
MESSAGE = compose(LETTER)


@pytest.fixture(scope="module")
def messenger() -> Iterator[Messenger]:
    made = Messenger(LOOPBACK)
    yield made
    made.close()


@pytest.fixture(scope="module")
def strict() -> Iterator[Messenger]:
    """The messenger of an installation without its own networks."""
    made = Messenger(())
    yield made
    made.close()


def web(receiver: Receiver, query: str = "") -> str:
    return f"json://127.0.0.1:{receiver.port}/hook{query}"


def test_a_mail_has_text_and_html(messenger: Messenger) -> None:
    with MailServer() as server:
        assert messenger.send(server.url("anne@example.com"), "x", MESSAGE) == SendResult()
        (mail,) = server.wait_for(1)
    assert server.to == ["anne@example.com"]
    assert mail["Subject"] == "Review: Refund <b>4,200 €</b> & tell @\u2060everyone <U+202E>evil"
    text, page = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert page is not None
    assert LETTER.link in text.get_content()
    assert "Refund <b>4,200 €</b> & tell" in text.get_content()
    assert f"<a href='{LETTER.link}'>" in page.get_content()
    assert "Refund &lt;b&gt;4,200 €&lt;/b&gt; &amp; tell" in page.get_content()
    assert "\u202e" not in text.get_content() + page.get_content()


def test_the_operators_mail_server_takes_it_to_the_persons_address() -> None:
    """The channel is only `email`, and no other address receives it."""
    with MailServer(password=True) as server:
        messenger = Messenger(LOOPBACK, server.url(user="me", password=PASSWORD.replace(" ", "%20")))
        assert messenger.channel_error("email") is None
        assert messenger.send("email", "otto+reviews@example.com", MESSAGE) == SendResult()
        messenger.close()
        server.wait_for(1)
    assert server.to == ["otto+reviews@example.com"]


def test_a_web_service_gets_the_text(messenger: Messenger) -> None:
    with Receiver() as receiver:
        assert messenger.send(web(receiver), "x", MESSAGE) == SendResult()
    said = json.loads(receiver.requests[0].body)
    assert (said["title"], said["message"]) == (MESSAGE.subject, MESSAGE.text)


@pytest.mark.parametrize(("status", "final"), [(500, False), (429, False), (401, True), (404, True), (302, False)])
def test_the_response_of_a_web_service_is_reported(messenger: Messenger, status: int, final: bool) -> None:
    with Receiver(reply(status, b"secret stack trace", location="/elsewhere")) as receiver:
        sent = messenger.send(web(receiver), "x", MESSAGE)
        assert receiver.connections == 1
    assert sent == SendResult(f"the service answered {status}", final)


def test_redirects_are_not_followed_though_the_channel_says_so(messenger: Messenger) -> None:
    """Some services' parameters would switch them on again."""
    with Receiver(reply(307, location="/elsewhere")) as receiver:
        for query in ("", "?method=get"):
            assert messenger.send(web(receiver, query), "x", MESSAGE).error == "the service answered 307"
        assert receiver.connections == 2


def test_the_response_of_a_mail_server_is_reported(messenger: Messenger) -> None:
    with MailServer(busy=1) as server:
        assert messenger.send(server.url("a@example.com"), "x", MESSAGE) == SendResult("the mail server answered 451")
        assert messenger.send(server.url("a@example.com"), "x", MESSAGE) == SendResult()


def test_a_wrong_password_is_final_and_not_shown(messenger: Messenger, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the error nor in the log."""
    with MailServer(password=True) as server, caplog.at_level(logging.DEBUG):
        sent = messenger.send(server.url("a@example.com", "me", "hunter2"), "x", MESSAGE)
    assert sent == SendResult("the mail server answered 535 (user name or password)", final=True)
    assert "hunter2" not in caplog.text


def test_nobody_there(messenger: Messenger) -> None:
    with Receiver() as receiver:
        pass
    sent = messenger.send(web(receiver), "x", MESSAGE)
    assert sent == SendResult("the connection failed: connection refused")


def test_a_deadline_ends_a_service_that_drips(messenger: Messenger) -> None:
    """The library's timeout restarts with every byte. The connection is closed, and the next message succeeds."""
    closed = []

    def drip(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            exchange.drip(b"x" * 1000, every=0.05)
        except OSError:
            closed.append(True)
            raise

    with Receiver(drip) as receiver:
        sent = messenger.send(web(receiver), "x", MESSAGE, deadline=2)
        assert sent == SendResult("the service did not accept the message within 2 s")
        receiver.script = reply()
        assert messenger.send(web(receiver), "x", MESSAGE) == SendResult()
    assert closed


@pytest.mark.parametrize("password", ["pässword", "пароль", "日本 語", "100%/:+@ä"])
def test_a_password_beyond_ascii(password: str) -> None:
    with MailServer(password=True) as server:
        server.password = password
        url = server.url(user="me", password=quote(password, safe=""))
        messenger = Messenger(LOOPBACK, url)
        try:
            assert messenger.send("email", "otto@example.com", MESSAGE) == SendResult()
        finally:
            messenger.close()
        assert server.to == ["otto@example.com"]


def test_a_deadline_ends_a_mail_server_that_stalls(messenger: Messenger) -> None:
    with MailServer() as server:
        server.stalls.set()
        sent = messenger.send(server.url("a@example.com"), "x", MESSAGE, deadline=3)
        assert sent.error == "the service did not accept the message within 3 s"
        assert server.stalled.is_set()


def test_an_answer_without_end_takes_only_the_senders_memory(messenger: Messenger) -> None:
    def flood(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            exchange.send(b"x" * 1_000_000)

    with Receiver(flood) as receiver:
        sent = messenger.send(web(receiver), "x", MESSAGE, deadline=10)
        assert sent.error is not None
        receiver.script = reply()
        assert messenger.send(web(receiver), "x", MESSAGE) == SendResult()


def test_a_sender_that_died_is_replaced(messenger: Messenger) -> None:
    with Receiver() as receiver:
        assert messenger.send(web(receiver), "x", MESSAGE) == SendResult()
        process = messenger._idle[-1]._popen
        process.kill()
        process.wait()
        assert messenger.send(web(receiver), "x", MESSAGE) == SendResult()


# Where nothing may be sent


@pytest.mark.parametrize(
    "channel",
    [
        *(f"json://{host}:{{port}}/" for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1")),
        "mailto://127.0.0.1:{port}?from=a@example.com&to=b@example.com",
        "mailto://example.com:{port}?smtp=localhost&from=a@example.com&to=b@example.com",
    ],
)
def test_loopback_is_blocked_by_default(strict: Messenger, channel: str) -> None:
    """However it is written: judged is the address that a connection would go to, after every name was looked up."""
    with Receiver() as receiver:
        sent = strict.send(channel.format(port=receiver.port), "x", MESSAGE)
        assert receiver.connections == 0
    assert sent.final
    assert "not public" in str(sent.error) or "not the URL" in str(sent.error)


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "192.168.1.1", "168.63.129.16", "[fd00::1]"])
def test_inner_networks_and_metadata_are_blocked(strict: Messenger, host: str) -> None:
    sent = strict.send(f"json://{host}/", "x", MESSAGE)
    assert sent.final
    assert "not public" in str(sent.error)


@pytest.mark.parametrize(
    "channel",
    [
        *("syslog://", "rsyslog://127.0.0.1", "dbus://", "windows://", "macosx://", "gnome://", "blink1://"),
        *("file:///etc/passwd", "exec://true", "custom://x", "nonsense", "mailto://", "json://", "\n", "x://\u202e"),
        "json://example.com/?attach=/etc/passwd",
        "json://example.com/?optional=yes",
        "json://example.com/?Retry=5",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?x=1;template=/etc/passwd",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#?template=/etc/passwd",
        "mailto://u:p@example.com?pgppub=/etc/passwd",
        "json://example.com/" + "x" * 2048,
    ],
)
def test_what_is_no_channel(messenger: Messenger, channel: str) -> None:
    """Channels that are local, read files or report a failure as success are also refused when they are set."""
    field_error = messenger.channel_error(channel)
    assert field_error is not None
    assert messenger.send(channel, "x", MESSAGE) == SendResult(field_error, final=True)


@pytest.mark.parametrize(
    "channel",
    [
        "mailtos://me:secret@mail.example.com?to=anne@example.com",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "tgram://123456789:abcdefg_hijklmnop/12315544",
        "workflows://prod-NO.logic.azure.com:443/643e69f83c8944/KLWqhEVU8T4",
        "ntfys://reviews",
    ],
)
def test_what_is_a_channel(messenger: Messenger, channel: str) -> None:
    """Read, not tried: nothing is connected to."""
    assert messenger.channel_error(channel) is None


def test_without_the_operators_mail_server_email_is_no_channel(messenger: Messenger) -> None:
    assert "SAGAHOLD_MAIL_URL" in str(messenger.channel_error("email"))
    assert messenger.send("email", "a@example.com", RenderedMessage("", "", "")).final
