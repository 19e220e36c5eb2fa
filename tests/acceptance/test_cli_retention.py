"""`sagahold retention …` and `sagahold hold …` against a running stack."""

from collections.abc import Callable

from tests.acceptance.commands import DONE, REFUSED, Ran

Call = Callable[..., Ran]


def test_a_rule_of_a_namespace(call: Call, namespace: str) -> None:
    assert "decisions  the server's default" in call("retention", "show", namespace).out
    ran = call("retention", "set", namespace, "--decision-days", "100")
    assert (ran.code, "decision_days: is below six months (184 days)" in ran.error) == (REFUSED, True)
    shown = call("retention", "set", namespace, "--decision-days", "400", "--message-days", "30").out
    assert "400 days" in shown
    assert "30 days" in shown
    low = ("--decision-days", "100", "--below-six-months", "--json")
    assert call("retention", "set", namespace, *low).document["message_days"] is None


def test_a_hold(call: Call, paused: Callable[..., str], namespace: str) -> None:
    watch_id = paused()
    placed = call("hold", "place", namespace, "--subject", watch_id, "--reason", "Case 1", "--json").document
    subject = watch_id.removeprefix("wch_")
    assert (placed["subject"], placed["released_at"]) == (subject, None)
    assert "Case 1" in call("hold", "list").out
    released = call("hold", "release", placed["id"], "--reason", "closed")
    assert released.out == f"{placed['id']} of {subject} in {namespace} is released\n"
    again = call("hold", "release", placed["id"], "--reason", "closed")
    assert (again.code, again.error.startswith("HOLD_RELEASED: ")) == (REFUSED, True)
    assert placed["id"] not in call("hold", "list").out
    assert placed["id"] in call("hold", "list", "--released").out
    assert call("hold", "place", namespace, "--reason", "Case 2").code == DONE
