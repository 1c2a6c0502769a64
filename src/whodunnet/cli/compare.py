"""whodunnet compare: what changed between two recordings, or between two moments of one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whodunnet.cli.instant import Instant, TypedTime
from whodunnet.errors import UsageError
from whodunnet.recording.reader import StoredRecording, open_recording

if TYPE_CHECKING:
    from whodunnet.report.comparison import Taken

VIEWS = ("container", "pod", "image", "process", "endpoint", "netns", "state")
COMPARED, NOT_COMPARED = 0, 2


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("newer", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@click.option("--from", "start", type=Instant(), help="Compare this moment: RFC 3339, HH:MM[:SS] in UTC, or -10m.")
@click.option("--to", "end", type=Instant(), help="With this one; written as --from.")
@click.option("--by", type=click.Choice(VIEWS), default="container", show_default=True, help="What an owner is.")
@click.option("--top", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Owners shown.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output."
)
def command(
    file: Path, newer: Path | None, start: TypedTime | None, end: TypedTime | None, by: str, top: int, form: str
) -> None:
    """Show what changed: who is new, who grew, which limits and settings differ.

    Of two recordings, the newest snapshots are compared; of one, its first and its last snapshot, or those at --from
    and --to (the last one taken by then). Exit status: 0 compared, 2 owners could not be compared.
    """
    from whodunnet.report.comparison import compare
    from whodunnet.report.comparison_text import render_comparison, render_comparison_json
    from whodunnet.report.console import make_console

    if newer is not None and (start or end):
        raise UsageError("--from and --to choose two moments of one recording; give one file with them")
    before, after = moments(file, start, end) if newer is None else (newest(file), newest(newer))
    comparison = compare(before, after, by=by, top=top)  # type: ignore[arg-type]
    if comparison.seconds is not None and comparison.seconds < 0:
        raise UsageError("the second snapshot is older than the first; give the older one first")
    if form == "json":
        click.echo(render_comparison_json(comparison))
    else:
        render_comparison(comparison, make_console())
    click.get_current_context().exit(NOT_COMPARED if comparison.owners is None else COMPARED)


def newest(path: Path) -> Taken:
    """The last snapshot of a recording. Raises RecordingError."""
    with open_recording(path) as stored:
        return _last_by(stored, None)


def moments(path: Path, start: TypedTime | None, end: TypedTime | None) -> tuple[Taken, Taken]:
    """Two snapshots of one recording. Raises RecordingError, or UsageError if both times lead to the same one."""
    with open_recording(path) as stored:
        span = stored.start, stored.end
        before = _last_by(stored, start.resolve_to(*span)) if start else next(stored.snapshots())
        after = _last_by(stored, end.resolve_to(*span) if end else None)
    if before == after:
        at = before[1].at.wall.isoformat(timespec="seconds").replace("+00:00", "Z")
        raise UsageError(f"there is nothing to compare: both moments lead to the snapshot of {at} in {path}")
    return before, after


def _last_by(stored: StoredRecording, time: datetime | None) -> Taken:
    recording = stored.recording(end=time, at_most=1)
    return recording.node, recording.snapshots[-1]
