"""What diagnose and replay share: which rules, how the answer is printed, and the exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click
import msgspec

from whodunnet.cli.config import config_option
from whodunnet.cli.pods import PODS_HELP, PodsFile
from whodunnet.cli.rule import complete_rule
from whodunnet.diagnosis.engine import missing_answers
from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import SEVERITIES
from whodunnet.report.pod_names import PodNames, with_pods
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.connection_sight import TOO_FEW
from whodunnet.rules.overrides import Overrides

HEALTHY, FINDING, UNJUDGED = 0, 1, 2


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """The options of both verbs as they were given."""

    only: Sequence[str]
    skip: Sequence[str]
    require: Sequence[str]
    fail_on: str
    form: str
    pods: PodNames | None
    config: Overrides
    verbose: bool

    def rules(self) -> list[str]:
        """The rules to run, in catalogue order. Raises UsageError for a name that is no rule, or if none is left."""
        known = list(catalogue())
        for name in (*self.only, *self.skip, *self.require):
            if name not in known:
                raise UsageError(f"there is no rule {name!r}; there are: {', '.join(known)}")
        rules = [r for r in known if (not self.only or r in self.only) and r not in self.skip]
        left_out = [name for name in self.require if name not in rules]
        if left_out:
            raise UsageError(f"--require {left_out[0]} contradicts --only or --skip, which leave that rule out")
        if not rules:
            raise UsageError("--only and --skip leave no rule to run")
        return rules

    def answer(self, diagnosis: Diagnosis, page_size_bytes: int) -> None:
        """Print the diagnosis and end with its exit status."""
        if self.pods is not None:
            diagnosis = with_pods(diagnosis, self.pods)
        status = exit_status(diagnosis, self.fail_on, self.require)
        show(diagnosis, self.form, self.verbose, page_size_bytes, status == FINDING)
        click.get_current_context().exit(status)


_OPTIONS = (
    click.option("--only", multiple=True, metavar="RULE", shell_complete=complete_rule,
                 help="Run this rule only (repeatable)."),
    click.option("--skip", multiple=True, metavar="RULE", shell_complete=complete_rule,
                 help="Leave this rule out (repeatable)."),
    click.option("--require", multiple=True, metavar="RULE", shell_complete=complete_rule,
                 help="Without its answer the node is not healthy."),
    click.option("--fail-on", type=click.Choice(SEVERITIES), default="warning", show_default=True,
                 help="Exit with 1 from here on."),
    click.option("--format", "form", type=click.Choice(["text", "json", "npd"]), default="text", show_default=True,
                 help="Output."),
    click.option("--pods", type=PodsFile(), metavar="FILE", help=PODS_HELP),
    config_option,
    click.option("-v", "--verbose", is_flag=True, help="Show every reading behind what was ruled out."),
)  # fmt: skip


def judging_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; the command gets them as one argument `judging`."""

    @wraps(command)
    def with_judging(**options: Any) -> None:
        mine = {name: options.pop(name) for name in Judging.__struct_fields__}
        command(judging=Judging(**mine), **options)

    decorated: Callable[..., None] = with_judging
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


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
    """The three answers; a finding below --fail-on is none, and does not stand for what was not judged.

    Of which too few readings tell whether it lasts would be none either where its rule never reaches --fail-on.
    """
    worst = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    if any(f.severity in worst for f in diagnosis.findings):
        return FINDING
    answered = {f.rule for f in diagnosis.findings} | {c.rule for c in diagnosis.cleared}
    answered |= {n.rule for n in diagnosis.not_applicable}
    gaps = [n for n in diagnosis.not_checked if n.code != TOO_FEW or catalogue()[n.rule].severity in worst]
    return UNJUDGED if missing_answers(gaps, required, answered) else HEALTHY
