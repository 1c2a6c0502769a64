"""One CPU does all the work of receiving while others are idle, though a device has several receive queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from whodunnet.model.finding import (
    Answer,
    Cleared,
    Confidence,
    Finding,
    NotApplicable,
    NotChecked,
    Party,
    Severity,
)
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import ReceivingDevice, Softnet
from whodunnet.model.softnet_window import Part, parts
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.rx_evidence import evidence_of, remedies_of, share_of
from whodunnet.rules.rx_load import Load, feeding, is_bottleneck, load_of, shape_of

RULE = "rx-imbalance"
REASONS = {"interrupts-together": "ReceiveInterruptsOnOneCpu", "steered-together": "ReceiveSteeredToOneCpu",
           "spread-unevenly": "ReceiveSpreadUnevenly", "spread-unknown": "ReceiveOnOneCpu"}  # fmt: skip
SEVERITIES: Final[dict[str, Severity]] = {"interrupts-together": "warning", "steered-together": "warning"}


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding: the busiest part in which one CPU was the bottleneck of one device."""
    series = recording.series(Softnet)
    assert series  # the collector is required
    unable = _unable(series[-1][1]) or _too_short(recording, series, entry)
    if unable is not None:
        return [unable]
    pieces = parts(series, entry.limit("min_seconds"))
    loads = [load for part in pieces if (load := load_of(part)) is not None]
    if not loads:
        return [
            NotChecked(rule=RULE, code="unreadable", reason="/proc/stat does not say what CPUs spend their time on")
        ]
    found = [
        (load, name, device)
        for load in loads
        if is_bottleneck(load, entry)
        for name, device in feeding(load, entry).items()
    ]
    if not found:
        return [_cleared(loads, entry)]
    load, name, device = max(found, key=lambda case: case[0].busy)
    bad = [case[0].part for case in found if case[1] == name]
    return [_finding(recording, load, (name, device), bad, len(pieces), entry)]


def _unable(last: Softnet) -> Answer | None:
    """Why it cannot be here, or cannot be seen."""
    several = [device for device in last.devices.values() if len(device.queues) > 1]
    if len(last.by_cpu) < 2:
        return NotApplicable(rule=RULE, reason="this machine has one CPU")
    if not last.devices and not last.virtual:
        return NotChecked(rule=RULE, code="missing-file", reason="the network devices are not in sight in sysfs")
    if not several:
        return NotApplicable(rule=RULE, reason="no network device here has several receive queues")
    if all(device.threaded for device in several):
        reason = "kernel threads take the packets of these devices, and their time is not read"
        return NotChecked(rule=RULE, code="unsupported", reason=reason)
    return None


def _too_short(recording: Recording, series: Sequence[tuple[Moment, Softnet]], entry: Entry) -> Answer | None:
    seconds, least = series[-1][0].boot_seconds - series[0][0].boot_seconds, entry.limit("min_seconds")
    if seconds >= least:
        return None
    reason = f"{recording.seconds:.1f} s are too short to say what CPUs spend their time on: look for {least:.0f} s"
    return NotChecked(rule=RULE, code="not-collected", reason=reason)


def _finding(
    recording: Recording, load: Load, which: tuple[str, ReceivingDevice], bad: Sequence[Part], pieces: int, entry: Entry
) -> Finding:
    name, device = which
    kind = shape_of(device, load.cpu)
    assert kind is not None  # such devices were left out
    shape = entry.shapes[kind]
    title = shape.title.format(cpu=load.cpu, device=clean(name), busy=round(100 * load.busy))
    effect = f"received packets wait for CPU {load.cpu}"
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {name} {kind}",
        rule=RULE,
        reason=REASONS[kind],
        severity=SEVERITIES.get(kind, "info"),
        claim=entry.claim,
        confidence=_confidence(kind, load),
        shape=kind,
        summary=shorten_bytes(title, 80),
        title=title,
        since=bad[0].begin.wall,
        last_seen=bad[-1].end.wall,
        parties=(Party(role="victim", node=recording.node.hostname, effect=effect),),
        evidence=tuple(evidence_of(load, name, device, (len(bad), pieces), entry)),
        remedies=(remedies.CAPTURE, *remedies_of(kind, load, name, device), remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )


def _confidence(kind: str, load: Load) -> Confidence:
    """That packets were left waiting is seen where the turn of this CPU was over before they were, or it dropped."""
    if kind == "spread-unknown":
        return "possible"
    return "proven" if load.work.squeezed or load.work.dropped else "likely"


def _cleared(loads: Sequence[Load], entry: Entry) -> Cleared:
    load = max(loads, key=lambda load: load.busy)
    least, seconds = entry.limit("min_busy_share"), max(load.part.seconds for load in loads)
    return Cleared(
        rule=RULE,
        sensitivity=f"a CPU that is in softirqs and interrupts for {100 * least:.0f} % of {seconds:.1f} s while the "
        f"others have room, in {len(loads)} parts of the window",
        evidence=(
            share_of(load, f"The busiest CPU, {load.cpu}: in softirqs and interrupts", load.busy, least,
                   ">=" if load.busy >= least else "<"),
            share_of(load, "The other CPUs meanwhile, on average", load.others_busy, entry.limit("max_others_share"),
                   "<=" if load.others_busy <= entry.limit("max_others_share") else ">"),
        ),
    )  # fmt: skip
