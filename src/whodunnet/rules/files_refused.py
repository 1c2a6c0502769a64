"""Who was refused a file by a node that had none left (fs.file-max): which workloads, and how often in the window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from whodunnet.model.connection_places import SAME_START_SECONDS, Processes
from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.finding import Evidence, Party
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Process, Workload, Workloads, owner_key
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party

SCRIPT: Final = "tracepoint:syscalls:sys_exit_socket { if (args->ret == -23) { @[pid, comm] = count(); } }"
REPEAT: Final = f"bpftrace -e '{SCRIPT}'"
"""-23: ENFILE. It counts sockets that are not TCP as well."""
Identity = tuple[int, float]


class Victim(NamedTuple):
    """A workload, its process with most refusals, and the refusals of all its processes."""

    owner: Workload
    times: int


class Refused(NamedTuple):
    """victims: most refusals first. left_out: refusals of processes that found no room in the readings.

    since, until: the readings between which the last ones were, in seconds since boot.
    """

    victims: tuple[Victim, ...]
    processes: int
    left_out: int
    since: float
    until: float

    @property
    def times(self) -> int:
        return sum(victim.times for victim in self.victims) + self.left_out


class Step(NamedTuple):
    """By how much refusals grew from one reading to the next. since, until: their boot seconds."""

    since: float
    until: float
    by: Mapping[RefusedFiles, int]
    left_out: int


def who_was_refused(recording: Recording, few_left: int) -> Refused | None:
    """None if nobody was, as far as it was watched, but processes with fewer descriptors left: they are at a limit of
    their own, which comes first (sock_map_fd, net/socket.c), and may only look as if the node had no file."""
    times: Counter[Identity] = Counter()
    newest: dict[Identity, RefusedFiles] = {}
    left_out, steps = 0, _steps(recording, few_left)
    if not steps:
        return None
    for step in steps:
        for one, n in step.by.items():
            times[_identity(one)] += n
            newest[_identity(one)] = one
        left_out += step.left_out
    victims = _by_owner(recording, [(newest[who], n) for who, n in times.items()])
    return Refused(victims, len(times), left_out, steps[-1].since, steps[-1].until)


def _steps(recording: Recording, few_left: int) -> list[Step]:
    """Those from reading to reading in which anybody was refused."""
    steps = [_step(*before, *after, few_left) for before, after in pairwise(recording.series(Descriptors))]
    return [step for step in steps if step.by or step.left_out]


def _step(since: Moment, before: Descriptors, until: Moment, sample: Descriptors, few_left: int) -> Step:
    known = {_identity(one): one.times for one in before.refused}
    full = [use for use in (*before.fullest, *sample.fullest) if use.left < few_left]
    others = [one for one in sample.refused if not any(_is_same(one, use) for use in full)]
    by = {one: _since(known.get(_identity(one), 0), one.times) for one in others}
    left_out = _since(before.refused_left_out, sample.refused_left_out)
    return Step(since.boot_seconds, until.boot_seconds, {one: n for one, n in by.items() if n}, left_out)


def refused_parties(refused: Refused, entry: Entry) -> list[Party]:
    """Those with most refusals."""
    most = refused.victims[: int(entry.limit("listed_refused"))]
    return [party("victim", one.owner, effect=f"was refused {_sockets(one.times)}") for one in most]


def refused_evidence(refused: Refused, at: Moment) -> Evidence:
    known = [f"{refused.processes:,} process{'' if refused.processes == 1 else 'es'}"] if refused.processes else []
    who = " and ".join([*known, *(["processes that are not known"] if refused.left_out else [])])
    return Evidence(
        statement=f"TCP sockets refused in this window for want of a file, to {who}",
        value=refused.times, unit="sockets", source="descriptors collector (bpf)", at=at.wall,
        boot_seconds=at.boot_seconds, repeat=REPEAT,
    )  # fmt: skip


def _identity(one: RefusedFiles) -> Identity:
    return one.pid, one.started_seconds


def _is_same(one: RefusedFiles, use: DescriptorUse) -> bool:
    """BPF knows the start to the nanosecond, /proc to the tick."""
    return one.pid == use.pid and abs(one.started_seconds - use.started_seconds) < SAME_START_SECONDS


def _since(before: int, now: int) -> int:
    """Where it is less than before, counting began anew meanwhile."""
    return now - before if now >= before else now


def _by_owner(recording: Recording, processes: Sequence[tuple[RefusedFiles, int]]) -> tuple[Victim, ...]:
    everybody = Processes(recording.series(Workloads))
    found: dict[str, Victim] = {}
    for one, times in sorted(processes, key=lambda item: (-item[1], item[0].pid)):
        owner = everybody.find_process(one.pid, one.started_seconds, one.comm)
        key = owner_key(one.pid, owner) if owner is not None else f"pid {one.pid} {one.started_seconds}"
        known = found.get(key)
        named = owner or Workload(process=Process(pid=one.pid, comm=one.comm))
        found[key] = Victim(known.owner, known.times + times) if known else Victim(named, times)
    return tuple(sorted(found.values(), key=lambda victim: -victim.times))


def _sockets(times: int) -> str:
    return f"{times:,} TCP socket{'' if times == 1 else 's'}"
