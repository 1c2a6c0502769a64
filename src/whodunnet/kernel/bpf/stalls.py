"""Runs bpf/stalls.bpf.c: how long received packets wait for a CPU, and who holds it meanwhile.

The layouts are those of bpf/stalls.h, from which the binding is compiled.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.objects import BpfObject, closed_on_error
from whodunnet.kernel.bpf.socket_walk import ticks_per_second
from whodunnet.kernel.bpf.stall_records import Record, decode_record
from whodunnet.kernel.cpus import read_online, read_possible
from whodunnet.kernel.napi_threads import read_napi_threads
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.stalls import CpuDelays, delay_spans

PROGRAMS = ("enter_softirq", "raise_softirq")
"""In this order, so that nothing is raised whose begin we would not see."""
ENDS = "exit_softirq"
"""Attached only while samples do not tell that a softirq has ended: the way into a program is most of what it costs."""
POLLS = "poll_napi"
"""Attached only while NAPI threads are watched."""
SAMPLE_AFTER_SHARE = 1 / 16
"""What has waited for this share of the threshold is sampled."""


class Settings(NamedTuple):
    """What is a stall, and how closely to look.

    hertz: samples of each CPU in a second, 0 for none. records_per_second: at most so many stalls of each CPU are told.
    silent_periods: a sample that comes so many periods late is worth a record, but only after threshold_seconds.
    """

    threshold_seconds: float = 0.010
    hertz: int = 250
    records_per_second: int = 16
    silent_periods: int = 3


class StallRecorder:
    """The attached programs; each `read` takes the stalls that ended since the one before."""

    def __init__(self, support: Support, roots: Roots, settings: Settings) -> None:
        """Raises UnreadableError where the programs do not load or attach."""
        self._roots, self._settings = roots, settings
        self._cpus = read_possible(roots)
        room = self._cpus[-1] + 1
        self._bpf = BpfObject("stalls", support, {"states": room, "cpus": room, "recorders": room})
        self._sampled: set[int] = set()
        self._threads: frozenset[int] = frozenset()
        self.watches_ends = self._closed = False
        self.sampling_reason: str | None = None
        with closed_on_error(self._bpf):
            self._watch = self._bpf.data(".data.watch", "struct stall_watch")
            self._table = self._bpf.data("cpus", "struct softirq_cpu")
            self._ring = self._bpf.ring("stalls", "struct stall")
            self._set_up(support)
        self.attached_at = time.monotonic()

    def close(self) -> None:
        """Detaches and unloads the programs; whatever is asked for after that raises UnreadableError."""
        self._closed = True
        self._bpf.close()

    def fileno(self) -> int:
        """Readable when a stall has ended (select)."""
        self._be_open()
        return self._ring.fileno()

    @property
    def hertz(self) -> int:
        """Of the samples, 0: none can be taken."""
        return self._settings.hertz if self._sampled else 0

    @property
    def backlogs_followed(self) -> bool:
        """Whether samples see how long packets wait for those before them."""
        return bool(self._sampled and self._watch.softnet_data)

    @property
    def threads_watched(self) -> int:
        return len(self._threads)

    @property
    def lost(self) -> int:
        """Stalls that found no room, since the start."""
        self._be_open()
        return sum(int(self._table[cpu].lost) for cpu in self._cpus)

    @property
    def suppressed(self) -> int:
        """Stalls beyond the limit of one CPU and second, since the start."""
        self._be_open()
        return sum(int(self._table[cpu].suppressed) for cpu in self._cpus)

    def read(self) -> list[Record]:
        """The stalls that ended since the last reading; with very many, some wait for the next."""
        self._be_open()
        return [decode_record(self._bpf.ffi, record) for record in self._ring.read()]

    def read_delays(self) -> tuple[CpuDelays, ...]:
        """Of each CPU that had any. The longest ones are forgotten."""
        self._be_open()
        found = (self._delays(cpu) for cpu in self._cpus)
        return tuple(one for one in found if one != CpuDelays(cpu=one.cpu))

    def refresh(self) -> None:
        """Samples CPUs that came up meanwhile, and watches new NAPI threads."""
        self._be_open()
        self._sample_cpus()
        self._watch_threads()

    def _set_up(self, support: Support) -> None:
        watch, settings = self._watch, self._settings
        watch.threshold_ns = round(settings.threshold_seconds * 1e9)
        watch.sample_after_ns = round(settings.threshold_seconds * SAMPLE_AFTER_SHARE * 1e9)
        watch.tick_ns = 1_000_000_000 // ticks_per_second()
        watch.silent_ns = max(watch.threshold_ns, settings.silent_periods * 1_000_000_000 // (settings.hertz or 1))
        watch.records_per_second = settings.records_per_second
        watch.preempt_count = self._bpf.per_cpu_distance("runqueues", "__preempt_count", "pcpu_hot")
        watch.softnet_data = self._bpf.per_cpu_distance("runqueues", "softnet_data")
        watch.pid_level_above = support.pid_namespace_depth
        self._bpf.run("find_place")
        for program in PROGRAMS:
            self._bpf.attach(program)
        self.refresh()

    def _be_open(self) -> None:
        """Its memory is gone with it: nothing may look there."""
        if self._closed:
            raise UnreadableError("the stall recorder was closed", code="not-collected")

    def _sample_cpus(self) -> None:
        if not self._settings.hertz:
            self._watch_ends(True)
            return
        online = self._online()
        self._sampled &= online  # the clock of a CPU that went away is gone
        refused = {cpu: reason for cpu in sorted(online - self._sampled) if (reason := self._sample(cpu)) is not None}
        if refused:
            online = self._online()  # one that has just gone away needs no samples
        reasons = [reason for cpu, reason in refused.items() if cpu in online]
        self.sampling_reason = reasons[0] if reasons else None
        self._watch_ends(bool(reasons) or not self._watch.sees_softirqs)

    def _online(self) -> set[int]:
        return set(read_online(self._roots)) & set(self._cpus)

    def _sample(self, cpu: int) -> str | None:
        """Why it cannot be sampled."""
        try:
            self._bpf.attach_clock("sample", cpu, self._settings.hertz)
        except UnreadableError as error:
            return str(error)
        # What it had to do when it went offline was done by another CPU.
        self._bpf.put("states", "unsigned int", cpu, "struct softirq_state")
        self._table[cpu].backlog_since_ns = 0
        self._sampled.add(cpu)
        return None

    def _watch_ends(self, wanted: bool) -> None:
        self._keep(ENDS, wanted)
        self.watches_ends = wanted

    def _keep(self, program: str, wanted: bool) -> None:
        if wanted:
            self._bpf.attach(program)
        else:
            self._bpf.detach(program)

    def _watch_threads(self) -> None:
        threads = frozenset(read_napi_threads(self._roots))
        self._keep(POLLS, bool(threads))
        self._bpf.delete("napi_threads", "unsigned int", sorted(self._threads - threads))
        for thread in sorted(threads - self._threads):
            self._bpf.put("napi_threads", "unsigned int", thread, "struct napi_thread")
        self._threads = threads
        self._watch.sample_always = bool(threads)

    def _delays(self, number: int) -> CpuDelays:
        cpu = self._table[number]
        longest, longest_run, longest_queued = cpu.longest_ns, cpu.longest_served_ns, cpu.longest_queued_ns
        cpu.longest_ns = cpu.longest_served_ns = cpu.longest_queued_ns = 0
        return CpuDelays(
            cpu=number,
            delays=delay_spans(cpu.delays),
            thread_delays=delay_spans(cpu.thread_delays),
            longest_seconds=longest / 1e9,
            longest_run_seconds=longest_run / 1e9,
            longest_queued_seconds=longest_queued / 1e9,
            samples=int(cpu.samples),
        )
