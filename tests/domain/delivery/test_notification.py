"""The words of a message, the parts of a channel that are shown, and the times of retries."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.delivery.notification import (
    MAX_ACTION,
    RETRY_SECONDS,
    NotificationContent,
    OperatorNotificationContent,
    Reason,
    SendResult,
    compose,
    masked,
    retry_at,
    visible,
)

LETTER = NotificationContent(
    Reason.WAITING, "deploy", "default", "agent", datetime(2026, 3, 30, 21, 5, tzinfo=UTC), "https://x/r/t", True
)


def test_the_content_of_a_message_to_voters() -> None:
    message = compose(LETTER)
    assert message.subject == "Review: deploy"
    assert message.text.split("\n") == [
        "A review waits for you.",
        "",
        "Action: deploy",
        "Namespace: default",
        "Requested by: agent",
        "Expires: 2026-03-30 21:05 UTC",
        "",
        "https://x/r/t",
        "",
        "Opening the link decides nothing. You decide on the page. "
        "Do not share the link: anyone who has it can decide in your name.",
    ]


def test_a_groups_link_is_nobodys() -> None:
    assert "Do not share the link" not in compose(replace(LETTER, personal=False)).text


@pytest.mark.parametrize(
    ("reason", "said"), [(Reason.REMINDER, "still waits"), (Reason.ESCALATED, "was escalated to you")]
)
def test_why(reason: Reason, said: str) -> None:
    assert said in compose(replace(LETTER, reason=reason)).text


@pytest.mark.parametrize(
    ("reason", "opening", "closing"),
    [
        (Reason.OUTCOME_UNKNOWN, "the outcome of a call is unknown.", "Search for the key at the tool"),
        (Reason.UNDO_FAILED, "an undo failed.", "Search for the key at the tool"),
        (Reason.STUCK, "no worker can continue it.", "Fix the cause, then retry on the page."),
    ],
)
def test_an_operator_reads_what_happened_and_what_to_do(reason: Reason, opening: str, closing: str) -> None:
    content = OperatorNotificationContent(reason, "trip\n1", "pay", "shop", "gone\x00", "fwd-1", "https://x/sagas/1")
    message = compose(content)
    assert message.subject == "Needs an operator: trip 1"
    assert message.text.startswith(
        f"A saga needs an operator: {opening}\n\nSaga: trip 1\nStep: pay\nNamespace: shop\n"
        f"What happened: gone<U+0000>\nIdempotency key: fwd-1\n\nhttps://x/sagas/1\n\n{closing}"
    )


def test_html_of_what_others_wrote() -> None:
    """Nothing that an agent or its key's name says becomes markup."""
    page = compose(replace(LETTER, action="<script>x</script>'\"", asked_by="<img src=x>")).html
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\r\nTwo: 2\ttabs", "one  Two: 2 tabs"),
        ("a\u202eb\u200bc\x1b[0m\x00", "a<U+202E>b<U+200B>c<U+001B>[0m<U+0000>"),
        ("\u2028\u115f\ue000\ud800", "<U+2028><U+115F><U+E000><U+D800>"),
        ("@everyone and @Here, @bob", "@\u2060everyone and @\u2060Here, @\u2060bob"),
        ("<!channel> <@U1> <b>", "<\u2060!channel> <\u2060@\u2060U1> <b>"),
        # A chat's own way to write a link that reads as another: the only link is the review's.
        ("<https://evil.test|https://hold.test>", "<\u2060https[:]//evil[.]test|https[:]//hold[.]test>"),
        ("[https://hold.test](https://evil.test)", "[https[:]//hold[.]test]\u2060(https[:]//evil[.]test)"),
        ("<Mailto:a@b.test|x> [1] (2) a<b:c", "<\u2060Mailto[:]a@b[.]test|x> [1] (2) a<\u2060b:c"),
        # Text that becomes a link without any markup.
        ("see www.evil.co.uk/x?a=b, EVIL.COM or t.me/x", "see www[.]evil[.]co[.]uk/x?a=b, EVIL[.]COM or t[.]me/x"),
        ("http://localhost/ http://10.20.30.40/", "http[:]//localhost/ http[:]//10[.]20[.]30[.]40/"),
        ("tg://resolve?domain=x tel:+49", "tg[:]//resolve?domain=x tel[:]+49"),
        ("例え.テスト evil。com x.xn--p1ai", "例え[.]テスト evil[。]com x[.]xn--p1ai"),
        # Text that is no link stays as it is.
        ("v2.3.1 costs 1.50 e.g. at 12:00. Next: yes", "v2.3.1 costs 1.50 e.g. at 12:00. Next: yes"),
        ("می‌خواهم ❤️‍🔥", "می‌خواهم ❤️‍🔥"),
        ("a\u3164b\u2800c\u180fd\ufe0fe", "a<U+3164>b<U+2800>c<U+180F>d<U+FE0F>e"),
        ("Größe 東京 🙂", "Größe 東京 🙂"),
    ],
)
def test_what_hides_deceives_or_calls_everyone(text: str, shown: str) -> None:
    assert visible(text, 100) == shown


def test_cut() -> None:
    assert visible("x" * 101, 100) == "x" * 99 + "…"
    assert visible("x" * 100, 100) == "x" * 100
    assert "x" * MAX_ACTION not in compose(replace(LETTER, action="x" * 500)).text


@pytest.mark.parametrize(
    ("channel", "shown"),
    [
        ("email", "email"),
        ("mailtos://me:secret@mail.example.com:587?to=a@b.c", "mailtos://mail.example.com"),
        ("JSONS://key@hooks.example.com/secret", "jsons://hooks.example.com"),
        ("slack://secret/secret", "slack://…"),
        ("tgram://123:secret/1", "tgram://…"),
        ("json://[secret", "json://…"),
        ("secret", "…"),
    ],
)
def test_no_secret_of_a_channel_is_shown(channel: str, shown: str) -> None:
    """The URLs of many services have a token where others have a host."""
    assert masked(channel) == shown


def test_retries() -> None:
    """±20 %; none after the last, and none where trying again is of no use."""
    assert [retry_at(attempts, SendResult("x"), 0.5) for attempts in range(1, 6)] == list(RETRY_SECONDS)
    assert (retry_at(1, SendResult("x"), 0.0), retry_at(1, SendResult("x"), 1.0)) == pytest.approx((8.0, 12.0))
    assert retry_at(6, SendResult("x"), 0.5) is None
    assert retry_at(1, SendResult("x", final=True), 0.5) is None
