"""The sample of the ports collector: local ports in use, where a namespace has sockets enough to use them up."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count
from whodunnet.model.sockets import Endpoint


class PortUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """TCP sockets from one address to one endpoint, each with a port of the range of its own.

    open: with a process, or on their way there. closing: closed by their process, and not yet at the end.
    time_wait: closed at both ends; this one closed first, and the kernel keeps the port for a minute.
    """

    source: str
    destination: Endpoint
    open: Count = 0
    closing: Count = 0
    time_wait: Count = 0

    @property
    def ports(self) -> int:
        """All together."""
        return self.open + self.closing + self.time_wait


class SourcePorts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Connections from one address, whatever their endpoints.

    ports: of the range, each counted once; listened on or bound only are left out. shared: of those, towards more than
    one endpoint at a time. time_wait: of those, with a connection in TIME_WAIT.
    """

    source: str
    ports: Count
    shared: Count = 0
    time_wait: Count = 0


class NamespacePorts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network namespace.

    sockets, time_wait: TCP, as the namespace counts them (sockstat, sockstat6): in a hash table, and in TIME_WAIT.
    uses: those that take most ports; None where the sockets are too few to take them all, or were not read.
    sources: those with most ports; empty in a recording of before.
    bound: ports of the range that no connect may take: listened on, or bound and not connected (Linux 6.8).
    unread: why there are no uses, though the sockets are many enough.
    """

    sockets: Count
    time_wait: Count
    uses: tuple[PortUse, ...] | None = None
    sources: tuple[SourcePorts, ...] = ()
    bound: Count = 0
    unread: str | None = None


class Ports(msgspec.Struct, frozen=True, tag="ports", kw_only=True, omit_defaults=True):
    """By inode number of the network namespace; netns_unread: known, but their sockets could not be counted."""

    by_netns: dict[Count, NamespacePorts] = {}
    netns_unread: Count = 0
