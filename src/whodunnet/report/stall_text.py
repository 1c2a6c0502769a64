"""Stalls as text: a line for each and for who was met meanwhile, and at the end delays by CPU and by culprit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from whodunnet.model.text import clean
from whodunnet.report.identity import workload_name
from whodunnet.report.quantity import count, duration, utc
from whodunnet.report.stalls import CauseSummary, NotShown, StallLine, StallSummary
from whodunnet.rules.stall_words import call_text, time_text

if TYPE_CHECKING:
    from rich.console import Console

CAUSES_SHOWN = 20
HELD_SHOWN = 3
DEVICES_SHOWN = 3

_COLUMNS = "{:<12}  {:>4}  {:>8}  {:<17}  {}"
_HEAD = _COLUMNS.format("time (UTC)", "CPU", "waited", "what", "who held the CPU")
_INDENT = " " * 18
_NOBODY: dict[str, str] = {
    "steal": "nobody here: the hypervisor took this CPU",
    "paused": "nobody was seen: this CPU stood still",
    "overload": "nobody alone: packets, or tasks in their turn",
    "many-holders": "nobody alone",
    "irqs-disabled": "not known: interrupts were off, or the machine was paused",
}
_UNTOLD = "nobody was seen: the CPU stood still, or its interrupts were off"


def render_head() -> str:
    """The names of the columns."""
    return _HEAD


def render_line(line: StallLine | NotShown) -> str:
    """A stall with a line below it for each of those who were seen most; all text cleaned."""
    if isinstance(line, NotShown):
        return f"{_time(line.at)}  … {count(line.lost + line.suppressed + line.left_out, 'more stall')}, counted only"
    what = line.shape if line.shape != "paused" else "pause"
    who = workload_name(line.culprit) if line.culprit is not None else _nobody(line, _softirq(line))
    first = _COLUMNS.format(_time(line.at), line.cpu, time_text(line.wait_seconds), what, who)
    return "\n".join([first, *(f"{_INDENT}{clean(text, 400)}" for text in _held_texts(line))])


def _nobody(of: StallLine | CauseSummary, otherwise: str) -> str:
    return _UNTOLD if of.untold else _NOBODY.get(of.shape, otherwise)


def _softirq(line: StallLine) -> str:
    found = next((held.softirq for held in line.held if held.softirq is not None), None)
    return f"the softirq {found}" if found else "nobody alone"


def _held_texts(line: StallLine) -> Iterator[str]:
    for held in line.held[:HELD_SHOWN]:
        named = f"the kernel thread {clean(held.thread)}" if held.kernel_thread else workload_name(held.who)
        where = "in user mode" if held.mode == "user" else f"in {call_text(held.system_call)}"
        if held.softirq is not None:
            named, where = f"the softirq {held.softirq}", f"on top of {named}"
        path = f": {' ← '.join(held.functions)}" if held.functions else ""
        seconds = f"{'≥ ' if line.samples_cut else ''}{time_text(held.seconds)}"
        yield f"{seconds:>8}  {named}, {where}{path}"
    more = len(line.held) - HELD_SHOWN
    if more > 0:
        yield f"{'':>8}  and {count(more, 'other')}"


def render_summary(summary: StallSummary, console: Console) -> None:
    """What there was, the delays of each CPU, and who caused how much."""
    from whodunnet.report.layout import Sheet

    sheet = Sheet(console)
    sheet.blank()
    for lead, text in _facts(summary):
        sheet.write(text, lead=(lead, "bold"), hang=13)
    sheet.blank()
    head = _cells("CPU", "delays", "p50", "p99", "p99.9", "max")
    sheet.write(lead=(f"{head}  devices" if any(cpu.devices for cpu in summary.cpus) else head, "bold"))
    for cpu in summary.cpus:
        times = (cpu.p50_seconds, cpu.p99_seconds, cpu.p999_seconds, cpu.longest_seconds)
        cells = _cells(str(cpu.cpu), f"{cpu.delays:,}", *("-" if t is None else time_text(t) for t in times))
        sheet.write(_listed(cpu.devices), lead=cells, hang=len(cells) + 2 if cpu.devices else 0)
    if summary.causes:
        sheet.blank()
        sheet.write(("what, and by whom", "bold"), lead=(_causes("delay", "stalls", "max"), "bold"), hang=32)
    for row in summary.causes[:CAUSES_SHOWN]:
        cells = _causes(time_text(row.wait_seconds), f"{row.stalls:,}", time_text(row.longest_seconds))
        sheet.write(_cause(row), lead=cells, hang=32)
    rest = sum(row.stalls for row in summary.causes[CAUSES_SHOWN:]) + summary.other_stalls
    if rest:
        sheet.write("of other causes", lead=_causes("", f"{rest:,}", ""), hang=32)


def _facts(summary: StallSummary) -> Iterator[tuple[str, str]]:
    least = time_text(summary.threshold_seconds)
    yield "Watched", f"{duration(round(summary.seconds, 1))}: {count(summary.stalls, 'stall')} of {least} or more"
    if summary.gaps:
        text = f"{count(summary.gaps, 'time')} no look came: interrupts were off, or a pause"
        yield "Gaps", f"{text}; whether packets waited is not seen"
    if summary.lost or summary.suppressed or summary.left_out:
        parts = ((summary.lost, "found no room"), (summary.suppressed + summary.left_out, "came too close together"))
        yield "Not shown", ", ".join(f"{n:,} {why}" for n, why in parts if n)
    if summary.stalls:
        yield "Who waits", "all that comes to that CPU; whose packets they are is not seen"
    if not summary.hertz:
        yield "Not sampled", f"who was on the CPU: {clean(summary.sampling_reason or 'unknown why')}"
    if summary.symbols_reason is not None:
        yield "Functions", f"have no names: {clean(summary.symbols_reason)}"


def _listed(devices: Sequence[str]) -> str:
    more = f" and {len(devices) - DEVICES_SHOWN} more" if len(devices) > DEVICES_SHOWN else ""
    return f"{', '.join(clean(name, 64) for name in devices[:DEVICES_SHOWN])}{more}"


def _cause(row: CauseSummary) -> str:
    if row.who is not None:
        calls = " and ".join(call_text(call) for call in list(row.calls)[:2])
        more = f" and {row.processes - 1:,} more of that name" if row.processes > 1 else ""
        return f"{row.shape}: {workload_name(row.who)}{more}{f', in {calls}' if calls else ''}"
    if row.shape == "softirq-hog":
        return f"{row.shape}: the softirq {row.softirq}"
    return f"{'pause' if row.shape == 'paused' else row.shape}: {_nobody(row, 'nobody alone')}"


def _cells(*cells: str) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, (4, 10, 8, 8, 8, 8), strict=True))


def _causes(*cells: str) -> str:
    return "  ".join(f"{cell:>8}" for cell in cells)


def _time(at: datetime) -> str:
    return utc(at).isoformat(timespec="milliseconds")[11:23]
