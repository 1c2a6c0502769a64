"""whodunnet why: from an error, a pod or an endpoint to what explains it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from whodunnet.cli.config import config_option
from whodunnet.cli.duration import Duration
from whodunnet.cli.judging import FINDING, HEALTHY, UNJUDGED
from whodunnet.cli.pods import PODS_HELP, PodsFile
from whodunnet.cli.replay import page_size_bytes
from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.snapshot import Recording
from whodunnet.report.pod_names import PodNames
from whodunnet.rules.overrides import Overrides
from whodunnet.why.subject import Subject

WINDOW_SECONDS = 10.0
STDIN = "-"
STATUS = {"explained": FINDING, "perhaps": FINDING, "not-explained": HEALTHY, "not-judged": UNJUDGED}


@click.command()
@click.argument("text", required=False)
@click.option("--pod", metavar="NAMESPACE/NAME", help="Whatever concerns this pod; with TEXT, whose it is.")
@click.option("--endpoint", metavar="HOST:PORT", help="Whatever concerns this endpoint; with TEXT, where it led to.")
@click.option("--for", "seconds", type=Duration(31), help="How long to watch (10s); of a recording, its end.")
@click.option("--recording", type=click.Path(path_type=Path), metavar="FILE", help="Ask a recording, not this node.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--pods", type=PodsFile(), metavar="FILE", help=PODS_HELP)
@config_option
@click.option("--no-bpf", is_flag=True, help="Load no BPF program.")
@click.option("-v", "--verbose", is_flag=True, help="Show every reading behind what was ruled out.")
@click.pass_context
def command(
    context: click.Context,
    text: str | None,
    pod: str | None,
    endpoint: str | None,
    seconds: float | None,
    recording: Path | None,
    form: str,
    pods: PodNames | None,
    config: Overrides,
    no_bpf: bool,
    verbose: bool,
) -> None:
    """Say what on this node explains an error, as the program that failed wrote it.

    TEXT is the message, best the whole line; - reads it from standard input. Between whom it was and what kind of fault
    it is are taken from it, and the rules that could have made exactly that answer first. Exit status: 0 nothing here
    explains it, 1 explained, 2 could not judge, or the text is no error of the network.
    """
    subject = _subject(text, pod, endpoint)
    if recording is not None and no_bpf:
        raise UsageError("--no-bpf is about this node, and --recording asks a file; give one of them")
    if recording:
        found, diagnosis = _recorded(subject, recording, seconds, config)
    else:
        found, diagnosis = _live(subject, seconds, no_bpf, config)
    if pods is not None:
        from whodunnet.report.pod_names import with_pods

        diagnosis = with_pods(diagnosis, pods)
    _answer(context, subject, found, diagnosis, form, verbose)


def _subject(text: str | None, pod: str | None, endpoint: str | None) -> Subject:
    """What is asked about. Raises UsageError if nothing is, or if it is not understood."""
    from whodunnet.why.message import read_message
    from whodunnet.why.subject import parse_endpoint, parse_pod

    if text is None and pod is None and endpoint is None:
        raise UsageError("say what about: the text of an error, - for standard input, --pod or --endpoint")
    return Subject(
        pod=parse_pod(pod) if pod is not None else None,
        endpoint=parse_endpoint(endpoint) if endpoint is not None else None,
        message=read_message(_read() if text == STDIN else text) if text is not None else None,
    )


def _read() -> str:
    """Standard input, a little more than is accepted at most."""
    from whodunnet.why.message import LIMIT_BYTES

    return sys.stdin.buffer.read(LIMIT_BYTES + 1).decode(errors="replace")


def _live(subject: Subject, seconds: float | None, no_bpf: bool, config: Overrides) -> tuple[Recording, Diagnosis]:
    from whodunnet.cli.advice import refusal, show_advice
    from whodunnet.cli.watch import Watch
    from whodunnet.diagnosis.engine import diagnose, with_cost
    from whodunnet.report.quantity import duration
    from whodunnet.rules.catalogue import catalogue, needed_collectors
    from whodunnet.why.document import ordered_rules

    rules = ordered_rules(subject.kind, list(catalogue()))
    window = WINDOW_SECONDS if seconds is None else seconds
    if sys.stderr.isatty() and window:
        click.echo(f"Watching for {duration(window)} ...", err=True)
    with Watch({*needed_collectors(rules), "addresses", "workloads"}, bpf=not no_bpf, addresses=True) as watch:
        watch.watch(window, goes_on=True)
        found = watch.recording
        diagnosis = with_cost(diagnose(found, rules, (), config), watch.recording)
    lines = show_advice(watch.place, watch.support, None if no_bpf else refusal(found))
    if lines:
        click.get_current_context().call_on_close(lambda: click.echo("\n".join(lines), err=True))
    return found, diagnosis


def _recorded(subject: Subject, file: Path, seconds: float | None, config: Overrides) -> tuple[Recording, Diagnosis]:
    from whodunnet.diagnosis.engine import diagnose
    from whodunnet.recording.reader import SNAPSHOTS_MAX, open_recording
    from whodunnet.rules.catalogue import catalogue
    from whodunnet.why.document import ordered_rules

    with open_recording(file) as stored:
        found = stored.recording(None, None, SNAPSHOTS_MAX, seconds)
    return found, diagnose(found, ordered_rules(subject.kind, list(catalogue())), (), config)


def _answer(
    context: click.Context, subject: Subject, found: Recording, diagnosis: Diagnosis, form: str, verbose: bool
) -> NoReturn:
    from whodunnet.report.why import render_why, render_why_json
    from whodunnet.why.document import answer_why

    why = answer_why(subject, found, diagnosis)
    if form == "json":
        click.echo(render_why_json(why))
    else:
        from whodunnet.report.console import make_console

        render_why(why, verbose=verbose, console=make_console(), page_size_bytes=page_size_bytes(found))
    context.exit(STATUS[why.answer])
