"""The chart as one page that needs nothing else: inline SVG, the same numbers as a table, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from whodunnet.report.chart import Chart
from whodunnet.report.chart_axis import quantity, span_label
from whodunnet.report.chart_clock import moment
from whodunnet.report.chart_plot import Box, Mark, Plot, Point
from whodunnet.report.chart_table import HEADS, Row, rows
from whodunnet.report.quantity import clock

WIDTH, HEIGHT = 1060, 460
_BOX = Box(left=78, top=16, width=900, height=400)
_STRIPS = 180
_LETTER_WIDTH = 6.7
_NARROWEST_BAND = 26
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #5c5c5c; --line: #dcdcdc; --band: #f0f0f0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --paper: #17181a; --soft: #a9a9a9; --line: #37393d; --band: #222427; }
}
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #444; --line: #ccc; --band: #eee; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  svg, table, tr { break-inside: avoid; }
}
body { margin: 24px auto; padding: 0 16px; max-width: 1060px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 21px; line-height: 1.3; margin: 0; }
p { margin: 4px 0; overflow-wrap: anywhere; }
.soft, footer { color: var(--soft); }
.headline { font-size: 17px; font-weight: 600; margin: 10px 0 6px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); }
svg .tick { fill: var(--soft); }
svg .grid { stroke: var(--line); }
svg .band { fill: var(--band); }
svg .area { stroke: var(--paper); stroke-width: .8; stroke-linejoin: round; }
.kernel { stroke: var(--ink); fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.limit { stroke: var(--ink); fill: none; stroke-width: 1.3; }
.low { stroke-dasharray: 1.5 4; }
.pressure { stroke-dasharray: 7 5; }
.max { stroke-width: 2.2; }
.reboot { stroke: var(--ink); stroke-dasharray: 3 3; }
.strip { fill: var(--ink); fill-opacity: 0; }
.strip:hover { fill-opacity: .14; }
table { border-collapse: collapse; width: 100%; margin: 14px 0 10px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
td:first-child { width: 30px; padding: 3px 0 3px 4px; }
th:nth-child(2), td:nth-child(2) { text-align: left; white-space: normal; overflow-wrap: anywhere; width: 60%; }
td:nth-child(5) { font-weight: 600; }
td svg { width: 26px; height: 14px; }
"""


def render_page(chart: Chart) -> str:
    """One HTML document. Whatever came from the node is escaped."""
    title = escape(chart.title)
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f'<p class="soft">{escape(span_label(chart.times[0], chart.times[-1]))}</p>',
        f'<p class="headline">{escape(chart.headline)}</p>',
        *_drawing(chart),
        *_table(chart),
        "<footer>",
        *(f"<p>{escape(note)}</p>" for note in chart.notes),
        "</footer></body></html>",
        "",
    ])  # fmt: skip


def _drawing(chart: Chart) -> Iterator[str]:
    """From the back to the front."""
    plot = Plot(chart, _BOX)
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">'
    yield from _bands(plot)
    yield from _axes(plot)
    for colour, polygons in plot.areas():
        yield from (f'<polygon class="area" fill="{colour}" points="{_points(p)}"/>' for p in polygons)
    yield from _lines(plot)
    for mark in plot.area_marks(lambda text: len(text) * _LETTER_WIDTH):
        yield _text(mark, mark.x, mark.y + 4, "start", style=f"fill:{mark.colour}")
    yield from _strips(plot)
    yield "</svg>"


def _bands(plot: Plot) -> Iterator[str]:
    for found in plot.chart.breaks:
        left, right = plot.x(found.start), plot.x(found.end)
        size = f'width="{_number(right - left)}" height="{_BOX.height:g}"'
        yield f'<rect class="band" x="{_number(left)}" y="{_BOX.top:g}" {size}/>'
        if found.kind == "reboot":
            x = _number(right)
            yield f'<line class="reboot" x1="{x}" x2="{x}" y1="{_BOX.top:g}" y2="{_BOX.bottom:g}"/>'
            yield _text(Mark(0, 0, "reboot"), right - 5, _BOX.top + 12, "end")
        elif right - left >= _NARROWEST_BAND:
            yield _text(Mark(0, 0, "gap"), (left + right) / 2, _BOX.top + 12, "middle", "tick")


def _axes(plot: Plot) -> Iterator[str]:
    for mark in plot.value_marks():
        y = _number(mark.y)
        yield f'<line class="grid" x1="{_BOX.left:g}" x2="{_BOX.right:g}" y1="{y}" y2="{y}"/>'
        yield _text(mark, _BOX.left - 8, mark.y + 4, "end", "tick")
    for mark in plot.time_marks():
        x = _number(mark.x)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{_BOX.bottom:g}" y2="{_BOX.bottom + 5:g}"/>'
        yield _text(mark, mark.x, _BOX.bottom + 20, "middle", "tick")
    yield _text(Mark(0, 0, "UTC"), _BOX.left - 36, _BOX.bottom + 20, "end", "tick")


def _lines(plot: Plot) -> Iterator[str]:
    for points in plot.kernel():
        yield f'<polyline class="kernel" points="{_points(points)}"/>'
    for limit in plot.chart.limits:
        yield f'<polyline class="limit {limit.name}" points="{_points(plot.limit(limit))}"/>'
    for mark in plot.limit_marks():
        yield _text(mark, mark.x, mark.y + 4, "start")


def _strips(plot: Plot) -> Iterator[str]:
    """What the pointer rests on: the numbers of one moment."""
    times = plot.chart.times
    every = max(-(-len(times) // _STRIPS), 1)
    chosen = range(0, len(times), every)
    edges = [plot.x(times[n]) for n in chosen]
    middles = [(a + b) / 2 for a, b in pairwise(edges)]
    for n, left, right in zip(chosen, [_BOX.left, *middles], [*middles, _BOX.right], strict=True):
        title = escape("\n".join(_moment_lines(plot.chart, n)))
        yield (
            f'<rect class="strip" x="{_number(left)}" y="{_BOX.top:g}" width="{_number(max(right - left, 0))}" '
            f'height="{_BOX.height:g}"><title>{title}</title></rect>'
        )


def _moment_lines(chart: Chart, column: int) -> Iterator[str]:
    yield clock(moment(chart.times[column]))
    for series in [*([chart.kernel] if chart.kernel else []), *reversed(chart.stack)]:
        value = series.values[column]
        yield f"{'not read' if value is None else quantity(value, chart.what)}  {series.label}"


def _table(chart: Chart) -> Iterator[str]:
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    yield f"<table><thead><tr><th></th><th>{chart.by}</th>{heads}</tr></thead><tbody>"
    plot = Plot(chart, _BOX)
    for row in rows(chart):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
        yield f"<tr><td>{_swatch(plot, row)}</td><td>{escape(row.label)}</td>{cells}</tr>"
    yield "</tbody></table>"


def _swatch(plot: Plot, row: Row) -> str:
    if row.level is not None:
        shape = f'<rect width="26" height="14" fill="{plot.colour(row.level)}"/>'
    else:
        kind = f"limit {row.limit}" if row.limit else "kernel"
        shape = f'<line class="{kind}" x1="0" x2="26" y1="7" y2="7"/>'
    return f'<svg viewBox="0 0 26 14" aria-hidden="true">{shape}</svg>'


def _text(mark: Mark, x: float, y: float, anchor: str, kind: str = "", style: str = "") -> str:
    looks = (f' class="{kind}"' if kind else "") + (f' style="{style}"' if style else "")
    return f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"{looks}>{escape(mark.text)}</text>'


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
