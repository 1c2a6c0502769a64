"""What counters alone tell of stalls where nobody may watch them: how long each ksoftirqd was ready and did not run."""

from __future__ import annotations

from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import Softnet
from whodunnet.model.softnet_window import joined, parts
from whodunnet.rules.stall_words import span_text, time_text

ONLY = "; only counters of softnet and the scheduler are left"


def counted_waits(recording: Recording) -> str:
    """The end of a sentence: the ksoftirqd that waited most, which is nobody's name and no single stall."""
    series = recording.series(Softnet)
    if len(series) < 2:
        return ""
    whole, *others = parts(series)
    for part in others:
        whole = joined(whole, part)
    waits = {cpu: work.thread_wait_ns for cpu, work in whole.by_cpu.items() if work.thread_wait_ns is not None}
    if not waits:
        return f"{ONLY}, and the scheduler's are not in sight"
    cpu, most = max(waits.items(), key=lambda item: item[1])
    span = span_text(whole.seconds)
    if not most:
        return f"{ONLY}: no ksoftirqd had to wait for its CPU in {span}"
    return f"{ONLY}: of {span} the ksoftirqd of CPU {cpu} was ready for {time_text(most / 1e9)} and something else ran"
