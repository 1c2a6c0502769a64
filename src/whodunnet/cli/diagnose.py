"""whodunnet diagnose: watch, judge, say who."""

from __future__ import annotations

import click

from whodunnet.cli.duration import Duration
from whodunnet.cli.judging import Judging, judging_options
from whodunnet.cli.standing import standing_lines
from whodunnet.cli.watch import Watch
from whodunnet.diagnosis.engine import diagnose, with_cost
from whodunnet.rules.catalogue import needed_collectors

DEFAULT_WINDOW = "3s"


@click.command()
@click.option("--for", "seconds", type=Duration(), default=DEFAULT_WINDOW, show_default=True, help="How long to watch.")
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
@click.option("--active", is_flag=True, help="Also read what may itself delay packets: memory.stat.")
@judging_options
def command(seconds: float, no_bpf: bool, active: bool, judging: Judging) -> None:
    """Watch this node for a moment and say who is breaking its network.

    Exit status: 0 healthy, 1 finding (at or above --fail-on), 2 could not judge.
    """
    rules = judging.rules()
    with Watch(needed_collectors(rules), bpf=not no_bpf, active=active) as watch:
        if judging.form == "text":
            from whodunnet.report.console import make_console
            from whodunnet.report.text import render_standing

            render_standing(standing_lines(watch.standing(), seconds), make_console())
        watch.watch(seconds)
        recording = watch.recording
        diagnosis = with_cost(diagnose(recording, rules, judging.require), watch.recording)
    if judging.form == "text":
        from whodunnet.cli.advice import refusal, show_advice

        lines = show_advice(watch.place, watch.support, None if no_bpf else refusal(recording))
        if lines:
            click.get_current_context().call_on_close(lambda: click.echo("\n".join(lines), err=True))
    judging.answer(diagnosis, watch.support.page_size_bytes)
