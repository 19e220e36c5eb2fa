"""Doors: the protocols of other clients. Each translates to the use cases of pauses, and has no rules of its own."""

from flask import Flask, Response, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from app.doors.aap.door import aap
from app.doors.awaithumans.door import awaithumans
from app.doors.door import Door
from app.doors.gohumanloop.door import gohumanloop
from app.doors.gotohuman.door import gotohuman
from app.doors.humanlayer.door import humanlayer
from app.doors.mcp import mcp
from app.doors.terraform.door import terraform

DOORS: tuple[Door, ...] = (aap, awaithumans, gohumanloop, gotohuman, humanlayer, mcp, terraform)


def install(app: Flask) -> None:
    """Register all doors. A path or method that a door does not have is an error in the shape of its client."""
    for door in DOORS:
        app.register_blueprint(door)
    # Flask chooses a blueprint's error handlers by the route, so it has none for a request without one.
    app.before_request(_refuse_without_route)


def _refuse_without_route() -> Response | None:
    error = request.routing_exception
    if isinstance(error, NotFound | MethodNotAllowed):
        for door in DOORS:
            if f"{request.path}/".startswith(f"{door.url_prefix}/"):
                return door.refuse(error)
    return None
