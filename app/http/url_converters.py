"""Parts of a path that leave their neighbour alone: with another method that is 405, and not a thing called so."""

from werkzeug.routing import BaseConverter


class TraceIdPart(BaseConverter):
    """Anything but `start`, which is a route of its own."""

    regex = r"(?!start\Z)[^/]+"
    part_isolating = True


class WatchIdPart(BaseConverter):
    """Anything but `decisions`, which is a route of its own."""

    regex = r"(?!decisions\Z)[^/]+"
    part_isolating = True
