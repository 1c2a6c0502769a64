"""Full send queues followed to whoever does not read: holder -> reader, on this node or elsewhere."""

from __future__ import annotations

from collections import Counter

import msgspec

from whodunnet.model.sockets import Endpoint, Sockets, StuckSocket
from whodunnet.model.workload import Workloads, owner_key

HOPS_MAX = 4
RELAY_SHARE = 0.5
"""A reader that is itself held up towards at least half as many connections as it does not read only passes it on."""


class Held(msgspec.Struct):
    """Send queues of one holder that one reader keeps full: of which processes, and of how many orphans by endpoint."""

    sockets: int = 0
    memory_bytes: int = 0
    unchanged: int = 0
    orphans: Counter[Endpoint] = msgspec.field(default_factory=Counter)
    pids: Counter[int] = msgspec.field(default_factory=Counter)
    netns: Counter[int] = msgspec.field(default_factory=Counter)

    def add(self, other: Held) -> None:
        """Sum up what one holder holds for several readers."""
        self.sockets += other.sockets
        self.memory_bytes += other.memory_bytes
        self.unchanged += other.unchanged
        self.orphans.update(other.orphans)
        self.pids.update(other.pids)
        self.netns.update(other.netns)

    def scale(self, factor: float) -> None:
        """From the sample to all."""
        self.sockets, self.unchanged = round(self.sockets * factor), round(self.unchanged * factor)
        self.memory_bytes = round(self.memory_bytes * factor)
        self.orphans = Counter({endpoint: round(n * factor) for endpoint, n in self.orphans.items()})


class Backpressure(msgspec.Struct):
    """by_reader: reader's owner key -> holder's owner key -> what it holds for it. by_remote: the same by peer address.

    relays: owner keys that do not read because they themselves are held up, with whom they wait for: keys of readers,
    or of remote addresses (`remote_key`).
    """

    by_reader: dict[str, dict[str, Held]] = {}
    by_remote: dict[str, dict[str, Held]] = {}
    relays: dict[str, set[str]] = {}

    def origins(self, key: str) -> set[str]:
        """Who is behind a reader: itself, or through relays the readers it waits for."""
        seen, open_ = {key}, {key}
        for _ in range(HOPS_MAX):
            following = set().union(*(self.relays.get(k, set()) for k in open_)) - seen
            if not following:
                break
            seen |= following
            open_ = following
        return {k for k in seen if k not in self.relays} or {key}

    def held_for(self, key: str) -> dict[str, Held]:
        """Everything that is held because this reader does not read, also through relays: holder's key -> sum."""
        found: dict[str, Held] = {}
        readers = [key, *(relay for relay in self.relays if relay != key and key in self.origins(relay))]
        for table in (self.by_reader.get(reader, {}) for reader in readers):
            for holder, held in table.items():
                found.setdefault(holder, Held()).add(held)
        return found


def remote_key(address: str) -> str:
    """Stands for all readers at one address that is not on this node."""
    return f"remote {address}"


def remote_sockets(pressure: Backpressure, address: str) -> int:
    """How many send queues of this node the readers at one remote address keep full themselves."""
    return sum(held.sockets for held in pressure.by_remote[address].values())


def follow(sockets: Sockets, workloads: Workloads) -> Backpressure:
    """Pair every sampled socket whose peer has closed its window with the peer's socket on this node, if it is here."""
    readers = _Readers(sockets)
    holders = [s for s in sockets.stuck if s.symptom == "window-closed"]
    result = Backpressure()
    unread = Counter(_key(s, workloads) for s in sockets.stuck if s.symptom == "unread")
    waiting: dict[str, Counter[str]] = {}
    for s in holders:
        holder, found = _key(s, workloads), readers.of(s)
        reader = _nearest(found, s)
        if reader is not None:
            key = _key(reader, workloads)
            table = result.by_reader.setdefault(key, {})
        elif found or readers.on_this_node(s):
            continue
        else:
            key = remote_key(s.remote.address or "")
            table = result.by_remote.setdefault(s.remote.address or "", {})
        if key != holder:
            _add(table, holder, s)
            waiting.setdefault(holder, Counter())[key] += 1
    for holder, for_whom in waiting.items():
        if unread[holder] and for_whom.total() >= RELAY_SHARE * unread[holder]:
            result.relays[holder] = set(for_whom)
    _scale(result, sockets, len(holders))
    return result


def _scale(result: Backpressure, sockets: Sockets, sampled: int) -> None:
    """Holders' sockets in all for each one in the sample; both ends of a connection are sampled together."""
    all_of_them = sum(g.sockets for g in sockets.groups if g.protocol == "tcp" and g.symptom == "window-closed")
    if all_of_them > sampled > 0:
        for table in (*result.by_reader.values(), *result.by_remote.values()):
            for held in table.values():
                held.scale(all_of_them / sampled)


class _Readers:
    """The sampled sockets with unread data, found by the reversed addresses of their peer."""

    def __init__(self, sockets: Sockets) -> None:
        stuck = sockets.stuck
        self._called = {g.endpoint for g in sockets.groups if g.role == "initiated" and g.endpoint is not None}
        self._exact: dict[tuple[Endpoint, Endpoint], list[StuckSocket]] = {}
        self._by_local: dict[Endpoint, list[StuckSocket]] = {}
        self._by_remote: dict[Endpoint, list[StuckSocket]] = {}
        self._local_addresses = {s.local.address for s in stuck}
        for s in stuck:
            if s.symptom == "unread":
                self._exact.setdefault((s.local, s.remote), []).append(s)
                self._by_local.setdefault(s.local, []).append(s)
                self._by_remote.setdefault(s.remote, []).append(s)

    def of(self, holder: StuckSocket) -> list[StuckSocket]:
        """What may be the peer's socket: the reversed addresses, else, if they are translated, the end that stays."""
        exact = self._exact.get((holder.remote, holder.local), [])
        if not exact and holder.role == "accepted":
            exact = [s for s in self._by_local.get(holder.remote, ()) if s.role == "initiated"]
        elif not exact:
            exact = [s for s in self._by_remote.get(holder.local, ()) if s.role == "accepted"]
        return exact

    def on_this_node(self, holder: StuckSocket) -> bool:
        """Whether the peer may be here although its socket was not found, so that it cannot be called remote.

        Its address is a local one, or somebody on this node has connected to just this end.
        """
        return holder.remote.address in self._local_addresses or holder.local in self._called


def _nearest(found: list[StuckSocket], holder: StuckSocket) -> StuckSocket | None:
    """The one in the holder's own namespace, else the only one; loopback never leaves a namespace."""
    here = [s for s in found if s.netns == holder.netns]
    if len(here) == 1:
        return here[0]
    address = holder.remote.address or ""
    if here or len(found) != 1 or address == "::1" or address.startswith("127."):
        return None
    return found[0]


def _add(table: dict[str, Held], holder: str, s: StuckSocket) -> None:
    held = table.setdefault(holder, Held())
    held.sockets += 1
    held.memory_bytes += s.memory_bytes
    held.unchanged += s.unchanged is True
    held.netns[s.netns] += 1
    if s.owner_pid is not None:
        held.pids[s.owner_pid] += 1
    elif s.holding == "orphan":
        held.orphans[Endpoint(None, s.local.port) if s.role == "accepted" else s.remote] += 1


def _key(s: StuckSocket, workloads: Workloads) -> str:
    if s.owner_pid is None:
        return f"netns {s.netns} {s.holding}"
    return owner_key(s.owner_pid, workloads.by_pid.get(s.owner_pid))
