"""The sample of the conntrack collector: the table of tracked connections, in groups."""

from __future__ import annotations

from typing import Literal

import msgspec

from whodunnet.model.bounds import Ages, Count, Seconds, Signed
from whodunnet.model.sample import Failure
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint


class FlowGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """All entries that share source, destination, who answered, rewriting, protocol, state, flags and zone.

    source, destination: what was asked for, by whom (the original tuple). Source ports are not kept. The port is None
        for protocols without ports; of GRE it is the key. destination is None if merged without it.
    answered_by: who answers, if that is not the destination itself (DNAT, a Service's endpoint); in a merged group
        without address and port.
    source_as: the address that the answer is sent to, if that is not the source (SNAT).
    protocol: "tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "gre", "udplite", or the protocol's number.
    state: as the kernel names the states of TCP, SCTP and DCCP, in lower case ("syn-sent", "time-wait"); else "none",
        and so for offloaded entries, of which the kernel tells none.
    replied: a packet came back. assured: kept when the table is full; of UDP, a stream.
    offloaded: packets bypass the table (flowtable), which then tells neither state nor time.
    merged: entries for which no finer group had room: without port, or without destination.
    idle_seconds: sum over the entries of `ages`.
    ages: entries by whole seconds since their last packet (AGE_BOUNDS_SECONDS), from the time they have left and the
        timeout of their state. Only those of which that can be told; empty if of none.
    """

    family: Count  # 4 or 6
    protocol: str
    source: str
    destination: Endpoint | None
    answered_by: Endpoint | None = None
    source_as: str | None = None
    state: str = "none"
    replied: bool = False
    assured: bool = False
    offloaded: bool = False
    zone: Count = 0
    merged: bool = False
    entries: Count
    idle_seconds: Count = 0
    ages: Ages = ()

    def idle_for(self, seconds: int) -> int:
        """Number of entries idle for at least `seconds`, which must be one of AGE_BOUNDS_SECONDS."""
        return sum(self.ages[AGE_BOUNDS_SECONDS.index(seconds) + 1 :])

    @property
    def idle_unknown(self) -> int:
        """Number of entries whose idle time cannot be told."""
        return self.entries - sum(self.ages)


class Conntrack(msgspec.Struct, frozen=True, tag="conntrack", kw_only=True, omit_defaults=True):
    """One reading of the connection tracking of one network namespace, with the number of entries of all others.

    Scope (net/netfilter/nf_conntrack_core.c): max_entries and buckets are of the whole kernel, but max_entries is
    compared with the number of each namespace by itself; the rest is of the namespace `netns`. None: not known.

    loaded: whether the kernel tracks connections at all; if not, there is nothing else in the sample.
    count: entries just before the dump. max_entries: 0 is without limit (up to Linux 6.18).
    statistics: by the kernel's own column name, summed over CPUs, each since the namespace was made. "drop": table
        full or no memory. "insert_failed": lost race, long chain. "early_drop": another entry was thrown out.
    timeouts: seconds by name, as "tcp_timeout_established": what a new packet gives the entry.
    counts: entries by inode number of the namespace. netns_unread: known, but their number could not be read.
    inner: groups of other namespaces' own tables by inode number: all that were translated, and their own as far as
        there is room; of those that have so many entries that they may open ours for others. None of one that
        translates no source.
    method: how the entries were read: by ctnetlink, or as text where so few are in a large table that ctnetlink would
        keep softirqs waiting (it walks empty buckets with softirqs off); None where there was nothing to read.
    dump_failure: why there are no groups, though there may be entries.
    other_entries: fitted in no group (bounded table). malformed: entries that could not be decoded.
    interrupted: answers the kernel marked as inconsistent. overruns: dumps begun again because the kernel lost a part.
    longest_receive_seconds: CPU time of the longest single stay in the kernel for the dump.
    The table changes while it is read: entries may be missing or there twice.
    """

    loaded: bool
    netns: Count | None = None
    count: Count | None = None
    max_entries: Signed | None = None
    buckets: Count | None = None
    statistics: dict[str, Count] = {}
    timeouts: dict[str, Signed] = {}
    counts: dict[Count, Count] = {}
    netns_unread: Count = 0
    inner: dict[Count, tuple[FlowGroup, ...]] = {}
    method: Literal["ctnetlink", "procfs"] | None = None
    dump_failure: Failure | None = None
    groups: tuple[FlowGroup, ...] = ()
    other_entries: Count = 0
    malformed: Count = 0
    interrupted: Count = 0
    overruns: Count = 0
    dump_seconds: Seconds = 0.0
    longest_receive_seconds: Seconds = 0.0

    @property
    def entries_read(self) -> int:
        """Entries that the dump had, to be compared with `count`."""
        return sum(group.entries for group in self.groups) + self.other_entries + self.malformed


def flows_in_order(conntrack: Conntrack) -> Conntrack:
    """The same reading with its groups in the order of their text."""
    return msgspec.structs.replace(
        conntrack,
        groups=tuple(sorted(conntrack.groups, key=_group_key)),
        inner={netns: tuple(sorted(groups, key=_group_key)) for netns, groups in sorted(conntrack.inner.items())},
    )


def _group_key(g: FlowGroup) -> tuple[object, ...]:
    return (
        g.family, g.source, g.protocol, _end_key(g.destination), _end_key(g.answered_by), g.source_as or "", g.state,
        g.replied, g.assured, g.offloaded, g.zone, g.merged,
    )  # fmt: skip


def _end_key(end: Endpoint | None) -> tuple[str, int]:
    return (end.address or "", end.port or 0) if end else ("", 0)
