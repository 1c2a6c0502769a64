"""whodunnet plot: who had how much when, from a recording, as a page, a picture or in the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whodunnet.cli.instant import Instant, TypedTime
from whodunnet.cli.sockets import VIEWS
from whodunnet.errors import UsageError

if TYPE_CHECKING:
    from whodunnet.report.chart import Chart

WHATS = ("tcp-memory", "sockets")
OWNERS_MAX = 16
MANY_SNAPSHOTS = 1000
"""Reading so many takes seconds, in which whoever waits should know for what."""

TERMINAL = "-"


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--what", type=click.Choice(WHATS), default="tcp-memory", show_default=True, help="What is drawn.")
@click.option("--by", type=click.Choice(VIEWS), default="container", show_default=True, help="What an area is.")
@click.option("--top", type=click.IntRange(1, OWNERS_MAX), default=8, show_default=True, help="Owners shown.")
@click.option("--from", "start", type=Instant(), help="Leave out what is before this time.")
@click.option("--to", "end", type=Instant(), help="Leave out what is after this time.")
@click.option("-o", "--output", metavar="FILE.html|FILE.png|-", default=TERMINAL, show_default=True, help="Where to.")
def command(
    file: Path, what: str, by: str, top: int, start: TypedTime | None, end: TypedTime | None, output: str
) -> None:
    """Draw who had how much TCP memory, or how many TCP sockets, over the time of a recording.

    Areas are owners, the solid line is the kernel's own total, and the limits are lines. Times are UTC.
    """
    from whodunnet.recording.reader import open_recording
    from whodunnet.report.chart import make_chart

    write = _writer(output, file)
    with open_recording(file) as stored:
        if len(stored) > MANY_SNAPSHOTS:
            click.echo(f"Reading {len(stored):,} snapshots ...", err=True)
        first = start.resolve(stored.end) if start else None
        last = end.resolve_to(stored.start, stored.end) if end else None
        if first is not None and last is not None and first > last:
            raise UsageError("--from is later than --to")
        chart = make_chart(
            stored.snapshots(first, last),
            what=what,  # type: ignore[arg-type]
            by=by,  # type: ignore[arg-type]
            top=top,
        )
    write(chart)


def _writer(output: str, recording: Path) -> Callable[[Chart], None]:
    """Raises UsageError for a place that cannot take the chart, before anything is read."""
    if output == TERMINAL:
        return _print
    path = Path(output)
    kind = path.suffix.lower()
    if kind not in (".html", ".png"):
        raise UsageError(f"{output!r} is no place for a chart; use FILE.html, FILE.png or - for the terminal")
    if path.exists() and recording.exists() and path.samefile(recording):
        raise UsageError(f"{output!r} is the recording itself; write the chart into another file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {str(path.parent)!r} to write the chart into")
    if kind == ".html":
        return lambda chart: _write_page(chart, path)
    from whodunnet.report.chart_png import require_pillow

    require_pillow()
    return lambda chart: _write_picture(chart, path)


def _print(chart: Chart) -> None:
    from whodunnet.report.chart_text import render_terminal
    from whodunnet.report.console import make_console

    render_terminal(chart, make_console())


def _write_page(chart: Chart, path: Path) -> None:
    from whodunnet.report.chart_svg import render_page

    _write(path, render_page(chart).encode("utf-8", "replace"))


def _write_picture(chart: Chart, path: Path) -> None:
    from whodunnet.report.chart_png import render_picture

    _write(path, render_picture(chart))


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing: where there is no room, the older file stays."""
    place = path.resolve()
    new = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        try:
            new.write_bytes(content)
            new.replace(place)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
