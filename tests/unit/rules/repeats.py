"""Nodes whose connections have to send segments again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from whodunnet.model.repeat_window import GROWING
from whodunnet.model.retransmissions import Destination, RepeatOwner, Retransmissions
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.workload import Workloads

from .nodes import FROM_BOOT, NETNS, NODE, PEER, group, moment, named

SECONDS = 5.0
assert PEER.address is not None
assert PEER.port is not None
REMOTE, PORT = PEER.address, PEER.port


def to(repeated: int = 0, sent: int = 1_000, **other: Any) -> Destination:
    """Segments that were sent there, and of them again: by fast retransmit, unless said otherwise."""
    fields: dict[str, Any] = {
        "netns": NETNS, "remote": REMOTE, "port": PORT, "fast": repeated, "sent": sent, "sockets": 2 if repeated else 0,
        "device": "eth0", "device_mtu": 1500, "path_mtu": 1500, "first_seconds": FROM_BOOT,
        "last_seconds": FROM_BOOT + SECONDS,
    }  # fmt: skip
    return Destination(**{**fields, **other})


def good(sent: int = 10_000, repeated: int = 1, remote: str = "198.51.100.7", **other: Any) -> Destination:
    return to(repeated, sent, remote=remote, **other)


def narrow(again: int = 6, **other: Any) -> Destination:
    """Where nothing of full size arrives."""
    fields: dict[str, Any] = {
        "fast": 4, "timeouts": 12, "full": 16, "again_full": again, "sacked": again, "stuck": 3, "mss": 1448,
    }  # fmt: skip
    return to(0, 100, **{**fields, **other})


def by(pid: int, repeated: int, again: int = 0) -> RepeatOwner:
    return RepeatOwner(pid, repeated, again)


def users(n: int = 4, pid: int = 7, **other: Any) -> SocketGroup:
    return group("held-open", n, pid=pid, **other)


def partial(d: Destination, share: float) -> Destination:
    """What it was when so much of the window was over."""
    owners = tuple(by(o.pid, int(o.repeated * share), int(o.again_full * share)) for o in d.owners)
    return replace(d, owners=owners, **{name: int(getattr(d, name) * share) for name in GROWING})


def sample(*destinations: Destination, **other: Any) -> Retransmissions:
    return Retransmissions(
        destinations=destinations, **{"watched_seconds": 1.0, "started_seconds": FROM_BOOT - 1.0, **other}
    )


def node(
    *destinations: Destination, parts: int = 3, seconds: float = SECONDS, elsewhere: int = 0,
    groups: Sequence[SocketGroup] = (), workloads: Workloads | None = None, **samples: AnySample,
) -> Recording:  # fmt: skip
    """Repeats that come evenly over so many parts of the window."""
    shares = [i / parts for i in range(parts + 1)]
    readings = [
        sample(*(partial(d, share) for d in destinations if share), elsewhere=int(elsewhere * share))
        for share in shares
    ]
    return moments(*readings, seconds=seconds, groups=groups, workloads=workloads, **samples)


def moments(
    *readings: Retransmissions, seconds: float = SECONDS, groups: Sequence[SocketGroup] = (),
    workloads: Workloads | None = None, **samples: AnySample,
) -> Recording:  # fmt: skip
    step = seconds / max(len(readings) - 1, 1)
    always: dict[str, AnySample] = {
        "sockets": Sockets(method="bpf", groups=tuple(groups)), "workloads": workloads or named(7, 8), **samples,
    }  # fmt: skip
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=moment(i * step), samples={**always, "retransmissions": r}) for i, r in enumerate(readings)
        ),
    )
