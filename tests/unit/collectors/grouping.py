"""Made-up sockets, and the groups that are made of them."""

from __future__ import annotations

from typing import Any

import msgspec

from whodunnet.collectors.sockets_diag_groups import Grouping, Positions
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket, SocketMemory, TcpInfo
from whodunnet.kernel.procfs.descriptors import SocketHolders
from whodunnet.model.sockets import SocketGroup

NETNS = 4026531840
PORTS = frozenset({80})
ALL_SEEN = SocketHolders(pids={11: 100, 12: 200}, shared={12}, whole_machine=True)
INFO = TcpInfo(
    probes=0, snd_mss=1448, unacked=0, last_data_sent_ms=3000, last_data_recv_ms=7000, last_ack_recv_ms=61_000,
    bytes_acked=1, bytes_received=1000, segs_out=5, notsent_bytes=0, snd_wnd=65536, rcv_wnd=65536,
)  # fmt: skip
SERVER = InetSocket(
    family=4, state="established", timer=0, local_address="10.0.0.1", local_port=80, remote_address="10.0.0.2",
    remote_port=5000, cookie=1, receive_queue=0, send_queue=0, uid=0, inode=11,
    memory=SocketMemory(rmem_alloc=10, rcvbuf=1000, fwd_alloc=200, wmem_queued=3000), info=INFO, cgroup_id=77,
)  # fmt: skip


def like(base: InetSocket = SERVER, **changes: Any) -> InetSocket:
    """`base` with other values; names of TcpInfo's members go there."""
    inner = {name: changes.pop(name) for name in list(changes) if name in TcpInfo.__struct_fields__}
    assert base.info is not None
    return msgspec.structs.replace(base, info=msgspec.structs.replace(base.info, **inner), **changes)


def grouped(
    *found: InetSocket, holders: SocketHolders = ALL_SEEN, previous: Positions | None = None, later_ms: float = 1.0
) -> Grouping:
    grouping = Grouping(holders, previous or Positions())
    for one in found:
        grouping.add(NETNS, "tcp", one, PORTS)
    grouping.settle(holders, later_ms)
    return grouping


def only(grouping: Grouping) -> SocketGroup:
    (group,) = grouping.groups()
    return group


UNREAD = like(receive_queue=20_000, bytes_received=21_000)
