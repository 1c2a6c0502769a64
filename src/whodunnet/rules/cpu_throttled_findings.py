"""A workload whose quota of CPU time keeps it from what it received, as a finding."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Final

import msgspec
from msgspec.structs import replace

from whodunnet.model.cpu_quota import LimitedCgroup, QuotaUser, Version
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.model.workload import Process, Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_throttled_waits import Step
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.quota_use import file_of, repeat_of

RULE: Final = "cpu-throttled"
MOST_OF_IT: Final = 0.5
"""From this share on a process beside the one that waits is told of."""
SOURCES: Final[dict[Version, str]] = {"v1": "cpu.stat (v1)", "v2": "cpu.stat"}
QUOTA_FILES: Final[dict[Version, str]] = {"v1": "cpu.cfs_quota_us", "v2": "cpu.max"}
REASONS: Final = {
    "data-waits": "CpuQuotaDelaysReading",
    "accept-queue-full": "CpuQuotaFillsAcceptQueue",
    "datagrams-dropped": "CpuQuotaDropsDatagrams",
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One cgroup, and the steps in which its quota was used up while something waited, or datagrams were lost; at least
    one."""

    path: str
    steps: tuple[Step, ...]
    lost: bool = False

    @property
    def throttled(self) -> int:
        return sum(step.throttled for step in self.steps)

    @property
    def periods(self) -> int:
        return sum(step.periods for step in self.steps)

    @property
    def share(self) -> float:
        return min(self.throttled / max(self.periods, 1), 1.0)

    @property
    def shape(self) -> str:
        """An accept queue that is full turns clients away; else they wait. Datagrams do not."""
        if self.lost:
            return "datagrams-dropped"
        return "accept-queue-full" if all(s.before.full and s.after.full for s in self.steps) else "data-waits"

    @property
    def dropped(self) -> int:
        """Datagrams."""
        return sum(step.lost for step in self.steps)

    @property
    def cgroup(self) -> LimitedCgroup:
        return self.steps[-1].cgroup

    @property
    def owner(self) -> int | None:
        """The process for which most waited, or whose sockets dropped most."""
        sums: Counter[int] = Counter()
        for step in self.steps:
            if self.lost:
                sums.update(step.dropped)
                continue
            sums.update(step.after.unread)
            sums.update({q.owner_pid: q.waiting for q in step.after.full if q.owner_pid is not None})
        return max(sums, key=lambda pid: (sums[pid], -pid), default=None)

    @property
    def user(self) -> tuple[QuotaUser, float] | None:
        """Another program in the same cgroup that used most of the CPU time, and its share; None: there is none.

        Of what was used at least, if that is more than those in the cgroup did: by who is below it, or has ended.
        """
        sums: Counter[int] = Counter()
        for step in self.steps:
            sums.update(step.used_ms)
        owner = next((user for user in self.cgroup.users if user.pid == self.owner), None)
        most = max(self.cgroup.users, key=lambda user: sums[user.pid], default=None)
        if owner is None or most is None or self.cgroup.quota_us is None:
            return None
        periods = sum(step.throttled for step in self.steps if step.used_ms)
        share = sums[most.pid] / max(sums.total(), periods * self.cgroup.quota_us / 1000, 1)
        same = most.comm == owner.comm or most.pid == owner.parent or owner.pid == most.parent
        return None if same or share < MOST_OF_IT else (most, share)

    @property
    def workload(self) -> Workload | None:
        """Whose process that is."""
        for step in reversed(self.steps):
            if step.workloads is not None and self.owner in step.workloads.by_pid:
                return step.workloads.by_pid[self.owner]
        return None


def compose(case: Case, version: Version, entry: Entry, more: int) -> Finding:
    """more: cases that are not listed."""
    name, shape = case.shape, entry.shapes[case.shape]
    who = short_name(case.workload, case.owner)
    title = shape.title.format(who=who, quota=quota_text(case.cgroup), share=f"{100 * case.share:.0f}")
    left_out = (f"{more:,} more cgroups are like this, and not listed.",) if more > 0 else ()
    return Finding(
        id=f"{RULE}:{hashlib.sha256(repr((case.path, name)).encode()).hexdigest()[:12]}",
        rule=RULE,
        reason=REASONS[name],
        severity=entry.severity,
        claim=entry.claim,
        confidence=_confidence(case, entry),
        shape=name,
        summary=shorten_bytes(clean(title), 80),
        title=clean(title, 400),
        since=case.steps[0].begin.wall,
        last_seen=case.steps[-1].end.wall,
        parties=(party("victim", case.workload, effect=_effect(case)), *_user(case)),
        evidence=tuple(_evidence(case, version)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, _more_time(case, version), remedies.fix(shape.fix)),
        explanation=(*shape.explanation, *left_out),
    )


def _user(case: Case) -> list[Party]:
    """Whoever uses up what both may have, in the same container as who waits."""
    if case.user is None:
        return []
    user, share = case.user
    process = Process(pid=user.pid, comm=user.comm)
    beside = case.workload or Workload()
    workload = Workload(process=process, container=beside.container, pod=beside.pod, unit=beside.unit)
    return [party("holder", workload, effect=f"used {100 * share:.0f} % of the CPU time that they share")]


def _confidence(case: Case, entry: Entry) -> Confidence:
    """Two signs, or again and again at most moments."""
    again = len(case.steps) >= entry.limit("proven_steps")
    return "proven" if again and case.share >= entry.limit("proven_share") else "likely"


def quota_text(cgroup: LimitedCgroup) -> str:
    """ "a quota of 0.2 CPUs"."""
    if cgroup.quota_us is None or not cgroup.period_us:
        return "a quota"
    cpus = cgroup.quota_us / cgroup.period_us
    return f"a quota of {cpus:.3g} {'CPU' if cpus == 1 else 'CPUs'}"


def _effect(case: Case) -> str:
    if case.lost:
        return f"{case.dropped:,} datagrams found no room in its sockets"
    least = min(min(s.before.unread_bytes, s.after.unread_bytes) for s in case.steps)
    if case.shape == "accept-queue-full":
        return "its accept queue is full: clients are turned away"
    return f"{least:,} bytes or more wait to be read, at each of {len(_moments(case))} readings" if least else (
        "what it received waits"
    )  # fmt: skip


def _moments(case: Case) -> set[Moment]:
    return {at for step in case.steps for at in (step.begin, step.end)}


def _evidence(case: Case, version: Version) -> list[Evidence]:
    at, cgroup = case.steps[-1].end, case.cgroup
    repeat, source = repeat_of(case.path, version), SOURCES[version]
    seconds = sum(step.seconds for step in case.steps)
    kept = sum(step.throttled_us for step in case.steps) / 1e6
    text = f"Periods of {clean(case.path)} in which it had used up its time, in {seconds:.1f} s"
    used = reading(at, text, case.throttled, "periods", repeat, source)
    found = [
        replace(used, limit=case.periods, comparison="of"),
        reading(at, "It was kept from CPUs for, each counted", round(kept, 3), "seconds", repeat, source),
    ]
    if case.user is not None:
        user, share = case.user
        text = f"Share of {clean(user.comm)} (pid {user.pid}) in the CPU time that its processes used meanwhile"
        found.append(reading(at, text, round(share, 3), "share", f"ps -o pid,time,comm -p {user.pid}  # twice", "stat"))
    if cgroup.quota_us is not None and cgroup.period_us:
        text = f"CPU time that it may have in each {cgroup.period_us / 1000:g} ms"
        found.append(reading(at, text, cgroup.quota_us / 1000, "ms", repeat, QUOTA_FILES[version]))
    return [*found, *_waited(case)]


def _waited(case: Case) -> list[Evidence]:
    """The least of all readings, and the queues of the last."""
    last, moments = case.steps[-1], len(_moments(case))
    unread = [n for step in case.steps for n in (step.before.unread_bytes, step.after.unread_bytes)]
    found = []
    if min(unread):
        text = f"Received and not read by its processes, at each of {moments} readings (at most {max(unread):,})"
        found.append(reading(last.end, text, min(unread), "bytes", "ss -tunap  # Recv-Q", "sockets collector"))
    for q in last.after.full:
        text = f"Connections that wait in its accept queue at {endpoint_text(q.local)}"
        one = reading(last.end, text, q.waiting, "connections", "ss -ltnp  # Recv-Q above Send-Q", "sockets collector")
        found.append(replace(one, limit=q.limit, comparison=">"))
    if case.dropped:
        text = "Datagrams for which its UDP sockets had no room, in these steps"
        found.append(reading(last.end, text, case.dropped, "datagrams", "ss -uanm  # skmem d", "sockets collector"))
    return found


def reading(at: Moment, statement: str, value: float, unit: str, repeat: str, source: str = "cpu.stat") -> Evidence:
    """One number, and where it is from."""
    return Evidence(
        statement=statement, value=value, unit=unit, source=source, at=at.wall, boot_seconds=at.boot_seconds,
        repeat=repeat,
    )  # fmt: skip


def _more_time(case: Case, version: Version) -> Remedy:
    """The file shows what it is; whoever made the cgroup sets it."""
    pod = case.workload is not None and case.workload.pod is not None
    where = "in its pod's resources.limits.cpu" if pod else "with its runtime or unit (--cpus, CPUQuota=)"
    return Remedy(
        action="resize",
        do=f"Raise its CPU limit, or take it away, {where}",
        command=f"cat {file_of(case.path, version, QUOTA_FILES[version])}  # as it is",
        effect="it reads when something comes, not at the next period",
        risk="it may take time from others on this node; a pod is restarted by the change",
    )
