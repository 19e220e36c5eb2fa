"""Path parts that exclude the name of a neighbouring route, so that another method on that route gives 405."""

from werkzeug.routing import BaseConverter


class TraceIdPart(BaseConverter):
    """Any text but `start`, which has its own route."""

    regex = r"(?!start\Z)[^/]+"
    part_isolating = True


class WatchIdPart(BaseConverter):
    """Any text but `decisions`, which has its own route."""

    regex = r"(?!decisions\Z)[^/]+"
    part_isolating = True
