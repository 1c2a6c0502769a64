"""Where everything of a chart stands on a canvas; the page and the picture draw the same plot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from whodunnet.report.chart import Chart, Limit
from whodunnet.report.chart_axis import time_ticks, value_ticks

Point = tuple[float, float]
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8A4F2B")
"""Okabe and Ito's colours, which colour-blind people can tell apart; a brown stands for their black."""
LIGHTER = ("#7FB8D8", "#F2CF7F", "#7FCEB9", "#E5BCD3", "#AAD9F4", "#EAAE7F", "#F7F1A0", "#C4A795")
"""The same, half way to white, for the second eight."""
OWNERS_MAX = len(COLOURS) + len(LIGHTER)
OTHERS_COLOUR = "#A6A6A6"
_DARK = ("#0072B2", "#009E73", "#D55E00", "#8A4F2B")
_HEADROOM = 1.06
_LABEL_HEIGHT = 18.0
_LABEL_ROOM = 8.0
_SAME_PLACE = 14.0


class Box(msgspec.Struct, frozen=True):
    """The area of the data within the canvas, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


class Mark(msgspec.Struct, frozen=True):
    """A text at a point. colour: what it stands on, where that matters."""

    x: float
    y: float
    text: str
    colour: str = ""


class Plot:
    """A chart in a box. start, end, top: what the axes reach, in unix seconds and values."""

    def __init__(self, chart: Chart, box: Box) -> None:
        self.chart, self.box = chart, box
        self.start, self.end = chart.times[0], chart.times[-1]
        if self.end - self.start < 1:
            self.start, self.end = self.start - 30, self.end + 30
        self.top = chart.top * _HEADROOM
        self.floors = floors(chart)

    def x(self, seconds: float) -> float:
        """Pixels from the left edge."""
        return self.box.left + (seconds - self.start) / (self.end - self.start) * self.box.width

    def y(self, value: float) -> float:
        """Pixels from the upper edge; never outside of the box."""
        return self.box.bottom - min(max(value, 0) / self.top, 1) * self.box.height

    def areas(self) -> Iterator[tuple[str, list[list[Point]]]]:
        """Colour and polygons of each area, from the bottom up."""
        for level in range(len(self.chart.stack)):
            lower, upper = self.floors[level], self.floors[level + 1]
            yield self.colour(level), [self._polygon(first, end, lower, upper) for first, end in self.chart.runs]

    def colour(self, level: int) -> str:
        """Of the area at this level of the stack."""
        is_others = level == len(self.chart.series)
        return OTHERS_COLOUR if is_others else (COLOURS + LIGHTER)[level % OWNERS_MAX]

    def kernel(self) -> Iterator[list[Point]]:
        """The line of the kernel's own total."""
        if self.chart.kernel is not None:
            values = [value or 0 for value in self.chart.kernel.values]
            for first, end in self.chart.kernel_runs:
                yield self._line(first, end, values)

    def limit(self, limit: Limit) -> list[Point]:
        """A staircase over the whole width: it holds until it is changed."""
        points: list[Point] = []
        known = [(t, v) for t, v in zip(self.chart.times, limit.values, strict=True) if v is not None]
        level = self.y(known[0][1])
        points.append((self.box.left, level))
        for seconds, value in known:
            if self.y(value) != level:
                points += [(self.x(seconds), level), (self.x(seconds), self.y(value))]
                level = self.y(value)
        return [*points, (self.box.right, level)]

    def limit_marks(self) -> list[Mark]:
        """The names of the limits at the right edge, the lower ones moved down where two would overlap."""
        marks: list[Mark] = []
        for limit in reversed(self.chart.limits):
            y = self.y(limit.last)
            if marks:
                y = max(y, marks[-1].y + _SAME_PLACE)
            marks.append(Mark(self.box.right + 6, y, limit.name))
        return marks

    def value_marks(self) -> list[Mark]:
        """Round values at the left edge."""
        at_most = max(int(self.box.height // 50), 2)
        ticks = value_ticks(int(self.top), at_most, self.chart.what)
        return [Mark(self.box.left, self.y(value), label) for value, label in ticks]

    def time_marks(self) -> list[Mark]:
        """Round times at the lower edge."""
        ticks = time_ticks(self.start, self.end, max(int(self.box.width // 90), 2))
        return [Mark(self.x(seconds), self.box.bottom, label) for seconds, label in ticks]

    def area_marks(self, text_width: Callable[[str], float]) -> Iterator[Mark]:
        """The label of each area that has room for it, as far right as it fits."""
        for level, series in enumerate(self.chart.series):
            place = self._place(level, text_width(series.label))
            if place is not None:
                yield Mark(*place, series.label, ink_on(self.colour(level)))

    def _place(self, level: int, width: float) -> Point | None:
        """Where the middle of the label's left end stands."""
        for first, end in reversed(self.chart.runs):
            xs = [self.x(seconds) for seconds in self.chart.times[first:end]]
            for right in range(len(xs) - 1, 0, -max(len(xs) // 40, 1)):
                left = next((n for n in range(right, -1, -1) if xs[right] - xs[n] >= width + 2 * _LABEL_ROOM), None)
                if left is None:
                    break
                columns = range(first + left, first + right + 1)
                highest = max(self.y(self.floors[level + 1][n]) for n in columns)
                lowest = min(self.y(self.floors[level][n]) for n in columns)
                if lowest - highest >= _LABEL_HEIGHT:
                    return xs[right] - width - _LABEL_ROOM, (lowest + highest) / 2
        return None

    def _polygon(self, first: int, end: int, lower: Sequence[int], upper: Sequence[int]) -> list[Point]:
        return [*self._line(first, end, upper), *reversed(self._line(first, end, lower))]

    def _line(self, first: int, end: int, values: Sequence[int]) -> list[Point]:
        """A single column is as wide as can be seen."""
        points = [(self.x(self.chart.times[n]), self.y(values[n])) for n in range(first, end)]
        if len(points) > 1:
            return points
        half = 1.5 if len(self.chart.times) > 1 else self.box.width / 20
        (x, y), box = points[0], self.box
        return [(max(x - half, box.left), y), (min(x + half, box.right), y)]


def ink_on(colour: str) -> str:
    """What can be read on it."""
    return "#FFFFFF" if colour in _DARK else "#000000"


def floors(chart: Chart) -> list[list[int]]:
    """The lower edge of each area in each column, and the upper edge of the last one."""
    floors = [[0] * len(chart.times)]
    for series in chart.stack:
        floors.append([below + (value or 0) for below, value in zip(floors[-1], series.values, strict=True)])
    return floors
