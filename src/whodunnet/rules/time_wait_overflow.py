"""TIME_WAIT at its limit: the kernel forgets closed connections at once, and who closes so many first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from whodunnet.model.connection_names import End, Names
from whodunnet.model.connection_window import connection_window
from whodunnet.model.connections import Connections
from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Evidence, Finding, Party, Remedy
from whodunnet.model.ports import Ports
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_findings import end_party, name_of
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.namespace_counts import cleared_of, once_of, set_to
from whodunnet.rules.queue_evidence import counted, digest, tenant

RULE = "time-wait-overflow"
OVERFLOW: Final = "TcpExt.TCPTimeWaitOverflow"
BUCKETS: Final = "net.ipv4.tcp_max_tw_buckets"
REASONS = {"small-limit": "TimeWaitLimitSmall", "churn": "TimeWaitOverflow"}
WHAT = "connections that were closed without TIME_WAIT"


class Closer(NamedTuple):
    """Who closed so many connections first, of all that were closed first in that namespace."""

    end: End
    closed: int
    of: int

    @property
    def share(self) -> float:
        return self.closed / max(self.of, 1)


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each namespace."""
    window = counter_window(recording)
    if window is None:
        return [once_of(recording, RULE, WHAT, OVERFLOW)]
    floor = entry.limit("min_overflows")
    found = sorted(
        ((netns, n) for netns, n in window.rise(OVERFLOW).items() if n >= floor), key=lambda one: (-one[1], one[0])
    )
    if not found:
        reach = f"{floor:.0f} or more connections that are closed while TIME_WAIT is full"
        return [cleared_of(window, RULE, OVERFLOW, WHAT, reach, unit="connections")]
    listed = found[: int(entry.limit("listed_namespaces"))]
    return [_finding(netns, n, recording, window, entry) for netns, n in listed]


def _finding(netns: int, overflows: int, recording: Recording, window: CounterWindow, entry: Entry) -> Finding:
    limit = set_to(recording, netns, BUCKETS)
    name = "small-limit" if limit is not None and limit < entry.limit("small_limit") else "churn"
    shape, closers = entry.shapes[name], _closers(recording, netns)
    inside = tenant(recording, netns)
    words = {
        "place": short_name(inside) if inside is not None else f"network namespace {netns}",
        "overflows": f"{overflows:,}",
        "limit": f"{limit:,} connections" if limit is not None else BUCKETS,
        "seconds": f"{window.seconds:.1f}",
    }
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest(netns)}",
        rule=RULE,
        reason=REASONS[name],
        severity="warning",
        claim=entry.claim,
        confidence="proven",
        shape=name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=tuple(_parties(name, netns, closers, recording, entry)),
        evidence=tuple(_evidence(netns, limit, closers, recording, window, entry)),
        would_explain=entry.would_explain,
        remedies=tuple(_remedies(limit, name, shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _closers(recording: Recording, netns: int) -> list[Closer]:
    """Those who close first there, whichever end they are, most first."""
    window, last = connection_window(recording), recording.last(Connections)
    if window is None or last is None or last.method != "bpf":
        return []
    names, found = Names(recording), dict[str, tuple[End, int]]()
    total = 0
    for g in window.total.groups:
        if g.netns == netns and g.ending == "closed-here":
            end = names.client_of(g) if g.role == "initiated" else names.server_of([g], (g.server,), None)
            found[end.key] = (end, found.get(end.key, (end, 0))[1] + g.connections)
            total += g.connections
    found.pop("unknown", None)
    ordered = sorted(found.values(), key=lambda one: (-one[1], one[0].key))
    return [Closer(end, n, total) for end, n in ordered]


def _parties(name: str, netns: int, closers: Sequence[Closer], recording: Recording, entry: Entry) -> list[Party]:
    """Who closes at least half of them first is the one, and else nobody; of a small limit it is no doing of his."""
    if closers and closers[0].share >= entry.limit("closer_share"):
        top = closers[0]
        effect = f"closed {top.closed:,} of the {top.of:,} connections that ended there first"
        return [end_party("culprit" if name == "churn" else "holder", top.end, effect)]
    effect = "its closed connections are forgotten at once; nobody alone is seen to close most of them"
    inside = tenant(recording, netns)
    victim = Party(role="victim", netns=netns, effect=effect)
    return [victim if inside is None else party("victim", inside, effect=effect)]


def _evidence(
    netns: int, limit: int | None, closers: Sequence[Closer], recording: Recording, window: CounterWindow, entry: Entry
) -> list[Evidence]:
    floor, at = entry.limit("min_overflows"), window.end
    found = [
        counted(
            window, OVERFLOW, netns, f"Connections closed without TIME_WAIT within {window.seconds:.1f} s",
            unit="connections", limit=floor,
        )
    ]  # fmt: skip
    sample = recording.last(Ports)
    waiting = sample.by_netns[netns].time_wait if sample is not None and netns in sample.by_netns else None
    if waiting is not None:
        found.append(
            Evidence(
                statement="In TIME_WAIT there now", value=waiting, unit="connections", limit=limit,
                comparison="of" if limit is not None else None, source="/proc/net/sockstat TCP tw", at=at.wall,
                boot_seconds=at.boot_seconds,
                repeat=f"grep ^TCP: /proc/net/sockstat; sysctl {BUCKETS}  # in its network namespace",
            )
        )  # fmt: skip
    for closer in closers[: int(entry.limit("listed_closers"))]:
        found.append(
            Evidence(
                statement=f"Connections that {name_of(closer.end)} closed first there", value=closer.closed,
                unit="connections", limit=closer.of, comparison="of", source="connections collector", at=at.wall,
                boot_seconds=at.boot_seconds, repeat="whodunnet connections --for 10s --by process",
            )
        )  # fmt: skip
    return found


def _remedies(limit: int | None, name: str, fix: str) -> list[Remedy]:
    steps = [remedies.CAPTURE]
    if name == "small-limit":
        steps.append(
            Remedy(
                action="tune", do="Raise the limit (by default it is half of the chains of the table of connections)",
                command=f"sysctl -w {BUCKETS}=65536  # in its network namespace",
                effect="closed connections wait for their last segments, as TCP wants it",
                risk="about 250 bytes of kernel memory for each",
            )
        )  # fmt: skip
    elif limit is not None:
        steps.append(
            Remedy(
                action="tune", do="Double the limit, if so many connections are meant to be closed there",
                command=f"sysctl -w {BUCKETS}={2 * limit}  # in its network namespace",
                effect="as many again may wait", risk="about 250 bytes of kernel memory for each",
            )
        )  # fmt: skip
    return [*steps, remedies.fix(fix)]
