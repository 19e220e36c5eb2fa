"""A part of a path that leaves its neighbour alone."""

from werkzeug.routing import BaseConverter


class TraceIdPart(BaseConverter):
    """Anything but `start`, which is a route of its own: with another method that is 405, and not a saga called so."""

    regex = r"(?!start\Z)[^/]+"
    part_isolating = True
