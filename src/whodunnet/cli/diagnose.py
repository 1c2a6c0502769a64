"""whodunnet diagnose: watch, judge, say who."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from whodunnet.cli.duration import Duration
from whodunnet.cli.judging import Judging, judging_options
from whodunnet.cli.standing import standing_lines
from whodunnet.cli.watch import Watch
from whodunnet.diagnosis.engine import diagnose, with_cost
from whodunnet.errors import UsageError
from whodunnet.rules.catalogue import needed_collectors

DEFAULT_WINDOW = "3s"
OF_A_NODE = {"seconds": "--for", "active": "--active", "no_bpf": "--no-bpf"}
"""Options that copied files have no use for."""


@click.command()
@click.option("--for", "seconds", type=Duration(), default=DEFAULT_WINDOW, show_default=True, help="How long to watch.")
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Judge files that were copied from a machine (a support bundle), not this one.",
)
@click.option(
    "--active", is_flag=True, help="Also read what may itself delay packets (memory.stat), and ask name servers."
)
@judging_options
def command(seconds: float, no_bpf: bool, active: bool, root: Path | None, judging: Judging) -> None:
    """Watch this node for a moment and say who is breaking its network.

    Exit status: 0 healthy, 1 finding (at or above --fail-on), 2 could not judge.
    """
    rules = judging.rules()
    if root is not None:
        judge_tree(root, rules, judging)
    with Watch(needed_collectors(rules), bpf=not no_bpf, active=active) as watch:
        if judging.form == "text":
            from whodunnet.report.console import make_console
            from whodunnet.report.text import render_standing

            render_standing(standing_lines(watch.standing(), seconds), make_console())
        watch.watch(seconds, goes_on=True)
        recording = watch.recording
        diagnosis = with_cost(diagnose(recording, rules, judging.require, judging.config), watch.recording)
    if judging.form == "text":
        from whodunnet.cli.advice import refusal, show_advice

        lines = show_advice(watch.place, watch.support, None if no_bpf else refusal(recording))
        if lines:
            click.get_current_context().call_on_close(lambda: click.echo("\n".join(lines), err=True))
    judging.answer(diagnosis, watch.support.page_size_bytes)


def judge_tree(root: Path, rules: Sequence[str], judging: Judging) -> None:
    """Judge copied files, print the answer and end. Raises UsageError."""
    from whodunnet.cli.replay import page_size_bytes
    from whodunnet.collectors.tree.reading import read_tree

    given = click.get_current_context().get_parameter_source
    for name, option in OF_A_NODE.items():
        if given(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} is for a node that runs and --root for files copied from one: give one of them")
    recording = read_tree(root, needed_collectors(rules))
    judging.answer(diagnose(recording, rules, judging.require, judging.config), page_size_bytes(recording))
