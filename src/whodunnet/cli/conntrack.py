"""whodunnet conntrack: the table of who opened which tracked connections, and what could not be attributed."""

from __future__ import annotations

import click
from click.core import ParameterSource

from whodunnet.cli.advice import show_advice
from whodunnet.cli.duration import Duration
from whodunnet.cli.pods import PODS_HELP, PodsFile
from whodunnet.cli.watch import Watch
from whodunnet.errors import UnreadableError, UsageError
from whodunnet.kernel.host import Place
from whodunnet.kernel.support import Support
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.report.pod_names import PodNames

VIEWS = ("workload", "pod", "source", "destination", "state", "protocol", "netns")
SORTS = ("entries", "growth", "unreplied")
GROWTH_SECONDS = 3.0
COLLECTORS = ("conntrack", "addresses", "sockets")
EXIT_UNREAD = 2
NEEDED = ("CAP_NET_ADMIN",)
"""Beyond what other commands need."""


@click.command()
@click.argument("filters", metavar="[FILTER]...", nargs=-1)
@click.option("--by", type=click.Choice(VIEWS), default="workload", show_default=True, help="What a row is.")
@click.option("--sort", type=click.Choice(SORTS), default="entries", show_default=True, help="Largest first.")
@click.option("--top", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Rows shown.")
@click.option("--for", "seconds", type=Duration(), help="Watch this long; with --watch, the end of it.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--pods", type=PodsFile(), metavar="FILE", help=PODS_HELP)
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
@click.option("--watch", "live", is_flag=True, help="Show connections as they come, change and go; FILTERs choose.")
@click.pass_context
def command(
    context: click.Context,
    filters: tuple[str, ...],
    by: str,
    sort: str,
    top: int,
    seconds: float | None,
    form: str,
    pods: PodNames | None,
    no_bpf: bool,
    live: bool,
) -> None:
    """Show who opened the connections that this node tracks, to where, and how many of them are really open.

    The last lines say what could not be attributed, and why. Whoever holds most is not therefore the culprit: that is
    what `whodunnet diagnose` judges.
    """
    if live:
        refuse_beside_watch(context)
        from whodunnet.cli.conntrack_watch import watch as show_live

        show_live(filters, pods, seconds, form)
        return
    if filters:
        raise UsageError(f"a FILTER such as {filters[0]!r} is for --watch only; without it there is --by and --sort")
    from whodunnet.report.flows import tabulate_flows

    window = seconds if seconds is not None else GROWTH_SECONDS if sort == "growth" else 0.0
    with Watch(COLLECTORS, bpf=not no_bpf) as watch:
        watch.watch(window)
        recording = watch.recording
    require_table(recording, watch)
    table = tabulate_flows(recording, by=by, sort=sort, top=top, pods=pods)  # type: ignore[arg-type]
    if form == "json":
        from whodunnet.report.flow_table import render_flow_json

        click.echo(render_flow_json(table))
    else:
        from whodunnet.report.console import make_console
        from whodunnet.report.flow_table import render_flow_table

        render_flow_table(table, make_console())
    if not table.answers or (table.attribution is not None and table.attribution.not_seen):
        for line in show_advice(watch.place, watch.support, also=NEEDED):
            click.echo(line, err=True)
    context.exit(0 if table.answers else EXIT_UNREAD)


def refuse_beside_watch(context: click.Context) -> None:
    """Raises UsageError for an option of the table that was given with --watch."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        if given and parameter.name in ("by", "sort", "top", "no_bpf"):
            raise UsageError(
                f"{parameter.opts[0]} is of the table; beside --watch there are FILTERs, --for, --format and --pods"
            )


def require_table(recording: Recording, watch: Watch) -> None:
    """Raises click.ClickException with the collector's reason, and what would help, if its newest reading failed."""
    failure = recording.failure("conntrack")
    if failure is None:
        return
    assert isinstance(failure, Failure)
    error = UnreadableError(failure.reason, failure.code, failure.missing_capability)
    raise refused("the table of tracked connections cannot be read", error, watch.place, watch.support)


def refused(what: str, error: UnreadableError, place: Place, support: Support) -> click.ClickException:
    """The sentence for what cannot be had; below it, if a right is missing, the command line that has it."""
    needed = error.missing_capability
    lines = show_advice(place, support, also=NEEDED) if needed is not None else []
    reason = str(error) if needed is None or needed in str(error) else f"{error} (needs {needed})"
    return click.ClickException("\n".join([f"{what}: {reason}", *lines]))
