"""/sagas: the list of sagas, with those that need an operator on top."""

from typing import Any
from uuid import UUID

from flask import request

from app.dashboard.framework.lists import choice_filter, id_filter, next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from domain.identity.access import Permission
from domain.sagas.saga import SagaStatus
from services.kernel.pagination import Page
from services.pauses.queries import count_needing_look
from services.sagas.queries import SagaFilter, list_sagas

# Sagas that need an operator come first; the filter lists more of them than this.
MAX_ON_TOP = 20
ONLY = {"in_flight": "in flight", "failed": "failed", "needs_operator": "needing an operator"}


@page("GET", "/sagas", permission=Permission.SAGA_READ)
def sagas() -> Any:
    """List sagas, newest first."""
    wrong: list[str] = []
    wanted, part = _filter(wrong), wanted_page()
    on_top = [] if part.after or wanted != SagaFilter() else _needing_operator()
    found = list_sagas(deps().database, person(), wanted, part)
    return render(
        "sagas.html",
        on_top=on_top,
        look=count_needing_look(deps().database, person()) if on_top or wanted == SagaFilter() else 0,
        sagas=[saga for saga in found.items if saga not in on_top],
        next_link=next_link(found),
        filters=request.args,
        filtered=wanted != SagaFilter(),
        statuses=list(SagaStatus),
        only=ONLY,
        wrong=wrong,
    )


def _filter(wrong: list[str]) -> SagaFilter:
    status, only = choice_filter("status", SagaStatus), request.args.get("only")
    trace_id = id_filter("trace_id", "", wrong)
    return SagaFilter(
        trace_id=None if trace_id is None else UUID(hex=trace_id),
        namespace=text_filter("namespace"),
        statuses=() if status is None else (status,),
        **({only: True} if only in ONLY else {}),
    )


def _needing_operator() -> list[dict[str, Any]]:
    return list_sagas(deps().database, person(), SagaFilter(needs_operator=True), Page(MAX_ON_TOP)).items
