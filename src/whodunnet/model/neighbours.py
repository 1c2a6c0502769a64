"""The sample of the neighbours collector: how full the kernel's two tables of neighbours are, and of whose entries."""

from __future__ import annotations

from typing import Literal

import msgspec

from whodunnet.model.bounds import Count

Family = Literal[4, 6]


class NeighbourTable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The table of one family, which all network namespaces share.

    entries: in it now. min_entries, soft_max, max_entries: gc_thresh1, 2 and 3; None where they cannot be read. Entries
        that are permanent, or learned from outside, count in `entries`, but not against these (Linux 5.0).
    table_fulls: times that a new entry found no room. forced_gcs: times that room was sought at once, for which packets
        wait. unresolved_discards: packets dropped while nobody had answered for their address. res_failed: addresses
        for which nobody ever did. All since boot; None where this kernel does not count it.
    """

    entries: Count
    min_entries: Count | None = None
    soft_max: Count | None = None
    max_entries: Count | None = None
    table_fulls: Count | None = None
    forced_gcs: Count | None = None
    unresolved_discards: Count | None = None
    res_failed: Count | None = None


class DeviceNeighbours(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Entries of one device. device: its name, or "ifN" if it is gone.

    answered: whoever has the address has answered for it, at some time. unanswered: asked for (incomplete), and nobody
    answered so far, or in the end (failed). unasked: that need not be asked for (noarp). exempt: permanent or learned
    from outside; not among the others. asked: some of the addresses that are unanswered, from all over them.
    """

    netns: Count
    device: str
    family: Family
    answered: Count = 0
    unanswered: Count = 0
    unasked: Count = 0
    exempt: Count = 0
    asked: tuple[str, ...] = ()

    @property
    def counted(self) -> int:
        """Entries that count against the limits."""
        return self.answered + self.unanswered + self.unasked


class Neighbours(msgspec.Struct, frozen=True, tag="neighbours", kw_only=True, omit_defaults=True):
    """ipv4, ipv6: None where the kernel has no such table or does not show it: it does so in the first namespace only.

    places: entries by namespace and device, read only of a family whose table is at least half full, or was full since
        the reading before; most first. places_of: those families. netns_unread: namespaces whose entries could not be
        read. left_out: entries beyond the collector's bounds.
    """

    ipv4: NeighbourTable | None = None
    ipv6: NeighbourTable | None = None
    places: tuple[DeviceNeighbours, ...] = ()
    places_of: tuple[Family, ...] = ()
    netns_unread: Count = 0
    left_out: Count = 0

    def table(self, family: Family) -> NeighbourTable | None:
        """Of one family."""
        return self.ipv4 if family == 4 else self.ipv6
