"""Settings far from what the kernel or its documentation would choose: worth knowing, and never the cause by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Answer, Cleared, Evidence, Finding, NotChecked, Party, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.softnet import Softnet
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party
from whodunnet.rules.queue_evidence import digest, tenant
from whodunnet.rules.tcp_memory import formula_pages

RULE = "settings"
SOMAXCONN = "net.core.somaxconn"
OF_NAMESPACE = "  # in its network namespace"


class Odd(NamedTuple):
    """A setting that is not near what it should be. netns: None where it is of the whole kernel."""

    shape: str
    name: str
    value: int
    near: int
    unit: str
    netns: int | None = None


Check = Callable[[NamespaceSettings, Entry], tuple[int, int] | None]
"""The value and what it should be near, None where it is well."""


def _below(name: str, threshold: str) -> Check:
    def check(settings: NamespaceSettings, entry: Entry) -> tuple[int, int] | None:
        value, least = settings.number(name), int(entry.limit(threshold))
        return (value, least) if value is not None and value < least else None

    return check


def _is(name: str, bad: int, near: int) -> Check:
    def check(settings: NamespaceSettings, _entry: Entry) -> tuple[int, int] | None:
        value = settings.number(name)
        return (value, near) if value == bad else None

    return check


def _ports(settings: NamespaceSettings, entry: Entry) -> tuple[int, int] | None:
    ports, least = settings.ports, int(entry.limit("min_ports"))
    return (ports, least) if ports is not None and ports < least else None


CHECKS: dict[str, tuple[str, str, Check]] = {
    "ports": ("net.ipv4.ip_local_port_range", "ports", _ports),
    "syn-backlog": ("net.ipv4.tcp_max_syn_backlog", "connections", _below(
        "net.ipv4.tcp_max_syn_backlog", "min_syn_backlog")),
    "syncookies": ("net.ipv4.tcp_syncookies", "", _is("net.ipv4.tcp_syncookies", 0, 1)),
    "recycle": ("net.ipv4.tcp_tw_recycle", "", _is("net.ipv4.tcp_tw_recycle", 1, 0)),
    "time-wait": ("net.ipv4.tcp_max_tw_buckets", "connections", _below(
        "net.ipv4.tcp_max_tw_buckets", "min_time_wait")),
    "receive-buffer": ("net.ipv4.tcp_rmem", "bytes", _below("net.ipv4.tcp_rmem", "min_buffer")),
    "send-buffer": ("net.ipv4.tcp_wmem", "bytes", _below("net.ipv4.tcp_wmem", "min_buffer")),
}  # fmt: skip
"""Shape -> setting of a network namespace, its unit, and how it is compared."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each setting, with all namespaces that have it so."""
    settings = recording.last(Settings)
    assert settings is not None  # the collector is required
    at = recording.snapshots[-1].at
    odd = [*_of_node(recording, entry), *_of_namespaces(settings, recording, entry)]
    if not odd and not any(one.values for one in settings.by_netns.values()):
        reason = f"the settings of none of {settings.netns_unread:,} network namespaces could be read"
        return [NotChecked(rule=RULE, code="unreadable", reason=reason)]
    if not odd:
        return [_cleared(at, settings, recording)]
    by_shape: dict[str, list[Odd]] = {}
    for one in odd:
        by_shape.setdefault(one.shape, []).append(one)
    return [_finding(at, those, recording, entry) for those in by_shape.values()]


def _of_node(recording: Recording, entry: Entry) -> Iterator[Odd]:
    """Of the whole kernel, as other collectors have read them."""
    memory, table, receiving = recording.last(TcpMemory), recording.last(Conntrack), recording.last(Softnet)
    formula = formula_pages(memory) if memory is not None else None
    limit = memory.max_pages if memory is not None else None
    if limit is not None and formula is not None and limit < entry.limit("tcp_mem_ratio") * formula:
        yield Odd("tcp-mem", "net.ipv4.tcp_mem", limit, formula, "pages")
    buckets, most = (table.buckets or 0, table.max_entries or 0) if table is not None else (0, 0)
    if buckets and most > entry.limit("entries_per_bucket") * buckets:
        yield Odd("buckets", "net.netfilter.nf_conntrack_buckets", buckets, most // 4, "buckets")
    least = int(entry.limit("min_backlog"))
    if receiving is not None and receiving.max_backlog is not None and receiving.max_backlog < least:
        yield Odd("receive-queue", "net.core.netdev_max_backlog", receiving.max_backlog, least, "packets")


def _of_namespaces(settings: Settings, recording: Recording, entry: Entry) -> Iterator[Odd]:
    for shape, (name, unit, check) in CHECKS.items():
        for netns, one in settings.by_netns.items():
            found = check(one, entry)
            if found is not None:
                yield Odd(shape, name, *found, unit, netns)
    yield from _short_queues(settings, recording.last(Sockets), entry)


def _short_queues(settings: Settings, sockets: Sockets | None, entry: Entry) -> Iterator[Odd]:
    """Where a listener got no longer queue than somaxconn allows: it asked for that, or for more."""
    least = int(entry.limit("min_somaxconn"))
    longest: dict[int, int] = {}
    for q in sockets.accept_queues if sockets is not None else ():
        longest[q.netns] = max(longest.get(q.netns, 0), q.limit)
    for netns, one in settings.by_netns.items():
        allowed = one.number(SOMAXCONN)
        if allowed is not None and netns in longest and allowed < least and longest[netns] >= allowed:
            yield Odd("somaxconn", SOMAXCONN, allowed, least, "connections", netns)


def _finding(at: Moment, those: Sequence[Odd], recording: Recording, entry: Entry) -> Finding:
    worst = min(those, key=lambda one: (one.value, one.netns or 0))
    shape = entry.shapes[worst.shape]
    words = {
        "setting": worst.name,
        "value": f"{worst.value:,}",
        "near": f"{worst.near:,}",
        "where": _where(those),
    }
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest(worst.shape)}",
        rule=RULE,
        reason="Setting" + "".join(word.capitalize() for word in worst.shape.split("-")),
        severity="info",
        claim=entry.claim,
        confidence="likely",
        shape=worst.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=tuple(_parties(those, recording, entry)),
        evidence=(_reading(at, worst, len(those)),),
        remedies=(remedies.CAPTURE, _set(worst, shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _where(those: Sequence[Odd]) -> str:
    if those[0].netns is None:
        return "on this node"
    return "in one network namespace" if len(those) == 1 else f"or less in {len(those):,} network namespaces"


def _parties(those: Sequence[Odd], recording: Recording, entry: Entry) -> list[Party]:
    effect, found = "is set so", list[Party]()
    for one in those[: int(entry.limit("listed_namespaces"))]:
        inside = tenant(recording, one.netns) if one.netns is not None else None
        if inside is not None:
            found.append(party("holder", inside, effect=effect))
        elif one.netns is not None:
            found.append(Party(role="holder", netns=one.netns, effect=effect))
        else:
            found.append(Party(role="holder", node=recording.node.hostname, effect=effect))
    return found


def _reading(at: Moment, one: Odd, namespaces: int) -> Evidence:
    more = f", least of {namespaces:,} network namespaces that have it so" if namespaces > 1 else ""
    return Evidence(
        statement=f"{one.name}{more}, against what it should be near", value=one.value, unit=one.unit, limit=one.near,
        comparison=">" if one.value > one.near else "<", source="sysctl", at=at.wall, boot_seconds=at.boot_seconds,
        repeat=f"sysctl {one.name}{OF_NAMESPACE if one.netns is not None else ''}",
    )  # fmt: skip


def _set(one: Odd, fix: str) -> Remedy:
    return Remedy(
        action="tune", do=fix, command=f"sysctl {one.name}  # shows; sysctl -w sets; /etc/sysctl.d keeps it",
        effect="one suspect less, the next time", risk="whoever set it may have had a reason: look it up before",
    )  # fmt: skip


def _cleared(at: Moment, settings: Settings, recording: Recording) -> Cleared:
    compared = sum(len(one.values) for one in settings.by_netns.values())
    memory, table, receiving = recording.last(TcpMemory), recording.last(Conntrack), recording.last(Softnet)
    kinds = ((memory, "tcp_mem"), (table, "buckets of connection tracking"), (receiving, "netdev_max_backlog"))
    others = [name for sample, name in kinds if sample is not None]
    reach = f"{len(CHECKS) + 1} settings of each of {len(settings.by_netns):,} network namespaces"
    reach += f", and of the node {', '.join(others)}" if others else ""
    if settings.netns_unread:
        reach += f"; {settings.netns_unread:,} namespaces were not read"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            Evidence(
                statement="Settings that were read and are near what they should be", value=compared, unit="settings",
                source="sysctl", at=at.wall, boot_seconds=at.boot_seconds,
                repeat="sysctl -a -r '^net[.](core|ipv4)[.]'  # in each network namespace",
            ),
        ),
    )  # fmt: skip
