"""Who was refused a file by a node that had none left (fs.file-max): which workloads, and how often in the window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from whodunnet.model.descriptors import Descriptors, RefusedFiles
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
    """victims: most refusals first. times: of these, and of processes that found no room in the readings."""

    victims: tuple[Victim, ...]
    processes: int
    times: int


def who_was_refused(recording: Recording) -> Refused | None:
    """None if nobody was, as far as it was watched."""
    series = [sample for _, sample in recording.series(Descriptors)]
    times: Counter[Identity] = Counter()
    newest: dict[Identity, RefusedFiles] = {}
    left_out = 0
    for before, sample in pairwise(series):
        known = {_identity(one): one.times for one in before.refused}
        for one in sample.refused:
            times[_identity(one)] += _since(known.get(_identity(one), 0), one.times)
            newest[_identity(one)] = one
        left_out += _since(before.refused_left_out, sample.refused_left_out)
    processes = [(newest[who], n) for who, n in times.items() if n]
    total = sum(n for _, n in processes) + left_out
    return Refused(_by_owner(recording, processes), len(processes), total) if total else None


def refused_parties(refused: Refused, entry: Entry) -> list[Party]:
    """Those with most refusals."""
    most = refused.victims[: int(entry.limit("listed_refused"))]
    return [party("victim", one.owner, effect=f"was refused {_sockets(one.times)}") for one in most]


def refused_evidence(refused: Refused, at: Moment) -> Evidence:
    of = f"of {refused.processes:,} process{'' if refused.processes == 1 else 'es'}"
    return Evidence(
        statement=f"TCP sockets {of} that were refused in this window, as there was no file left",
        value=refused.times, unit="sockets", source="descriptors collector (bpf)", at=at.wall,
        boot_seconds=at.boot_seconds, repeat=REPEAT,
    )  # fmt: skip


def _identity(one: RefusedFiles) -> Identity:
    return one.pid, one.started_seconds


def _since(before: int, now: int) -> int:
    """Where it is less than before, counting began anew meanwhile."""
    return now - before if now >= before else now


def _by_owner(recording: Recording, processes: Sequence[tuple[RefusedFiles, int]]) -> tuple[Victim, ...]:
    workloads = recording.last(Workloads) or Workloads()
    found: dict[str, Victim] = {}
    for one, times in sorted(processes, key=lambda item: (-item[1], item[0].pid)):
        owner = workloads.by_pid.get(one.pid)
        key = owner_key(one.pid, owner) + ("" if owner else f" {one.started_seconds}")
        known = found.get(key)
        by_name = Workload(process=Process(pid=one.pid, comm=one.comm))
        named = owner if owner is not None and owner.process is not None else by_name
        found[key] = Victim(known.owner, known.times + times) if known else Victim(named, times)
    return tuple(sorted(found.values(), key=lambda victim: -victim.times))


def _sockets(times: int) -> str:
    return f"{times:,} TCP socket{'' if times == 1 else 's'}"
