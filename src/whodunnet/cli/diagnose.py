"""whodunnet diagnose: watch, judge, say who."""

from __future__ import annotations

from collections.abc import Sequence

import click

from whodunnet.cli.duration import Duration
from whodunnet.cli.standing import standing_lines
from whodunnet.cli.watch import Watch
from whodunnet.diagnosis.engine import diagnose, missing_answers, with_cost
from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import SEVERITIES
from whodunnet.rules.catalogue import catalogue

DEFAULT_WINDOW = "3s"
HEALTHY, FINDING, UNJUDGED = 0, 1, 2


@click.command()
@click.option("--for", "seconds", type=Duration(), default=DEFAULT_WINDOW, show_default=True, help="How long to watch.")
@click.option("--only", multiple=True, metavar="RULE", help="Run this rule only (repeatable).")
@click.option("--skip", multiple=True, metavar="RULE", help="Leave this rule out (repeatable).")
@click.option("--require", multiple=True, metavar="RULE", help="Without its answer the node is not healthy.")
@click.option(
    "--fail-on", type=click.Choice(SEVERITIES), default="warning", show_default=True, help="Exit with 1 from here on."
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "npd"]), default="text", show_default=True, help="Output."
)
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
@click.option("-v", "--verbose", is_flag=True, help="Show every reading behind what was ruled out.")
def command(
    seconds: float,
    only: Sequence[str],
    skip: Sequence[str],
    require: Sequence[str],
    fail_on: str,
    form: str,
    no_bpf: bool,
    verbose: bool,
) -> None:
    """Watch this node for a moment and say who is breaking its network.

    Exit status: 0 healthy, 1 finding (at or above --fail-on), 2 could not judge.
    """
    rules = chosen(only, skip, require)
    wanted = {name for rule in rules for name in (*catalogue()[rule].required, *catalogue()[rule].optional)}
    with Watch(wanted, bpf=not no_bpf) as watch:
        if form == "text":
            from whodunnet.report.console import make_console
            from whodunnet.report.text import render_standing

            render_standing(standing_lines(watch.standing(), seconds), make_console())
        watch.watch(seconds)
        recording = watch.recording
        diagnosis = with_cost(diagnose(recording, rules, require), watch.recording)
        page = watch.support.page_size_bytes
    status = exit_status(diagnosis, fail_on, require)
    show(diagnosis, form, verbose, page, status == FINDING)
    click.get_current_context().exit(status)


def chosen(only: Sequence[str], skip: Sequence[str], require: Sequence[str]) -> list[str]:
    """The rules to run, in catalogue order. Raises UsageError for a name that is no rule, or if none is left."""
    known = list(catalogue())
    for name in (*only, *skip, *require):
        if name not in known:
            raise UsageError(f"there is no rule {name!r}; there are: {', '.join(known)}")
    rules = [r for r in known if (not only or r in only) and r not in skip]
    left_out = [name for name in require if name not in rules]
    if left_out:
        raise UsageError(f"--require {left_out[0]} contradicts --only or --skip, which leave that rule out")
    if not rules:
        raise UsageError("--only and --skip leave no rule to run")
    return rules


def show(diagnosis: Diagnosis, form: str, verbose: bool, page_size_bytes: int, is_finding: bool) -> None:
    """Print a diagnosis on standard output. is_finding: the exit status will say so."""
    if form == "json":
        from whodunnet.report.json import render_json

        click.echo(render_json(diagnosis))
    elif form == "npd":
        from whodunnet.report.npd import render_npd

        click.echo(render_npd(diagnosis, is_finding))
    else:
        from whodunnet.report.console import make_console
        from whodunnet.report.text import render_text

        render_text(diagnosis, verbose=verbose, console=make_console(), page_size_bytes=page_size_bytes)


def exit_status(diagnosis: Diagnosis, fail_on: str, required: Sequence[str] = ()) -> int:
    """The three answers; a finding below --fail-on is none, and does not stand for what was not judged."""
    worst = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    if any(f.severity in worst for f in diagnosis.findings):
        return FINDING
    answered = {f.rule for f in diagnosis.findings} | {c.rule for c in diagnosis.cleared}
    answered |= {n.rule for n in diagnosis.not_applicable}
    return UNJUDGED if missing_answers(diagnosis.not_checked, required, answered) else HEALTHY
