"""whodunnet replay: judge a recording as if it were happening now."""

from __future__ import annotations

from pathlib import Path

import click

from whodunnet.cli.duration import Duration
from whodunnet.cli.instant import Instant, TypedTime
from whodunnet.cli.judging import Judging, judging_options
from whodunnet.diagnosis.engine import diagnose
from whodunnet.errors import UsageError
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.recording.reader import SNAPSHOTS_MAX, open_recording


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "start", type=Instant(), help="Judge from here: RFC 3339, HH:MM[:SS] in UTC, or -10m.")
@click.option("--to", "end", type=Instant(), help="Judge to here; written as --from.")
@click.option("--for", "seconds", type=Duration(31), help="Judge this much, up to --to or the end.")
@judging_options
def command(
    file: Path, start: TypedTime | None, end: TypedTime | None, seconds: float | None, judging: Judging
) -> None:
    """Judge a recording exactly as the node it was made on would have been judged.

    FILE is what `whodunnet record` wrote, or JSON lines. Exit status: 0 healthy, 1 finding (at or above --fail-on),
    2 could not judge.
    """
    rules = judging.rules()
    if start is not None and seconds is not None:
        raise UsageError("--from and --for both say where to begin; give one of them")
    with open_recording(file) as stored:
        to = end.resolve_to(stored.start, stored.end) if end else None
        begin = start.resolve(stored.end) if start else None
        recording = stored.recording(begin, to, SNAPSHOTS_MAX, seconds)
    judging.answer(diagnose(recording, rules, judging.require, judging.config), page_size_bytes(recording))


def page_size_bytes(recording: Recording) -> int:
    """Of the node the recording was made on."""
    sample = recording.last(TcpMemory) or recording.last(Sockets)
    return sample.page_size_bytes if sample else 4096
