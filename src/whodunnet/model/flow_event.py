"""One change of the conntrack table, as the kernel tells it."""

from __future__ import annotations

from typing import Literal

import msgspec

from whodunnet.model.bounds import Count
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import Endpoint

Kind = Literal["new", "changed", "gone"]


class FlowEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry that came, changed or went.

    source, destination: what was asked for, by whom (the original tuple). answered_by, source_as: who answers, and
        where the answer is sent to; the same as those unless rewritten. Ports are None for protocols without; of GRE
        they are the key.
    protocol, state: as in FlowGroup; state is None where this message does not tell it.
    entry: the kernel's number of the entry, the same in all its messages; None where it is not told.
    remaining_seconds: until the entry is thrown out, if no packet comes. packets, bytes: both directions, only told of
        entries that are gone and were counted (nf_conntrack_acct).
    """

    kind: Kind
    family: Count  # 4 or 6
    protocol: str
    source: Endpoint
    destination: Endpoint
    answered_by: Endpoint
    source_as: Endpoint
    state: str | None = None
    replied: bool = False
    assured: bool = False
    offloaded: bool = False
    zone: Count = 0
    entry: Count | None = None
    remaining_seconds: Count | None = None
    packets: Count | None = None
    bytes: Count | None = None

    @property
    def ends(self) -> tuple[Endpoint, Endpoint, Endpoint, Endpoint]:
        """Every address with its port."""
        return self.source, self.destination, self.answered_by, self.source_as

    @property
    def translated(self) -> bool:
        """Whether another one answers than was asked."""
        return self.answered_by != self.destination

    def as_group(self) -> FlowGroup:
        """The same as a group of one entry, for FlowOwners."""
        return FlowGroup(
            family=self.family,
            protocol=self.protocol,
            source=self.source.address or "",
            destination=self.destination,
            answered_by=self.answered_by if self.translated else None,
            source_as=self.source_as.address if self.source_as.address != self.source.address else None,
            state=self.state or "none",
            replied=self.replied,
            assured=self.assured,
            offloaded=self.offloaded,
            zone=self.zone,
            entries=1,
        )
