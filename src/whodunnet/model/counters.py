"""The sample of the counters collector: what each network namespace counts about packets, queues and buffers."""

from __future__ import annotations

from typing import Final

import msgspec

from whodunnet.model.bounds import Count

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "Ip": (
        "InReceives", "InHdrErrors", "InAddrErrors", "ForwDatagrams", "InDiscards", "InDelivers", "OutRequests",
        "OutDiscards", "OutNoRoutes", "ReasmFails", "FragOKs", "FragFails", "FragCreates", "Forwarding",
    ),
    "Icmp": ("InMsgs", "InErrors", "InDestUnreachs", "OutDestUnreachs", "InTimeExcds", "OutTimeExcds"),
    "Tcp": (
        "ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "CurrEstab", "InSegs", "OutSegs", "RetransSegs",
        "InErrs", "OutRsts",
    ),
    "Udp": (
        "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
        "MemErrors",
    ),
    "UdpLite": ("InErrors", "RcvbufErrors", "SndbufErrors", "MemErrors"),
    "Ip6": (
        "InReceives", "InHdrErrors", "InTooBigErrors", "InNoRoutes", "InAddrErrors", "InDiscards", "InDelivers",
        "OutForwDatagrams", "OutRequests", "OutDiscards", "OutNoRoutes", "FragFails",
    ),
    "Icmp6": ("InMsgs", "InPktTooBigs", "OutPktTooBigs", "InDestUnreachs", "OutDestUnreachs"),
    "Udp6": (
        "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
        "MemErrors",
    ),
    "UdpLite6": ("InErrors", "RcvbufErrors", "SndbufErrors", "MemErrors"),
    "TcpExt": (
        "SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed", "TCPReqQFullDrop", "TCPReqQFullDoCookies",
        "ListenOverflows", "ListenDrops", "TCPDeferAcceptDrop", "TCPFastOpenListenOverflow", "EmbryonicRsts",
        "TW", "TWRecycled", "TWKilled", "TCPTimeWaitOverflow", "PAWSEstab", "TCPACKSkippedSynRecv",
        "TCPLostRetransmit", "TCPFastRetrans", "TCPSlowStartRetrans", "TCPTimeouts", "TCPSynRetrans", "TCPRetransFail",
        "TCPLossProbes", "TCPLossProbeRecovery", "TCPSpuriousRTOs", "TCPDSACKRecv", "TCPAbortOnTimeout",
        "TCPMTUPFail", "TCPMTUPSuccess", "IPReversePathFilter", "TCPBacklogDrop", "TCPRcvQDrop", "TCPZeroWindowDrop",
        "TCPMinTTLDrop", "TCPAbortOnMemory",
    ),
    "IpExt": ("InNoRoutes", "InTruncatedPkts", "InCsumErrors"),
}  # fmt: skip
"""Section -> counters kept (net/ipv4/proc.c, net/ipv6/proc.c), each under "Section.Name"; a kernel may lack some.

Those of snmp6 have a dot here too: Udp6RcvbufErrors is "Udp6.RcvbufErrors". Udp counts sockets of IPv4 and Udp6 those
of IPv6, which take IPv4 as well. IcmpMsg is there by type, in both directions, see ICMP_TYPES.
"""

ICMP_TYPES: Final = ("InType3", "OutType3", "InType11", "OutType11")
"""Of section IcmpMsg, under "IcmpMsg.InType3". The kernel leaves out a type that no message had so far."""

GAUGES: Final = frozenset({"Tcp.CurrEstab", "Ip.Forwarding"})
"""What is as it is now, and no counter: Ip.Forwarding is 1 where the namespace forwards, else 2."""


class Counters(msgspec.Struct, frozen=True, tag="counters", kw_only=True):
    """snmp, snmp6 and netstat of every reachable network namespace.

    known: what this kernel counts of NAMES; without IPv6, or on an older kernel, it is less.
    by_netns: inode number of the namespace -> "TcpExt.ListenOverflows" -> value since the namespace was made. Those at
        0 are left out, which are most: see `value`.
    netns_unread: known, but their counters could not be read.
    """

    known: tuple[str, ...] = ()
    by_netns: dict[Count, dict[str, Count]] = {}
    netns_read: Count = 0
    netns_unread: Count = 0

    def value(self, netns: int, name: str) -> int | None:
        """A counter of a namespace; None if the namespace was not read, or this kernel has no such counter."""
        values = self.by_netns.get(netns)
        if values is None or (name not in values and name not in self.known):
            return None
        return values.get(name, 0)
