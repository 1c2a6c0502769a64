"""UDP sockets without room: datagrams that the kernel had to drop, and whose they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.drop_window import Dropped, drops
from whodunnet.model.finding import Answer, Cleared, Confidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_waits import CpuWait, starved
from whodunnet.rules.identity import HALTED
from whodunnet.rules.namespace_counts import once_of, unknown
from whodunnet.rules.queue_evidence import counted, nowhere
from whodunnet.rules.quota_use import QuotaUse, quota_uses
from whodunnet.rules.udp_findings import RULE, Case, Place, compose_place, compose_socket

KINDS = ("Udp", "Udp6", "UdpLite", "UdpLite6")
"""Sockets of IPv4 and IPv6 count apart; what is asked is the same."""
LOST = tuple(f"{kind}.{name}" for kind in KINDS for name in ("RcvbufErrors", "MemErrors", "SndbufErrors"))
MOSTLY = 0.5
"""Of its periods: from then on that a quota is used up is why it does not read."""


class Errors(NamedTuple):
    """Datagrams of one namespace within the window: without room in a socket, without memory, not sent, other, read."""

    room: int
    memory: int
    unsent: int
    other: int
    read: int

    def share(self, lost: int) -> float:
        """Of what came to sockets here, the share that was lost."""
        return lost / max(self.room + self.memory + self.other + self.read, 1)


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each socket's owner; one for each namespace whose losses nobody is seen to have had."""
    window = counter_window(recording)
    if window is None:
        return [once_of(recording, RULE, "datagrams for which a socket had no room", *LOST)]
    every = _errors(window)
    sockets = drops(recording) or []
    delays = _delays(recording, sockets, _used_up(quota_uses(recording), window.seconds, entry))
    cases = [case for netns, errors in every.items() for case in _cases(netns, errors, sockets, delays, entry)]
    named = {case.netns for case in cases}
    places = [place for netns, errors in every.items() for place in _places(netns, errors, netns in named, entry)]
    if not cases and not places:
        return [_cleared(window, every, entry)]
    most = int(entry.limit("listed_sockets"))
    cases.sort(key=lambda case: (-case.lost, case.netns, case.first.socket.inode))
    places.sort(key=lambda place: (place.shape == "not-sent", -place.lost, place.netns))
    return [
        *(compose_socket(case, recording, window, entry) for case in cases[:most]),
        *(compose_place(place, recording, window, entry) for place in places[:most]),
    ]


def _errors(window: CounterWindow) -> dict[int, Errors]:
    names = ("RcvbufErrors", "MemErrors", "SndbufErrors", "InErrors", "InDatagrams")
    risen = [window.rise(*(f"{kind}.{name}" for kind in KINDS)) for name in names]
    found = {}
    for netns in window.rises:
        room, memory, unsent, errors, read = (rise.get(netns, 0) for rise in risen)
        other = max(errors - room - memory, 0)
        found[netns] = Errors(room=room, memory=memory, unsent=unsent, other=other, read=read)
    return found


def _cases(
    netns: int, errors: Errors, sockets: Sequence[Dropped], delays: Mapping[int, QuotaUse | CpuWait], entry: Entry
) -> list[Case]:
    """Sockets that dropped enough where the kernel counts as much for lack of room, by owner and port."""
    if errors.room < entry.limit("min_dropped") or errors.share(errors.room) < entry.limit("min_share"):
        return []
    here = [d for d in sockets if d.socket.netns == netns and _for_want_of_room(d, errors)]
    by_owner: dict[tuple[int | None, int | None], list[Dropped]] = {}
    for d in here:
        by_owner.setdefault((d.pid, d.socket.local.port), []).append(d)
    found = []
    for those in by_owner.values():
        lost = min(sum(d.rise for d in those), errors.room)
        if lost >= entry.limit("min_dropped"):
            alone = len(by_owner) == 1 and 2 * lost >= errors.room
            delay = None if those[0].socket.shared else delays.get(those[0].pid or 0)
            shape = _shape(those, delay)
            sure = _confidence(those, alone and (shape != "receiver-throttled" or _is_why(delay)))
            found.append(Case(netns, tuple(those), lost, errors.room, shape, sure, delay))
    return found


def _for_want_of_room(d: Dropped, errors: Errors) -> bool:
    """One that was never full, and has dropped far more than found no room, did so for another reason."""
    return d.full > 0 or d.rise <= 2 * errors.room


def _used_up(uses: Mapping[int, list[QuotaUse]], seconds: float, entry: Entry) -> dict[int, QuotaUse]:
    """By pid, the quota that keeps it from reading for a good part of the window, if any does."""
    share, found = entry.limit("min_throttled_share"), dict[int, QuotaUse]()
    for pid, every in uses.items():
        often = [use for use in every if use.throttled >= entry.limit("min_throttled") and use.share >= share]
        long = [use for use in often if use.throttled_seconds >= share * seconds]
        if long:
            found[pid] = max(long, key=lambda use: use.share)
    return found


def _delays(
    recording: Recording, sockets: Sequence[Dropped], quotas: Mapping[int, QuotaUse]
) -> dict[int, QuotaUse | CpuWait]:
    """By pid, what keeps it from reading: its quota, which counts as a wait for a CPU too; else that it got none."""
    waits = {d.pid: starved(recording, d.pid) for d in sockets if d.pid is not None and d.pid not in quotas}
    return {**quotas, **{pid: wait for pid, wait in waits.items() if wait is not None}}


def _shape(those: Sequence[Dropped], delay: QuotaUse | CpuWait | None) -> str:
    """Of a socket that several processes have open, one that is halted does not tell."""
    owner = None if those[0].socket.shared else those[0].owner
    state = owner.process.state if owner is not None and owner.process is not None else None
    if state in HALTED:
        return "receiver-stopped"
    if isinstance(delay, CpuWait):
        return "receiver-without-cpu"
    return "receiver-slow" if delay is None else "receiver-throttled"


def _is_why(delay: QuotaUse | CpuWait | None) -> bool:
    """Whether it stands still at most moments at which something comes."""
    return isinstance(delay, QuotaUse) and delay.share >= MOSTLY


def _confidence(those: Sequence[Dropped], alone: bool) -> Confidence:
    """A socket drops for other reasons too (checksum, filter): it is sure if its queue was full, and nobody else's."""
    return "proven" if alone and any(d.full for d in those) else "likely"


def _places(netns: int, errors: Errors, named: bool, entry: Entry) -> list[Place]:
    floor, share = entry.limit("min_dropped"), entry.limit("min_share")
    found = []
    if errors.memory >= floor and errors.share(errors.memory) >= share:
        found.append(Place(netns, "no-memory", errors.memory))
    if not named and errors.room >= floor and errors.share(errors.room) >= share:
        found.append(Place(netns, "unseen", errors.room))
    if errors.unsent >= floor:
        found.append(Place(netns, "not-sent", errors.unsent))
    return found


def _cleared(window: CounterWindow, every: dict[int, Errors], entry: Entry) -> Cleared | NotChecked:
    if not any(f"{kind}.RcvbufErrors" in window.last.known for kind in KINDS):
        return unknown(RULE, "Udp.RcvbufErrors")
    if nothing_read := nowhere(RULE, window.last, window):
        return nothing_read
    reach = (
        f"{entry.limit('min_dropped'):.0f} or more datagrams for which a socket had no room within the window of "
        f"{window.seconds:.1f} s, in each of {len(every):,} namespaces, and {entry.limit('min_share'):g} of what came"
    )
    if window.missing or window.unread:
        reach += f"; {window.missing + window.unread:,} namespaces were not read, or were new"
    rows = {
        "Udp.RcvbufErrors": "Datagrams for which a socket of IPv4 had no room",
        "Udp6.RcvbufErrors": "Datagrams for which one of IPv6 had no room",
        "Udp.SndbufErrors": "Datagrams that could not be sent",
    }
    if any(errors.other for errors in every.values()):
        rows["Udp.InErrors"] = "Received with any error, such as a wrong checksum"
    evidence = [
        counted(window, name, None, text, unit="datagrams") for name, text in rows.items() if name in window.last.known
    ]
    return Cleared(rule=RULE, sensitivity=reach, evidence=tuple(evidence))
