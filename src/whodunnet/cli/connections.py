"""whodunnet connections: the table of who connected to whom, how long that took, and how it ended."""

from __future__ import annotations

import sys
import time

import click

from whodunnet.cli.advice import refusal, show_advice
from whodunnet.cli.conntrack import NEEDED, refused
from whodunnet.cli.duration import Duration
from whodunnet.cli.ending import Ended, ending_signals, interruptible
from whodunnet.cli.pods import PODS_HELP, PodsFile
from whodunnet.cli.watch import Watch
from whodunnet.errors import UnreadableError, UsageError
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.report.pod_names import PodNames
from whodunnet.report.quantity import duration

VIEWS = ("endpoint", "workload", "pair")
SORTS = ("connections", "failed", "slow")
COLLECTORS = ("connections", "sockets", "conntrack", "addresses")
DEFAULT_WINDOW = "10s"
EXIT_UNSEEN = 2


@click.command()
@click.option("--for", "seconds", type=Duration(), default=DEFAULT_WINDOW, show_default=True, help="How long to watch.")
@click.option("--by", type=click.Choice(VIEWS), default="endpoint", show_default=True, help="What a row is.")
@click.option("--failed", is_flag=True, help="Only rows of which something failed or had to be tried again.")
@click.option("--sort", type=click.Choice(SORTS), default="connections", show_default=True, help="Largest first.")
@click.option("--top", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Rows shown.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--pods", type=PodsFile(), metavar="FILE", help=PODS_HELP)
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
@click.pass_context
def command(
    context: click.Context,
    seconds: float,
    by: str,
    failed: bool,
    sort: str,
    top: int,
    form: str,
    pods: PodNames | None,
    no_bpf: bool,
) -> None:
    """Show who connected to whom, how long that took, and how it ended: closed by whom, reset, refused, timed out.

    What began or ended while it watches is in it, and nothing from before. Ctrl-C ends the window early. Whoever resets
    or closes is not therefore the culprit: that is what `whodunnet diagnose` judges.
    """
    if not seconds:
        raise UsageError("--for 0s sees no connection begin or end: give it a window, such as --for 10s")
    from whodunnet.report.connections import tabulate_connections

    with Watch(COLLECTORS, bpf=not no_bpf) as watch:
        watch_window(watch, seconds)
        recording = watch.recording
    require_connections(recording, watch)
    table = tabulate_connections(recording, by=by, sort=sort, failed=failed, top=top, pods=pods)  # type: ignore[arg-type]
    if form == "json":
        from whodunnet.report.connection_table import render_connection_json

        click.echo(render_connection_json(table))
    else:
        from whodunnet.report.connection_table import render_connection_table
        from whodunnet.report.console import make_console

        render_connection_table(table, make_console())
    if not table.answers or table.not_seen:
        for line in show_advice(watch.place, watch.support, None if no_bpf else refusal(recording), also=NEEDED):
            click.echo(line, err=True)
    context.exit(0 if table.answers else EXIT_UNSEEN)


def watch_window(watch: Watch, seconds: float) -> None:
    """Snapshots until the time is over or a signal ends it; one more then, so that nothing seen is left out."""
    if sys.stderr.isatty():
        click.echo(f"Watching connections for {duration(seconds)}; Ctrl-C ends it early.", err=True)
    with ending_signals():
        try:
            watch.watch(seconds, sleep=pause)
        except Ended:
            watch.watch(0.0)


def pause(seconds: float) -> None:
    """Sleep. Raises Ended when a signal comes, or came while nothing was to be disturbed."""
    with interruptible():
        time.sleep(seconds)


def require_connections(recording: Recording, watch: Watch) -> None:
    """Raises click.ClickException with the collector's reason, and what would help, if its newest reading failed."""
    failure = recording.failure("connections")
    if failure is None:
        return
    assert isinstance(failure, Failure)
    error = UnreadableError(failure.reason, failure.code, failure.missing_capability)
    raise refused("how connections begin and end cannot be read", error, watch.place, watch.support)
