"""SVG charts by pygal: self-contained, without scripts, in colours that follow the light or dark scheme."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import pygal
from flask import Response
from pygal.style import Style

# An SVG contains its own styles. The picture has no scripts and may load nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

# Each colour in the light and in the dark scheme; assets/operator.css has the same colours for the legends.
GOOD, BAD, WARN, PLAIN, SOFT = (
    ("#146c3b", "#63d394"),
    ("#b4231c", "#ff938a"),
    ("#c27803", "#f2bd62"),
    ("#1d4ed8", "#8db4ff"),
    ("#7d8896", "#6f7c8c"),
)
Colour = tuple[str, str]

# The possible distances between two lines of a scale, which has at most five of them.
COUNTS = tuple(figure * 10**zeros for zeros in range(9) for figure in (1, 2, 5))
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
SECONDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
    *(minutes * _MINUTE for minutes in (0.5, 1, 2, 5, 10, 20, 30)),
    *(hours * _HOUR for hours in (1, 2, 4, 6, 12)),
    *(days * _DAY for days in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)
_TEXT = ("#161b22", "#e4e9f0")
_GUIDE = ("#cdd4dd", "#2b3541")


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    colour: Colour
    values: Sequence[float | None]


def rows(names: Sequence[str], series: Sequence[Series], narrow: bool) -> pygal.HorizontalStackedBar:
    """Draw a horizontal bar for each name, the first on top; long names and a single name fit."""
    chart = pygal.HorizontalStackedBar(**_config(series, narrow) | {"height": 60 + 44 * len(names)})
    chart.truncate_label = 12 if narrow else 30
    upward = [replace(each, values=each.values[::-1]) for each in series]
    return _filled(chart, names[::-1], upward, COUNTS, "{:.0f}".format)


def columns(names: Sequence[str], series: Sequence[Series], narrow: bool) -> pygal.StackedBar:
    chart = pygal.StackedBar(**_config(series, narrow))
    return _filled(chart, _sparse(names, narrow), series, COUNTS, "{:.0f}".format)


def lines(names: Sequence[str], series: Sequence[Series], written: Callable[[float], str], narrow: bool) -> pygal.Line:
    """Draw lines of seconds, which `written` formats."""
    chart = pygal.Line(**_config(series, narrow), dots_size=4, allow_interruptions=True, stroke_style={"width": 2})
    return _filled(chart, _sparse(names, narrow), series, SECONDS, written)


def svg(chart: Any) -> Response:
    chart.add_xml_filter(_without_scripts)
    return Response(chart.render(), headers={"Content-Security-Policy": POLICY}, content_type="image/svg+xml")


def _without_scripts(root: Any) -> Any:
    """Remove pygal's script, which holds the configuration of unused tooltips."""
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == "script"]:
            parent.remove(child)
    return root


def _filled(
    chart: Any, names: Sequence[str], series: Sequence[Series], steps: Sequence[float], written: Callable[[float], str]
) -> Any:
    stacked = not isinstance(chart, pygal.Line)
    places = [[value or 0 for value in place] for place in zip(*(each.values for each in series), strict=True)]
    highest = max((sum(place) if stacked else max(place) for place in places), default=0)
    step = next((step for step in steps if highest <= 5 * step), steps[-1])
    chart.y_labels = [step * number for number in range(max(1, ceil(highest / step)) + 1)]
    chart.value_formatter = written
    chart.x_labels = names
    for each in series:
        chart.add(each.name, each.values)
    return chart


def _sparse(names: Sequence[str], narrow: bool) -> list[str]:
    """Keep every second or fourth name, counted from the newest, so that names fit."""
    every = 4 if narrow else 2
    return [name if (len(names) - place) % every == 0 else "" for place, name in enumerate(names, 1)]


def _config(series: Sequence[Series], narrow: bool) -> dict[str, Any]:
    colours = [each.colour for each in series]
    style = Style(
        background="transparent",
        plot_background="transparent",
        transition="none",
        foreground=_TEXT[0],
        foreground_strong=_TEXT[0],
        foreground_subtle=_GUIDE[0],
        colors=tuple(light for light, _ in colours),
        opacity=1,
        font_family="system-ui, sans-serif",
        **dict.fromkeys(("label_font_size", "major_label_font_size"), 15),
        **dict.fromkeys(("guide_stroke_color", "major_guide_stroke_color"), _GUIDE[0]),
    )
    return {
        "style": style,
        "css": ("file://style.css", "file://graph.css", f"inline:{_dark(colours)}"),
        "js": (),
        # The page shows the legend as text.
        "show_legend": False,
        "no_prefix": True,
        "explicit_size": True,
        # About the displayed width, so that text in the picture is as large as text on the page.
        "width": 340 if narrow else 860,
        "height": 220 if narrow else 280,
        "margin": 6,
        "margin_right": 26,
        "truncate_label": -1,
    }


def _dark(colours: Sequence[Colour]) -> str:
    text = f".graph, .axis text, .axis text.major, .series text {{ fill: {_TEXT[1]}; }}"
    guide = f".axis .guide.line, .axis .major.guide.line, .axis .line {{ stroke: {_GUIDE[1]}; }}"
    series = "".join(
        f".color-{place}, .color-{place} a:visited {{ fill: {dark}; stroke: {dark}; }}"
        for place, (_, dark) in enumerate(colours)
    )
    return f"@media (prefers-color-scheme: dark) {{ {text} {guide} {series} }}"
