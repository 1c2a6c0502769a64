"""The numbers of a chart, row by row: the legend of every form of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from whodunnet.report.chart import Chart, Series
from whodunnet.report.chart_axis import growth, quantity

HEADS = ("first", "peak", "last", "growth/h")


class Row(msgspec.Struct, frozen=True):
    """level: of the area in the stack, None for the kernel's total and the limits. cells: as HEADS."""

    level: int | None
    label: str
    cells: tuple[str, ...]
    limit: str | None = None


def rows(chart: Chart) -> list[Row]:
    """The owners as they are stacked from the bottom, then what they are compared with."""
    return [
        *(Row(level, series.label, _cells(chart, series)) for level, series in enumerate(chart.stack)),
        *_compared(chart),
    ]


def _compared(chart: Chart) -> Iterator[Row]:
    if chart.kernel is not None:
        yield Row(None, chart.kernel.label, _cells(chart, chart.kernel))
    for limit in chart.limits:
        known = [value for value in limit.values if value is not None]
        values = [quantity(value, chart.what) for value in (known[0], max(known), known[-1])]
        yield Row(None, f"tcp_mem {limit.name}", (*values, ""), limit.name)


def _cells(chart: Chart, series: Series) -> tuple[str, ...]:
    values = [quantity(value, chart.what) for value in (series.first, series.peak, series.last)]
    return (*values, growth(series.per_hour, chart.what))
