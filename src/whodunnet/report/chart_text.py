"""The chart in a terminal: letters stacked by owner, so that it reads without colour too."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby
from string import ascii_uppercase
from typing import TYPE_CHECKING

from whodunnet.report.chart import Chart
from whodunnet.report.chart_axis import quantity, span_label, time_ticks, value_ticks
from whodunnet.report.chart_plot import OTHERS_COLOUR, Box, Plot, ink_on
from whodunnet.report.chart_table import HEADS, Row, rows
from whodunnet.report.layout import Sheet, styled
from whodunnet.report.quantity import count

if TYPE_CHECKING:
    from rich.console import Console

Cell = tuple[str, str]
"""One character and its style."""

_PIPED_HEIGHT = 40
_LOWEST, _HIGHEST = 8, 24
_NARROW = 100
_OTHERS, _KERNEL, _LIMIT, _REBOOT = "·", "━", "╌", "┆"
_EMPTY = (" ", "")


def render_terminal(chart: Chart, console: Console) -> None:
    """In a low terminal the owners that are smaller than a line are told by their number only."""
    sheet = Sheet(console)
    notes = " ".join(chart.notes)
    height = console.height if console.is_terminal else _PIPED_HEIGHT
    room = height - 8 - len(notes) // sheet.width
    legend = [row for row in rows(chart) if row.limit is None]
    lines = min(max(room - len(legend), _LOWEST), _HIGHEST)
    named = _large_enough(chart, lines)
    small = [row for row in legend if row.level in range(len(chart.series)) and row.level not in named]
    if len(legend) + lines > room and len(small) > 1:
        legend = [row for row in legend if row not in small]
        lines = min(max(room - len(legend) - 1, _LOWEST), _HIGHEST)
    else:
        small = []
    sheet.write((chart.title, "bold"), f", {span_label(chart.times[0], chart.times[-1])}")
    sheet.write((chart.headline, "bold"))
    labels_width = max(len(label) for label in _axis_labels(chart, Plot(chart, Box(0, 0, 1, lines)), lines).values())
    grid = _Grid(chart, sheet.width - labels_width - 1, lines, named)
    _write_grid(sheet, grid, labels_width)
    _write_legend(sheet, grid, legend, small)
    sheet.write((notes, "dim"))


def _large_enough(chart: Chart, lines: int) -> set[int]:
    """Levels of the owners that fill a line; smaller ones are drawn as the others are."""
    line = Plot(chart, Box(0, 0, 1, lines)).top / lines
    return {level for level, series in enumerate(chart.series) if series.peak >= line}


class _Grid:
    """The chart as rows of cells, the highest values first."""

    def __init__(self, chart: Chart, width: int, height: int, named: set[int]) -> None:
        self.chart, self.width, self.height, self._named = chart, width, height, named
        self.plot = Plot(chart, Box(0, 0, width, height))
        self.cells = [[_EMPTY] * width for _ in range(height)]
        for x in range(width):
            self._fill(x)
        self._draw_reboots()
        self._draw_limits()

    def letter(self, level: int) -> Cell:
        """What an area is filled with."""
        if level not in self._named:
            return _OTHERS, f"{ink_on(OTHERS_COLOUR)} on {OTHERS_COLOUR}"
        colour = self.plot.colour(level)
        return ascii_uppercase[level], f"{ink_on(colour)} on {colour}"

    def _fill(self, x: int) -> None:
        column = self._column(x)
        if column is None:
            return
        kernel = self.chart.kernel.values[column] if self.chart.kernel else None
        if kernel is not None:
            self.cells[_line_of(self.plot, kernel)][x] = _KERNEL, "bold"
        if self.chart.stack and self.chart.stack[0].values[column] is not None:
            edges = [floor[column] for floor in self.plot.floors]
            for y in range(self.height):
                middle = (self.height - y - 0.5) / self.height * self.plot.top
                level = bisect_right(edges, middle) - 1
                if level < len(self.chart.stack):
                    self.cells[y][x] = self.letter(level)

    def _column(self, x: int) -> int | None:
        """The largest of the columns in this cell; else the nearest one, unless nothing was recorded here."""
        times, seconds = self.chart.times, (self.plot.end - self.plot.start) / self.width
        begin = self.plot.start + x * seconds
        first, end = bisect_left(times, begin), bisect_left(times, begin + seconds)
        if x == self.width - 1:
            end = len(times)
        if first < end:
            return max(range(first, end), key=self._total)
        middle = begin + seconds / 2
        if any(found.start < middle < found.end for found in self.chart.breaks) or not 0 < first < len(times):
            return None
        return first if times[first] - middle < middle - times[first - 1] else first - 1

    def _total(self, column: int) -> int:
        kernel = self.chart.kernel.values[column] if self.chart.kernel else None
        return max(kernel or 0, self.plot.floors[-1][column])

    def _draw_reboots(self) -> None:
        for found in self.chart.breaks:
            if found.kind == "reboot":
                x = min(int(self.plot.x(found.end)), self.width - 1)
                for line in self.cells:
                    if line[x] == _EMPTY:
                        line[x] = _REBOOT, "bold"

    def _draw_limits(self) -> None:
        """Over an area only every second cell, so that its letters stay."""
        for limit in self.chart.limits:
            line = self.cells[_line_of(self.plot, limit.last)]
            for x in range(self.width):
                if x % 2 == 0 or line[x] == _EMPTY:
                    line[x] = _LIMIT, line[x][1]


def _line_of(plot: Plot, value: float) -> int:
    """The line in which a value stands, from the top."""
    return min(int(plot.y(value)), int(plot.box.height) - 1)


def _write_grid(sheet: Sheet, grid: _Grid, labels_width: int) -> None:
    labels = _axis_labels(grid.chart, grid.plot, grid.height)
    for y, cells in enumerate(grid.cells):
        blank = next((x for x, cell in enumerate(cells) if cell != _EMPTY), 0)
        parts = [("".join(c for c, _ in run), style) for style, run in groupby(cells[blank:], lambda cell: cell[1])]
        sheet.write(*parts, lead=(f"{labels.get(y, ''):>{labels_width}}│{' ' * blank}", "dim"))
    ticks = [
        (min(int(grid.plot.x(seconds)), grid.width - 1), label)
        for seconds, label in time_ticks(grid.plot.start, grid.plot.end, max(grid.width // 12, 2))
    ]
    marks = {x for x, _ in ticks}
    line = "".join("┬" if x in marks else "─" for x in range(grid.width))
    sheet.write(lead=(f"{'0':>{labels_width}}└{line}", "dim"))
    sheet.write(lead=(_time_line(ticks, labels_width, grid.width), "dim"))


def _axis_labels(chart: Chart, plot: Plot, lines: int) -> dict[int, str]:
    """Line -> label; where a limit stands, the limit."""
    ticks = value_ticks(int(plot.top), max(lines // 2, 2), chart.what)
    labels = {_line_of(plot, value): label for value, label in ticks if value}
    limits = {_line_of(plot, limit.last): f"{limit.name} {quantity(limit.last, chart.what)}" for limit in chart.limits}
    return {-1: "UTC   "} | labels | limits


def _time_line(ticks: Sequence[tuple[int, str]], labels_width: int, width: int) -> str:
    """Each label below its mark, unless it would touch the one before or the edge."""
    line = "UTC".rjust(labels_width - 3)
    for x, label in ticks:
        begin = labels_width + 1 + x - len(label) // 2
        if begin > len(line) and begin + len(label) <= labels_width + 1 + width:
            line = line.ljust(begin) + label
    return line


def _write_legend(sheet: Sheet, grid: _Grid, legend: Sequence[Row], small: Sequence[Row]) -> None:
    """One line an owner: mark, numbers, and as much of the name as fits."""
    begin = 1 if sheet.width < _NARROW else 0
    table = [HEADS[begin:], *(row.cells[begin:] for row in legend)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)) for cells in table]
    sheet.write(lead=(f"   {lines[0]}  {grid.chart.by}", "dim"))
    for row, line in zip(legend, lines[1:], strict=True):
        mark = (_KERNEL, "bold") if row.level is None else grid.letter(row.level)
        rest = styled(f"  {line}  {row.label}")
        rest.truncate(sheet.width - 1, overflow="ellipsis")
        sheet.write(mark, rest.plain)
    if small:
        sheet.write((f"{_OTHERS}  {count(len(small), 'more owner')} of less than one line of the chart each", "dim"))
