"""What `ss -peaonmi` prints (misc/ss.c of iproute2), as far as TCP and UDP sockets go.

A socket is a line of columns, and one more that begins with a tab. Names of processes, of unix sockets and of cgroups
stand there as they are, and whoever made them may have chosen them to look like columns, or like lines. So what follows
the addresses is taken in the order in which ss prints it, owners by a form that no name of 15 characters can forge, and
nothing after the cgroup; memory and counters from the second line, which has no such text; nothing before the last unix
socket, as ss prints those first; and an inode that has two lines with different owners has none. What is left to a
forger, a line behind the last unix socket, shows by an inode that /proc/net/tcp has not: see `confirmed`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket, PlainSocket, SocketMemory, TcpInfo
from whodunnet.kernel.procfs.files import shown
from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.text import clean

LIMIT_BYTES: Final = 64 << 20
SOCKETS_MAX: Final = 131_072
HOLDERS_MAX: Final = 64
"""Processes of one socket that are read."""
NO_SUCH_INODE: Final = 2**63 - 1
"""Of a socket whose line does not say for certain who has it."""

_STATES: Final = {
    "ESTAB": "established", "SYN-SENT": "syn-sent", "SYN-RECV": "syn-recv", "FIN-WAIT-1": "fin-wait-1",
    "FIN-WAIT-2": "fin-wait-2", "TIME-WAIT": "time-wait", "UNCONN": "close", "CLOSE-WAIT": "close-wait",
    "LAST-ACK": "last-ack", "LISTEN": "listen", "CLOSING": "closing",
}  # fmt: skip
_PRINTED_BEFORE: Final = ("nl ", "p_raw ", "p_dgr ", "u_str ", "u_dgr ", "u_seq ")
_TIMERS: Final = {"on": 1, "keepalive": 2, "timewait": 3, "persist": 4}
_HEAD: Final = re.compile(r"(tcp|udp) +([A-Z0-9-]{3,12}) +(\d{1,10}) +(\d{1,10}) +(\S{1,80}) +(\S{1,80})(?:\s+(.*))?")
_HOLDER: Final = r'\("([^"]{0,64})",pid=(\d{1,10}),fd=\d{1,10}\)'
_USERS: Final = re.compile(rf"users:\({_HOLDER}(?:,{_HOLDER})*\)(?= |$)")
_ONE: Final = re.compile(_HOLDER)
_TIMER: Final = re.compile(r"timer:\(([a-z]{2,10}),[^,()]{0,20},(\d{1,5})\)(?: |$)")
_UID: Final = re.compile(r"uid:(\d{1,10})(?: |$)")
_INODE: Final = re.compile(r"ino:(\d{1,18}) sk:([0-9a-f]{1,16})(?: |$)")
_SCOPE: Final = re.compile(r"%[^\]]*")
_MEMORY: Final = re.compile(
    r"skmem:\(r(\d{1,10}),rb(\d{1,10}),t\d{1,10},tb\d{1,10},f(-?\d{1,10}),w(\d{1,10}),o\d{1,10}(?:,bl\d{1,10})?"
    r"(?:,d(\d{1,10}))?\)"
)
_COUNTERS: Final = frozenset({
    "mss", "unacked", "lastsnd", "lastrcv", "lastack", "bytes_acked", "bytes_received", "segs_out", "notsent",
    "snd_wnd", "rcv_wnd",
})  # fmt: skip


class Holder(NamedTuple):
    """One descriptor: a process by pid and name, cleaned."""

    pid: int
    comm: str


class Printed(NamedTuple):
    """One socket. holders: who has it open, as far as that is certain."""

    socket: InetSocket | PlainSocket
    holders: tuple[Holder, ...]


class SsText(msgspec.Struct, frozen=True, kw_only=True):
    """sockets: TCP and UDP, in the order of the text. malformed: lines of such that are not understood.

    left_out: beyond SOCKETS_MAX. named: whether any socket has a holder, so that ss was asked and allowed to tell.
    """

    sockets: tuple[Printed, ...] = ()
    malformed: int = 0
    left_out: int = 0

    @property
    def named(self) -> bool:
        return any(one.holders for one in self.sockets)


def parse_ss(data: bytes, source: str) -> SsText:
    """Raises MalformedError if it has not the columns of ss."""
    text = data.decode(errors="replace")
    if not any(line.startswith(("Netid ", "Netid\t")) for line in text[:8192].split("\n")):
        raise MalformedError(f"{source} does not begin with the columns of ss: {shown(data)}")
    found: list[Printed] = []
    records, malformed = _records(text)
    left_out = 0
    for first, second in records:
        if len(found) >= SOCKETS_MAX:
            left_out += 1
            continue
        one = _parse(first, second)
        if one is None:
            malformed += 1
        else:
            found.append(one)
    return SsText(sockets=_with_windows(_undisputed(found)), malformed=malformed, left_out=left_out)


def confirmed(found: SsText, inodes: Collection[int]) -> SsText:
    """Without sockets whose inode is not among these, those of /proc/net/tcp and its like; they count as malformed."""
    kept = tuple(one for one in found.sockets if one.socket.inode in inodes or one.socket.inode in (0, NO_SUCH_INODE))
    lost = len(found.sockets) - len(kept)
    return msgspec.structs.replace(found, sockets=kept, malformed=found.malformed + lost)


def parse_inodes(data: bytes) -> set[int]:
    """The tenth column of /proc/net/tcp, tcp6, udp or udp6; lines of other form are passed over."""
    words = (line.split() for line in data.split(b"\n"))
    return {int(line[9]) for line in words if len(line) > 9 and line[9].isdigit() and len(line[9]) < 20}


def _records(text: str) -> tuple[list[tuple[str, str]], int]:
    """First and last line of each TCP or UDP socket, and how many stood where none can be."""
    found: list[tuple[str, str]] = []
    misplaced, inside = 0, False
    for line in text.split("\n"):
        if line.startswith(_PRINTED_BEFORE):
            misplaced, found = misplaced + len(found), []
        elif line.startswith(("tcp ", "udp ")):
            found.append((line, ""))
            inside = True
        elif found and inside and line[:1] in (" ", "\t"):
            found[-1] = found[-1][0], line
        else:
            inside = False
    return found, misplaced


def _undisputed(found: list[Printed]) -> list[Printed]:
    """Without owners, and without an inode, where two lines say different ones."""
    owners: dict[int, set[tuple[Holder, ...]]] = {}
    for one in found:
        owners.setdefault(one.socket.inode, set()).add(one.holders)
    return [
        one
        if one.socket.inode in (0, NO_SUCH_INODE) or len(owners[one.socket.inode]) == 1
        else Printed(msgspec.structs.replace(one.socket, inode=NO_SUCH_INODE), ())
        for one in found
    ]


def _parse(first: str, second: str) -> Printed | None:
    """None for a line that is not understood."""
    head = _HEAD.fullmatch(first.rstrip())
    if head is None or head[2] not in _STATES:
        return None
    local, remote = _end(head[5]), _end(head[6])
    if local is None or remote is None:
        return None
    tail = _Tail(head[7] or "")
    memory = _memory(second)
    if head[1] == "udp":
        plain = PlainSocket(
            family=local.family, inode=tail.inode, memory=memory or SocketMemory(), local=(local.address, local.port),
            remote=(remote.address, remote.port),
        )  # fmt: skip
        return Printed(plain, tail.holders)
    state = _STATES[head[2]]
    found = InetSocket(
        family=local.family, state=state, timer=tail.timer, local_address=local.address, local_port=local.port,
        remote_address=remote.address, remote_port=remote.port, cookie=tail.cookie, receive_queue=int(head[3]),
        send_queue=int(head[4]), uid=tail.uid, inode=tail.inode, memory=memory,
        info=_info(second, tail.retries) if state != "listen" else None,
    )  # fmt: skip
    return Printed(found, tail.holders)


class _End(NamedTuple):
    family: int
    address: str
    port: int


def _end(text: str) -> _End | None:
    """An address with a port, None if it is none. "*" stands for every address, and for no port."""
    address, _, port = text.rpartition(":")
    if port != "*" and not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        return None
    found = _address(address)
    return _End(*found, 0 if port == "*" else int(port)) if found is not None else None


@lru_cache(maxsize=4096)
def _address(text: str) -> tuple[int, str] | None:
    """Family of the socket, and the address without scope, IPv4 if it is mapped."""
    bare = _SCOPE.sub("", text).strip("[]")
    if bare == "*":
        return 6, "::"
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return found.version, str(mapped or found)


class _Tail:
    """What follows the addresses, in the order of ss: owners, timer, user, inode and cookie."""

    def __init__(self, text: str) -> None:
        self.holders: tuple[Holder, ...] = ()
        self.timer = self.retries = self.uid = self.cookie = 0
        self.inode = 0
        if text.startswith("users:"):
            users = _USERS.match(text)
            if users is None:  # a name that is made to look like more than one
                self.inode = NO_SUCH_INODE
                return
            self.holders = tuple(
                Holder(int(one[2]), clean(one[1])) for one in _ONE.finditer(users[0]) if int(one[2]) > 0
            )[:HOLDERS_MAX]
            text = text[users.end() :].lstrip()
        timer = _TIMER.match(text)
        if timer is not None:
            self.timer, self.retries = _TIMERS.get(timer[1], 0), int(timer[2])
            text = text[timer.end() :].lstrip()
        uid = _UID.match(text)
        if uid is not None:
            self.uid, text = int(uid[1]), text[uid.end() :].lstrip()
        inode = _INODE.match(text)
        if inode is not None:
            self.inode, self.cookie = int(inode[1]), int(inode[2], 16)
        else:
            self.inode = NO_SUCH_INODE


def _memory(line: str) -> SocketMemory | None:
    """None for minisockets, which have none."""
    match = _MEMORY.match(line.strip())
    if match is None:
        return None
    forward = int(match[3])
    return SocketMemory(
        rmem_alloc=int(match[1]),
        rcvbuf=int(match[2]),
        fwd_alloc=forward - 2**32 if forward >= 2**31 else forward,  # printed without its sign
        wmem_queued=int(match[4]),
        drops=int(match[5] or 0),
    )


def _info(line: str, retries: int) -> TcpInfo | None:
    """None without one; counters that are 0 are not printed."""
    words = (word.partition(":") for word in line.split())
    found = {
        name: min(int(value), INT64_MAX)
        for name, _, value in words
        if name in _COUNTERS and value.isascii() and value.isdigit() and len(value) <= 20
    }
    if "mss" not in found:
        return None
    return TcpInfo(
        probes=retries, snd_mss=found["mss"], unacked=found.get("unacked", 0),
        last_data_sent_ms=found.get("lastsnd", 0), last_data_recv_ms=found.get("lastrcv", 0),
        last_ack_recv_ms=found.get("lastack", 0), bytes_acked=found.get("bytes_acked", 0),
        bytes_received=found.get("bytes_received", 0), segs_out=found.get("segs_out", 0),
        notsent_bytes=found.get("notsent", 0), snd_wnd=found.get("snd_wnd"), rcv_wnd=found.get("rcv_wnd"),
    )  # fmt: skip


def _with_windows(found: list[Printed]) -> tuple[Printed, ...]:
    """ss leaves a window of 0 out: where it prints that of any socket, one that is missing is closed."""
    infos = [one.socket.info for one in found if isinstance(one.socket, InetSocket) and one.socket.info is not None]
    names = [name for name in ("snd_wnd", "rcv_wnd") if any(getattr(info, name) is not None for info in infos)]
    return tuple(_with_closed(one, names) for one in found) if names else tuple(found)


def _with_closed(one: Printed, names: list[str]) -> Printed:
    if not isinstance(one.socket, InetSocket) or one.socket.info is None:
        return one
    closed = {name: 0 for name in names if getattr(one.socket.info, name) is None}
    info = msgspec.structs.replace(one.socket.info, **closed)
    return Printed(msgspec.structs.replace(one.socket, info=info), one.holders)
