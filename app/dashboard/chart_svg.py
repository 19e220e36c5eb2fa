"""Charts as SVG pictures, by pygal: nothing from elsewhere, no script, and their colours follow light and dark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pygal
from flask import Response
from pygal.style import Style

# An SVG's own styles stand in it. The picture has no scripts, and may load nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
# The sentence beside each chart says the same in text; a picture may be this old. Seconds.
MAX_AGE = 30

# Told apart without colour too: by the order of the legend, and by their lightness. (light scheme, dark scheme)
GOOD, BAD, WARN, PLAIN, SOFT = (
    ("#146c3b", "#63d394"),
    ("#b4231c", "#ff938a"),
    ("#c27803", "#f2bd62"),
    ("#1d4ed8", "#8db4ff"),
    ("#7d8896", "#6f7c8c"),
)
Colour = tuple[str, str]

_TEXT = ("#161b22", "#e4e9f0")
_GUIDE = ("#cdd4dd", "#2b3541")


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    colour: Colour
    values: Sequence[float | None]


def rows(names: Sequence[str], series: Sequence[Series], narrow: bool) -> pygal.HorizontalStackedBar:
    """A bar for each name, across: names may be long, and there may be only one."""
    chart = pygal.HorizontalStackedBar(**_look(series, narrow) | {"height": 130 + 40 * len(names)})
    chart.truncate_label = 14 if narrow else 30
    return _counted(_filled(chart, names, series))


def columns(names: Sequence[str], series: Sequence[Series], narrow: bool) -> pygal.StackedBar:
    return _counted(_filled(pygal.StackedBar(**_look(series, narrow)), names, series))


def lines(names: Sequence[str], series: Sequence[Series], written: Callable[[float], str], narrow: bool) -> pygal.Line:
    chart = pygal.Line(**_look(series, narrow), dots_size=4, allow_interruptions=True, include_x_axis=True)
    chart.value_formatter = written
    return _filled(chart, names, series)


def svg(chart: Any) -> Response:
    tree = chart.render_tree()
    for parent in tree.iter():
        for child in [child for child in parent if str(child.tag).endswith("script")]:
            parent.remove(child)
    chart.render_tree = lambda: tree
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": f"private, max-age={MAX_AGE}"}
    return Response(chart.render(), headers=headers, content_type="image/svg+xml")


def _filled(chart: Any, names: Sequence[str], series: Sequence[Series]) -> Any:
    # Counted from the newest day, which is the one that is looked for.
    chart.x_labels = names
    chart.x_labels_major = list(names[::-1][:: chart.every])
    for each in series:
        chart.add(each.name, each.values)
    return chart


def _counted(chart: Any) -> Any:
    """With whole numbers only along the axis."""
    tallest = max((sum(place) for place in zip(*(values for values, _ in chart.raw_series), strict=True)), default=0)
    size = 10 ** max(0, len(str(int(tallest))) - 2)
    step = next(each for each in (size, 2 * size, 5 * size, 10 * size, 20 * size) if tallest <= 5 * each)
    chart.y_labels = list(range(0, int(tallest) + step, step))
    chart.value_formatter = "{:.0f}".format
    return chart


def _look(series: Sequence[Series], narrow: bool) -> dict[str, Any]:
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
        **dict.fromkeys(("label_font_size", "major_label_font_size", "legend_font_size"), 15),
        **dict.fromkeys(("guide_stroke_color", "major_guide_stroke_color"), _GUIDE[0]),
    )
    return {
        "style": style,
        "css": ("file://style.css", "file://graph.css", f"inline:{_dark(colours)}"),
        "js": (),
        "no_prefix": True,
        # About as wide as it is shown: what is written in it is as large as what is written beside it.
        "width": 340 if narrow else 860,
        "height": 280 if narrow else 320,
        "margin": 6,
        "every": 4 if narrow else 1,
        "show_minor_x_labels": not narrow,
        "legend_at_bottom": True,
        "legend_at_bottom_columns": 2 if narrow else 4,
        "legend_box_size": 14,
        "truncate_legend": -1,
        "truncate_label": -1,
        "max_scale": 6,
    }


def _dark(colours: Sequence[Colour]) -> str:
    text = f".graph, .axis text, .legends .legend text, .axis text.major, .series text {{ fill: {_TEXT[1]}; }}"
    guide = f".axis .guide.line, .axis .major.guide.line, .axis .line {{ stroke: {_GUIDE[1]}; }}"
    series = "".join(
        f".color-{place}, .color-{place} a:visited {{ fill: {dark}; stroke: {dark}; }}"
        for place, (_, dark) in enumerate(colours)
    )
    return f"@media (prefers-color-scheme: dark) {{ {text} {guide} {series} }}"
