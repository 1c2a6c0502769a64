"""Lost datagrams as a finding: whose socket had no room, the readings, what to do."""

from __future__ import annotations

from typing import Final, NamedTuple

from whodunnet.model.counter_window import CounterWindow
from whodunnet.model.drop_window import Dropped
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, PartyRole, Remedy
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_waits import CpuWait
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.openers import endpoint_party
from whodunnet.rules.queue_evidence import at_text, counted, digest, tenant
from whodunnet.rules.quota_use import QuotaUse, repeat_of

RULE = "udp-buffers"
DNS_PORT: Final = 53
REASONS = {
    "receiver-slow": "UdpReceiverSlow",
    "receiver-stopped": "UdpReceiverStopped",
    "receiver-throttled": "UdpReceiverThrottled",
    "receiver-without-cpu": "UdpReceiverWithoutCpu",
    "no-memory": "UdpMemoryExhausted",
    "unseen": "UdpReceiveDrops",
    "not-sent": "UdpSendDrops",
}
ROLES: Final[dict[str, PartyRole]] = {
    "receiver-stopped": "reader", "receiver-throttled": "victim", "receiver-without-cpu": "victim",
}  # fmt: skip
COUNTERS = {"no-memory": "MemErrors", "unseen": "RcvbufErrors", "not-sent": "SndbufErrors"}


class Case(NamedTuple):
    """Sockets of one owner and port that dropped `lost` datagrams; of: all for which there was no room, there.

    delay: a quota of CPU time, used up often enough to keep the owner from reading, or its wait for a CPU.
    """

    netns: int
    sockets: tuple[Dropped, ...]
    lost: int
    of: int
    shape: str
    confidence: Confidence
    delay: QuotaUse | CpuWait | None = None

    @property
    def quota(self) -> QuotaUse | None:
        return self.delay if isinstance(self.delay, QuotaUse) else None

    @property
    def wait(self) -> CpuWait | None:
        return self.delay if isinstance(self.delay, CpuWait) and self.shape == "receiver-without-cpu" else None

    @property
    def first(self) -> Dropped:
        """That which dropped most."""
        return self.sockets[0]


class Place(NamedTuple):
    """A namespace with losses of which nobody is seen to be the one."""

    netns: int
    shape: str
    lost: int


def kind_of(d: Dropped) -> str:
    """What its datagrams are, where the port tells."""
    s = d.socket
    if s.remote is not None and s.remote.port == DNS_PORT:
        return "answers of a name server (DNS)"
    if s.local.port == DNS_PORT:
        return "questions for names (DNS)"
    return "datagrams"


def compose_socket(case: Case, recording: Recording, window: CounterWindow, entry: Entry) -> Finding:
    """The finding about one owner."""
    first, shape = case.first, entry.shapes[case.shape]
    s, kind = first.socket, kind_of(case.first)
    words = {
        "who": short_name(first.owner, first.pid),
        "peer": at_text(s.local) if s.remote is None else f"{at_text(s.local)} from {endpoint_text(s.remote)}",
        "kind": kind,
        "dropped": f"{case.lost:,}",
        "seconds": f"{window.seconds:.1f}",
        "limit": f"{s.limit_bytes:,}",
        "share": f"{100 * case.quota.share:.0f}" if case.quota else "",
        "waited": f"{case.wait.waited_seconds:.1f}" if case.wait else "",
        "known": f"{case.wait.seconds:.1f}" if case.wait else "",
    }
    title = shape.title.format(**words)
    effect = f"{case.lost:,} {kind} found no room in its socket within {window.seconds:.1f} s"
    return Finding(
        id=f"{RULE}:{digest(case.netns, first.pid, s.local.address, s.local.port)}",
        rule=RULE,
        reason=REASONS[case.shape],
        severity="warning",
        claim=entry.claim,
        confidence=case.confidence,
        shape=case.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(
            endpoint_party(ROLES.get(case.shape, "culprit"), s.local, first.owner, effect),
            *_rivals(case, recording),
        ),
        evidence=tuple(_evidence(case, window, entry)),
        would_explain=entry.would_explain,
        remedies=tuple(_remedies(case, shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _rivals(case: Case, recording: Recording) -> list[Party]:
    """Who ran where the receiver waited. That it runs there is no fault of its own."""
    rival = case.wait.rival if case.wait else None
    if rival is None:
        return []
    known = [w for _, w in recording.series(Workloads) if rival.process.pid in w.by_pid]
    named = Workload(process=Process(pid=rival.process.pid, comm=rival.process.comm))
    owner = known[-1].by_pid[rival.process.pid] if known else named
    kind = f" with real-time priority {rival.process.realtime}" if rival.process.realtime else ""
    effect = f"ran for {rival.ran_seconds:.1f} s{kind}, on CPU {rival.cpu}, where the receiver waited"
    return [party("holder", owner, effect=effect)]


def _evidence(case: Case, window: CounterWindow, entry: Entry) -> list[Evidence]:
    first, at = case.first, case.first.at
    s = first.socket
    repeat = f"ss -uanm sport = {s.local.port}  # in its network namespace: skmem d, and r of rb"

    def socket(statement: str, value: int, unit: str, limit: float | None, comparison: str | None) -> Evidence:
        return Evidence(
            statement=statement, value=value, unit=unit, limit=limit, comparison=comparison, source="sockets collector",
            at=at.wall, boot_seconds=at.boot_seconds, repeat=repeat,
        )  # fmt: skip

    where = f"{len(case.sockets)} sockets" if len(case.sockets) > 1 else "the socket"
    found = [
        socket(
            f"Datagrams that {where} at {at_text(s.local)} dropped meanwhile", sum(d.rise for d in case.sockets),
            "datagrams", entry.limit("min_dropped"), ">=",
        ),
        socket("Waiting in it now, with the kernel's own share", s.unread_bytes, "bytes", s.limit_bytes, "of"),
        socket("Readings in which at least half of its room was taken", first.full, "readings", first.readings, "of"),
    ]  # fmt: skip
    if case.shape == "receiver-throttled" and case.quota is not None:
        found.append(_of_quota(case.quota))
    if case.wait is not None:
        found += _of_wait(case.wait)
    for section in ("Udp", "Udp6"):
        if window.rise(f"{section}.RcvbufErrors").get(case.netns):
            family = "IPv4" if section == "Udp" else "IPv6"
            statement = f"Datagrams for which sockets of {family} in its network namespace had no room"
            found.append(counted(window, f"{section}.RcvbufErrors", case.netns, statement, unit="datagrams"))
    return found


def _of_quota(quota: QuotaUse) -> Evidence:
    return Evidence(
        statement=f"Periods of {clean(quota.path)} in which its quota of CPU time was used up", value=quota.throttled,
        unit="periods", limit=quota.periods, comparison="of", source="cpu.stat", at=quota.at.wall,
        boot_seconds=quota.at.boot_seconds, repeat=repeat_of(quota.path, quota.version),
    )  # fmt: skip


def _of_wait(wait: CpuWait) -> list[Evidence]:
    def reading(statement: str, value: float, unit: str, pid: int, limit: float | None = None) -> Evidence:
        return Evidence(
            statement=statement, value=value, unit=unit, limit=limit, comparison=None if limit is None else "of",
            source=f"/proc/{pid}/schedstat" if unit == "seconds" else f"/proc/{pid}/stat", at=wait.at.wall,
            boot_seconds=wait.at.boot_seconds, repeat=f"cat /proc/{pid}/task/*/schedstat  # ran, waited: in ns, twice"
            if unit == "seconds" else f"ps -o psr,cls,rtprio,comm -p {wait.pid},{pid}",
        )  # fmt: skip

    found = [
        reading(
            "It was ready and something else ran", round(wait.waited_seconds, 2), "seconds", wait.pid, wait.seconds
        ),
        reading("It ran", round(wait.ran_seconds, 2), "seconds", wait.pid, wait.seconds),
    ]
    if wait.rival is not None:
        rival = wait.rival
        text = (
            f"Readings in which {clean(rival.process.comm)} was to run on CPU {rival.cpu}, as it was; in none elsewhere"
        )
        found.append(reading(text, rival.meetings, "readings", rival.process.pid))
    return found


def _remedies(case: Case, fix: str) -> list[Remedy]:
    s, steps = case.first.socket, [remedies.CAPTURE]
    if case.shape == "receiver-stopped":
        restart = remedies.restart(case.first.owner, "its socket is read again", "it stops again")
        return [*steps, *([restart] if restart else []), remedies.fix(fix)]
    if case.shape in ("receiver-throttled", "receiver-without-cpu"):
        return [*steps, remedies.fix(fix)]
    steps.append(
        Remedy(
            action="tune",
            do=f"A larger buffer (SO_RCVBUF), for which net.core.rmem_max has to allow it; now {s.limit_bytes:,} bytes",
            command="sysctl net.core.rmem_default net.core.rmem_max",
            effect="bursts wait instead of being dropped",
            risk="in a receiver that is too slow all the time what it reads is only older",
        )
    )
    return [*steps, remedies.fix(fix)]


def compose_place(place: Place, recording: Recording, window: CounterWindow, entry: Entry) -> Finding:
    """The finding about one namespace."""
    shape, inside = entry.shapes[place.shape], tenant(recording, place.netns)
    who = short_name(inside) if inside is not None else f"network namespace {place.netns}"
    words = {"who": who, "dropped": f"{place.lost:,}", "seconds": f"{window.seconds:.1f}"}
    title = shape.title.format(**words)
    effect = f"{place.lost:,} datagrams of its sockets were lost; of which was not seen"
    victim = Party(role="victim", netns=place.netns, effect=effect)
    name = COUNTERS[place.shape]
    return Finding(
        id=f"{RULE}:{digest(place.shape, place.netns)}",
        rule=RULE,
        reason=REASONS[place.shape],
        severity="info" if place.shape == "not-sent" else "warning",
        claim=entry.claim,
        confidence="proven",
        shape=place.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(victim if inside is None else party("victim", inside, effect=effect),),
        evidence=tuple(
            counted(
                window, f"{section}.{name}", place.netns, f"{section} {name} of its network namespace, in the window",
                unit="datagrams", limit=entry.limit("min_dropped"),
            )
            for section in ("Udp", "Udp6", "UdpLite", "UdpLite6")
            if window.rise(f"{section}.{name}").get(place.netns)
        ),
        would_explain=() if place.shape == "not-sent" else entry.would_explain,
        remedies=(remedies.CAPTURE, remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )  # fmt: skip
