"""whodunnet record: keep what the node shows, to judge it later or elsewhere."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path

import click
import msgspec

from whodunnet.cli.advice import show_advice
from whodunnet.cli.duration import Duration
from whodunnet.cli.ending import ending_now
from whodunnet.cli.size import Size
from whodunnet.cli.watch import BUSY_SHARE, ENOUGH, GOES_ON, Watch
from whodunnet.collectors.snapshots import COLLECTORS, boot_seconds
from whodunnet.errors import UsageError
from whodunnet.model.connections import Connections, ends_in_order
from whodunnet.model.conntrack import Conntrack, flows_in_order
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.sockets import Sockets, in_order
from whodunnet.model.text import shell_quote
from whodunnet.recording.header import header_of
from whodunnet.recording.recorder import Recorder
from whodunnet.recording.redact import Redactor
from whodunnet.report.quantity import count, duration, size

LEAST_EVERY_SECONDS = 0.1


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--every", type=Duration(), default="10s", show_default=True, help="Time from snapshot to snapshot.")
@click.option("--for", "seconds", type=Duration(31), default="1h", show_default=True, help="How long to record.")
@click.option(
    "--max-size", type=Size(10**6), default="200MB", show_default=True, help="The oldest is thinned to stay below."
)
@click.option("--redact", is_flag=True, help="Store pseudonyms in place of names, addresses and paths.")
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
def command(file: Path, every: float, seconds: float, max_size: int, redact: bool, no_bpf: bool) -> None:
    """Record this node into FILE; `whodunnet replay FILE` judges it, here or elsewhere.

    A recording of the same node is continued. Ctrl-C ends it well. Exit status: 0 recorded to the end or ended by a
    signal, 2 not recorded, or ended early.
    """
    if every < LEAST_EVERY_SECONDS:
        raise UsageError(f"--every is {every:g}s; the shortest is {LEAST_EVERY_SECONDS:g}s")
    try:
        with Recorder(file, max_size) as recorder, Watch(COLLECTORS, bpf=not no_bpf) as watch:
            # Held back until between two snapshots: whatever ends the recording, the last snapshot is whole.
            signal.pthread_sigmask(signal.SIG_BLOCK, ending_now())
            length = f"every {duration(every)} for {duration(seconds)}"
            click.echo(f"Recording to {file} {length}; Ctrl-C ends it.", err=True)
            kept = keep(recorder, watch, every, seconds, Redactor() if redact else None)
            lines = (*summary(recorder, kept), *show_advice(watch.place, watch.support))
    finally:
        # One that comes with the last snapshot finds nothing left to end.
        while signal.sigtimedwait(ending_now(), 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_now())
    for line in lines:
        click.echo(line, err=True)


def keep(recorder: Recorder, watch: Watch, every: float, seconds: float, redactor: Redactor | None) -> int:
    """Snapshots until the time is over or a signal ends it; how many. Raises RecordingError if the disk refuses.

    It goes on for up to GOES_ON times as long while there are fewer than were asked for and tell what lasts.
    """
    watch.start()
    begin, kept, due, until = boot_seconds(), 0, 0.0, seconds
    least = min(ENOUGH, 1 + int(seconds / every))
    while True:
        cpu = time.process_time()
        keep_one(recorder, watch, redactor)
        kept, now = kept + 1, boot_seconds()
        apart = max(every, (time.process_time() - cpu) / BUSY_SHARE)
        after = due + apart * max(1, math.ceil((now - begin - due) / apart))
        if due >= until and kept < least:
            until = min(after, GOES_ON * seconds)
        is_last, due = due >= until, min(until, after)
        if is_last or signal.sigtimedwait(ending_now(), max(0.0, begin + due - now)) is not None:
            return kept


def keep_one(recorder: Recorder, watch: Watch, redactor: Redactor | None) -> None:
    """One more snapshot. Raises RecordingError."""
    snapshot, header = watch.take(), header_of(watch.recording)
    if redactor is not None:
        header = msgspec.structs.replace(header, node=redactor.node(header.node), redacted=True)
        snapshot = reordered(redactor.snapshot(snapshot))
    recorder.append(snapshot, header)


def reordered(snapshot: Snapshot) -> Snapshot:
    """Pseudonyms in their own order: that of the originals would tell which address is the lower one."""
    return msgspec.structs.replace(snapshot, samples={name: _reordered(s) for name, s in snapshot.samples.items()})


def _reordered(sample: AnySample) -> AnySample:
    if isinstance(sample, Conntrack):
        return flows_in_order(sample)
    if isinstance(sample, Connections):
        return ends_in_order(sample)
    return in_order(sample) if isinstance(sample, Sockets) else sample


def summary(recorder: Recorder, kept: int) -> tuple[str, str]:
    """What there is now, and how to judge it."""
    thinned = f", {count(recorder.thinned, 'older one')} thinned out" if recorder.thinned else ""
    return (
        f"Recorded {count(kept, 'snapshot')}{thinned}: {size(recorder.size_bytes)} in {recorder.path}",
        f"Judge them, here or elsewhere: whodunnet replay {shell_quote(str(recorder.path))}",
    )
