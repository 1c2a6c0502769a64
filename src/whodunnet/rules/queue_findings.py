"""A full accept queue as a finding: whose it is, the readings, what to do."""

from __future__ import annotations

from typing import NamedTuple

from whodunnet.model.counter_window import CounterWindow
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, PartyRole, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import files_spent, remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.listeners import Listener
from whodunnet.rules.queue_evidence import at_text, counted, digest, listener_party, seen, tenant, who_listens

RULE = "accept-queue"
REASONS = {
    "stuck": "AcceptQueueStuck",
    "slow": "AcceptQueueSlow",
    "small": "AcceptQueueSmall",
    "full": "AcceptQueueFull",
    "unseen": "AcceptQueueOverflows",
}
EFFECTS = {
    "stuck": "accepts nothing: its queue stays full, and the kernel drops new connects",
    "slow": "accepts more slowly than clients come: its queue is full",
    "small": "its queue was full for moments, and the kernel dropped the connects that came then",
    "full": "its queue is full; so short a look cannot tell why",
}
SEVERAL = "Several listeners take connections of this port (SO_REUSEPORT): what meets another queue is accepted."
TOGETHER = "The kernel counts such packets for the whole network namespace, which has more listeners than this one."


HALTED = "Its process is {state}, and has caused nothing itself: find who stopped it (kill -CONT, or thaw its cgroup)."


class Overfull(NamedTuple):
    """overflows: packets for which a queue of its namespace was full within the window; None: not known.

    accepted: connections that it took out of its queue meanwhile, at most. denied: the node had no file left, so that
    it may not be able to accept.
    """

    listener: Listener
    shape: str
    confidence: Confidence
    overflows: int | None
    accepted: int | None
    denied: bool = False

    @property
    def role(self) -> PartyRole:
        """Whoever is halted has caused nothing; nor is it its owner's doing that a queue is only short."""
        if self.listener.halted:
            return "reader"
        if self.denied:
            return "victim"
        return "culprit" if self.shape in ("stuck", "slow") else "holder"


def compose(one: Overfull, window: CounterWindow | None, entry: Entry) -> Finding:
    """The finding about one listener."""
    listener, shape = one.listener, entry.shapes[one.shape]
    words = {
        "who": who_listens(listener),
        "peer": at_text(listener.local),
        "sockets": f"{listener.fullest.waiting:,}",
        "limit": f"{listener.fullest.limit:,}",
        "dropped": _dropped(one.overflows, window),
    }
    title = shape.title.format(**words)
    extra = [SEVERAL] if listener.several else []
    extra += [] if listener.sole or one.overflows is None else [TOGETHER]
    extra += [files_spent.TEXT] if one.denied else []
    extra += [HALTED.format(state=_state(listener))] if listener.halted else []
    return Finding(
        id=f"{RULE}:{digest(one.shape, listener.netns, listener.local.address, listener.local.port, listener.pid)}",
        rule=RULE,
        reason=REASONS[one.shape],
        severity="info" if one.confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=one.confidence,
        shape=one.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=listener.fills[-1].at.wall,
        parties=(listener_party(one.role, listener, _effect(one)), *_halted(one)),
        evidence=tuple(_evidence(one, window, entry)),
        would_explain=entry.would_explain,
        remedies=tuple(_remedies(one, shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *extra),
    )


def _halted(one: Overfull) -> list[Party]:
    """Of a listener that several processes share, those who may be who should accept."""
    mates = one.listener.mates if one.shape in ("stuck", "full") else ()
    return [
        party(
            "reader", mate, effect=f"is {mate.process.state if mate.process else 'halted'}: it may be who should accept"
        )
        for mate in mates
    ]


def _effect(one: Overfull) -> str:
    if one.listener.halted:
        state = _state(one.listener)
        return f"is {state} and accepts nothing: the kernel drops new connects once its queue is full"
    return files_spent.EFFECT if one.denied else EFFECTS[one.shape]


def _state(listener: Listener) -> str:
    process = listener.owner.process if listener.owner else None
    return (process.state if process else None) or "halted"


def _dropped(overflows: int | None, window: CounterWindow | None) -> str:
    if overflows is None or window is None:
        return "how many connects were dropped is not known"
    return f"{overflows:,} packets of connects found no room in {window.seconds:.1f} s"


def _evidence(one: Overfull, window: CounterWindow | None, entry: Entry) -> list[Evidence]:
    listener, fill, last = one.listener, one.listener.fullest, one.listener.fills[-1]
    port, at = listener.local.port, one.listener.fills[-1].at
    found = [
        seen(
            fill.at, f"Connections in the accept queue of {at_text(listener.local)}, most in any reading", fill.waiting,
            "connections", port, limit=fill.limit, comparison=">" if fill.full else "of",
        ),
        seen(
            at, "Readings in which it was full", listener.full, "readings", port, limit=len(listener.fills),
            comparison="of",
        ),
    ]  # fmt: skip
    if listener.left is not None and listener.stayed is not None and listener.left + listener.stayed:
        every = listener.left + listener.stayed
        found.append(
            seen(
                at, "Of those that waited at one reading, gone at the next", listener.left, "connections", port,
                limit=every, comparison="of",
            )
        )  # fmt: skip
    if one.accepted is not None and one.shape in ("stuck", "slow"):
        found.append(_accepted(at, one.accepted))
    age = int(entry.limit("stuck_age"))
    if one.shape == "stuck" and any(listener.ages):
        statement = f"Of those that wait now, nothing came for {age} s or more"
        found.append(
            seen(at, statement, listener.waiting_for(age), "connections", port, limit=last.waiting, comparison="of")
        )
    if window is not None and one.overflows is not None:
        statement = "Packets for which an accept queue of its network namespace was full, within the window"
        floor = None if one.shape == "stuck" else entry.limit("min_overflows")
        found.append(counted(window, "TcpExt.ListenOverflows", listener.netns, statement, limit=floor))
    return found


def _accepted(at: Moment, number: int) -> Evidence:
    return Evidence(
        statement="Connections it accepted meanwhile, at most: those put into queues there, less what its own has more",
        value=number, unit="connections", source="/proc/net/snmp PassiveOpens; sockets collector", at=at.wall,
        boot_seconds=at.boot_seconds, repeat="nstat -asz TcpPassiveOpens  # in its network namespace, twice",
    )  # fmt: skip


def _remedies(one: Overfull, fix: str) -> list[Remedy]:
    pid, steps = one.listener.pid, [remedies.CAPTURE]
    if one.shape in ("stuck", "full") and pid is not None:
        steps.append(
            Remedy(
                action="capture", do="See what its threads wait for before anybody restarts it",
                command=f"cat /proc/{pid}/task/*/stack", effect="tells a lock from a full pool", risk="none",
            )
        )  # fmt: skip
    if one.shape == "stuck" and not one.denied:
        restart = remedies.restart(one.listener.owner, "its queue is empty again", "it hangs again")
        steps += [restart] if restart else []
    if one.shape in ("small", "slow", "full"):
        steps.append(
            Remedy(
                action="tune", do="A longer backlog in listen(), and net.core.somaxconn of its namespace as long",
                command=None, effect="bursts wait instead of being dropped",
                risk="in a server that is too slow all the time it only makes everybody wait",
            )
        )  # fmt: skip
    return [*steps, remedies.fix(fix)]


def compose_unseen(netns: int, overflows: int, recording: Recording, window: CounterWindow, entry: Entry) -> Finding:
    """A listener of that namespace overflowed, and at no reading was any seen full."""
    shape, inside = entry.shapes["unseen"], tenant(recording, netns)
    who = short_name(inside) if inside is not None else f"network namespace {netns}"
    words = {"who": who, "dropped": _dropped(overflows, window), "peer": "", "sockets": "", "limit": ""}
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest('unseen', netns)}",
        rule=RULE,
        reason=REASONS["unseen"],
        severity="warning",
        claim=entry.claim,
        confidence="likely",
        shape="unseen",
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(_somebody(netns, inside),),
        evidence=(
            counted(
                window, "TcpExt.ListenOverflows", netns,
                "Packets for which an accept queue of this network namespace was full, within the window",
                limit=entry.limit("min_overflows"),
            ),
        ),
        remedies=(remedies.CAPTURE, remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )  # fmt: skip


def _somebody(netns: int, inside: Workload | None) -> Party:
    effect = "one of its listeners had no room; which one was not seen"
    return (
        Party(role="holder", netns=netns, effect=effect) if inside is None else party("holder", inside, effect=effect)
    )
