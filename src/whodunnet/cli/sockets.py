"""whodunnet sockets: the table of who owns which sockets, reconciled with the kernel's own totals."""

from __future__ import annotations

import click

from whodunnet.cli.duration import Duration
from whodunnet.cli.watch import Watch
from whodunnet.errors import UnreadableError
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads

VIEWS = ("container", "pod", "image", "process", "endpoint", "netns", "state")
SORTS = ("memory", "sockets", "growth")
GROWTH_SECONDS = 3.0


@click.command()
@click.option("--by", type=click.Choice(VIEWS), default="container", show_default=True, help="What a row is.")
@click.option("--sort", type=click.Choice(SORTS), default="memory", show_default=True, help="Largest first.")
@click.option("--top", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Rows shown.")
@click.option("--for", "seconds", type=Duration(), help="Watch this long to see growth.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
def command(by: str, sort: str, top: int, seconds: float | None, form: str, no_bpf: bool) -> None:
    """Show who owns the sockets of this node and what they hold.

    The last line compares the sums with the kernel's own totals: what remains unexplained belongs to nobody shown.
    """
    from whodunnet.report.console import make_console
    from whodunnet.report.owner_table import render_owner_json, render_owner_table
    from whodunnet.report.owners import tabulate

    window = seconds if seconds is not None else GROWTH_SECONDS if sort == "growth" else 0.0
    with Watch(("tcp_memory", "sockets"), bpf=not no_bpf) as watch:
        watch.watch(window)
        recording = watch.recording
    sockets, earlier = both_ends(recording)
    table = tabulate(
        sockets,
        recording.last(Workloads) or Workloads(),
        recording.last(TcpMemory),
        earlier,
        by=by,  # type: ignore[arg-type]
        sort=sort,  # type: ignore[arg-type]
        top=top,
    )
    if form == "json":
        click.echo(render_owner_json(table))
    else:
        render_owner_table(table, make_console())


def both_ends(recording: Recording) -> tuple[Sockets, Sockets | None]:
    """The newest sample, and the first one if there are several. Raises UnreadableError with the collector's reason."""
    series = recording.series(Sockets)
    if not series:
        failure = recording.failure("sockets")
        assert isinstance(failure, Failure)
        raise UnreadableError(failure.reason, failure.code, failure.missing_capability)
    return series[-1][1], series[0][1] if len(series) > 1 else None
