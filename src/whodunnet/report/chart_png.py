"""The chart as a picture, for a message or a page that takes no HTML."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING

from whodunnet.errors import UsageError
from whodunnet.report.chart import Chart
from whodunnet.report.chart_axis import span_label
from whodunnet.report.chart_plot import Box, Plot, Point
from whodunnet.report.chart_table import HEADS, Row, rows

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

WIDTH = 1600
_MARGIN = 40
_FINER = 2
"""Lines are drawn so much larger and then made smaller, which smooths their edges; text is smooth by itself."""
_BOX = Box(left=130, top=140, width=1360, height=600)
_TABLE_TOP = 810
_ROW = 30
_INK, _SOFT, _LINE, _BAND, _PAPER = "#1B1B1B", "#5C5C5C", "#DCDCDC", "#F0F0F0", "#FFFFFF"
_DASHES = {"low": (3, 7), "pressure": (14, 9), "max": (1, 0)}
_COLUMN = 150
_NARROWEST_BAND = 40
_ASCII = str.maketrans({"–": "-", "…": "..."})
_LINE_LETTERS = 170


def require_pillow() -> None:
    """Raises UsageError where pictures cannot be drawn."""
    try:
        import PIL.ImageFont  # noqa: F401
    except ImportError as error:
        raise UsageError("a picture needs Pillow (pip install pillow); FILE.html and - work without it") from error


def render_picture(chart: Chart) -> bytes:
    """A PNG of fixed width, as high as its legend needs."""
    from PIL import Image

    canvas = _Canvas(_TABLE_TOP + (len(rows(chart)) + 1) * _ROW + (len(_note_lines(chart)) + 1) * _ROW)
    plot = Plot(chart, _BOX)
    _draw_bands(canvas, plot)
    _draw_axes(canvas, plot)
    for colour, polygons in plot.areas():
        for polygon in polygons:
            canvas.polygon(polygon, colour)
    _draw_lines(canvas, plot)
    canvas.smooth()
    _write_plot(canvas, plot)
    _write_head(canvas, chart)
    _write_table(canvas, plot)
    out = io.BytesIO()
    canvas.image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(out, "PNG", optimize=True)
    return out.getvalue()


class _Canvas:
    """Shapes first, then smooth(), then text."""

    def __init__(self, height: int) -> None:
        from PIL import Image, ImageDraw

        self.height = height
        self.image = Image.new("RGB", (WIDTH * _FINER, height * _FINER), _PAPER)
        self._draw: ImageDraw.ImageDraw = ImageDraw.Draw(self.image)
        self._fonts: dict[int, FreeTypeFont | ImageFont] = {}

    def smooth(self) -> None:
        from PIL import Image, ImageDraw

        self.image = self.image.resize((WIDTH, self.height), Image.Resampling.LANCZOS)
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        self._draw.polygon(_finer(points), fill=colour)
        self._draw.line(_finer([*points, points[0]]), fill=_PAPER, width=1)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        self._draw.rectangle(_finer([(left, top), (right, bottom)]), fill=colour)

    def line(self, points: Sequence[Point], colour: str, width: float = 1, dash: tuple[int, int] = (1, 0)) -> None:
        for piece in _dashed(points, dash):
            self._draw.line(_finer(piece), fill=colour, width=round(width * _FINER), joint="curve")

    def width(self, text: str, size: int = 17) -> float:
        return self._font(size).getlength(_drawable(text))

    def text(self, x: float, y: float, text: str, *, size: int = 17, anchor: str = "lm", colour: str = _INK) -> None:
        """anchor: as Pillow names them; the first letter is left, middle or right."""
        self._draw.text((x, y), _drawable(text), fill=colour, font=self._font(size), anchor=anchor)

    def cut(self, text: str, room: float, size: int = 17) -> str:
        """As much of it as fits."""
        if self.width(text, size) <= room:
            return text
        return next(t for n in range(len(text), -1, -1) if self.width(t := text[:n] + "...", size) <= room)

    def _font(self, size: int) -> FreeTypeFont | ImageFont:
        from PIL import ImageFont

        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(size)
        return self._fonts[size]


def _draw_bands(canvas: _Canvas, plot: Plot) -> None:
    for found in plot.chart.breaks:
        left, right = plot.x(found.start), plot.x(found.end)
        canvas.rectangle(left, _BOX.top, right, _BOX.bottom, _BAND)
        if found.kind == "reboot":
            canvas.line([(right, _BOX.top), (right, _BOX.bottom)], _INK, 1.5, (5, 5))


def _draw_axes(canvas: _Canvas, plot: Plot) -> None:
    for mark in plot.value_marks():
        canvas.line([(_BOX.left, mark.y), (_BOX.right, mark.y)], _LINE)
    for mark in plot.time_marks():
        canvas.line([(mark.x, _BOX.bottom), (mark.x, _BOX.bottom + 7)], _SOFT)


def _draw_lines(canvas: _Canvas, plot: Plot) -> None:
    for points in plot.kernel():
        canvas.line(points, _INK, 2.5)
    for limit in plot.chart.limits:
        canvas.line(plot.limit(limit), _INK, 3 if limit.name == "max" else 2, _DASHES[limit.name])
    for number, row in enumerate(rows(plot.chart)):
        _draw_swatch(canvas, plot, row, _TABLE_TOP + (number + 1) * _ROW)


def _draw_swatch(canvas: _Canvas, plot: Plot, row: Row, middle: float) -> None:
    if row.level is not None:
        canvas.rectangle(_MARGIN, middle - 9, _MARGIN + 34, middle + 9, plot.colour(row.level))
        return
    width = 3 if row.limit == "max" else 2 if row.limit else 2.5
    canvas.line([(_MARGIN, middle), (_MARGIN + 34, middle)], _INK, width, _DASHES.get(row.limit or "", (1, 0)))


def _write_plot(canvas: _Canvas, plot: Plot) -> None:
    for mark in plot.area_marks(canvas.width):
        canvas.text(mark.x, mark.y, mark.text, colour=mark.colour)
    for mark in plot.value_marks():
        canvas.text(_BOX.left - 12, mark.y, mark.text, anchor="rm", colour=_SOFT)
    for mark in plot.time_marks():
        canvas.text(mark.x, _BOX.bottom + 22, mark.text, anchor="mm", colour=_SOFT)
    for mark in plot.limit_marks():
        canvas.text(mark.x + 4, mark.y, mark.text)
    canvas.text(_BOX.left - 48, _BOX.bottom + 22, "UTC", anchor="rm", colour=_SOFT)
    for found in plot.chart.breaks:
        left, right = plot.x(found.start), plot.x(found.end)
        if found.kind == "reboot":
            canvas.text(right - 8, _BOX.top + 14, "reboot", anchor="rm")
        elif right - left >= _NARROWEST_BAND:
            canvas.text((left + right) / 2, _BOX.top + 14, "gap", anchor="mm", colour=_SOFT)


def _write_head(canvas: _Canvas, chart: Chart) -> None:
    room = WIDTH - 2 * _MARGIN
    canvas.text(_MARGIN, 40, canvas.cut(chart.title, room, 30), size=30)
    canvas.text(_MARGIN, 74, span_label(chart.times[0], chart.times[-1]), colour=_SOFT)
    canvas.text(_MARGIN, 108, canvas.cut(chart.headline, room, 21), size=21)


def _write_table(canvas: _Canvas, plot: Plot) -> None:
    chart, y = plot.chart, float(_TABLE_TOP)
    rights = [WIDTH - _MARGIN - _COLUMN * n for n in reversed(range(len(HEADS)))]
    for right, head in zip(rights, HEADS, strict=True):
        canvas.text(right, y, head, anchor="rm", colour=_SOFT)
    canvas.text(_MARGIN + 48, y, chart.by, colour=_SOFT)
    for row in rows(chart):
        y += _ROW
        canvas.text(_MARGIN + 48, y, canvas.cut(row.label, rights[0] - _COLUMN - _MARGIN - 48))
        for right, cell in zip(rights, row.cells, strict=True):
            canvas.text(right, y, cell, anchor="rm")
    for note in _note_lines(chart):
        y += _ROW
        canvas.text(_MARGIN, y + _ROW / 4, note, colour=_SOFT)


def _note_lines(chart: Chart) -> list[str]:
    return [line for note in chart.notes for line in wrap(note, _LINE_LETTERS)]


def _finer(points: Sequence[Point]) -> list[Point]:
    return [(x * _FINER, y * _FINER) for x, y in points]


def _dashed(points: Sequence[Point], dash: tuple[int, int]) -> list[list[Point]]:
    """Straight pieces of a line of horizontal and vertical stretches; without a space it stays whole."""
    stroke, space = dash
    if not space:
        return [list(points)]
    pieces: list[list[Point]] = []
    for (x1, y1), (x2, y2) in pairwise(points):
        length = abs(x2 - x1) + abs(y2 - y1)
        for n in range(int(length / (stroke + space)) + 1):
            begin, end = n * (stroke + space) / length, min((n * (stroke + space) + stroke) / length, 1)
            pieces.append([(x1 + (x2 - x1) * f, y1 + (y2 - y1) * f) for f in (begin, end)])
    return pieces


def _drawable(text: str) -> str:
    """The font that comes with Pillow has little beyond ASCII."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()
