"""Full send queues followed to whoever does not read: holder -> reader, on this node or elsewhere."""

from __future__ import annotations

from collections import Counter

import msgspec

from whodunnet.model.sockets import Endpoint, Sockets, StuckSocket
from whodunnet.model.workload import Workloads
from whodunnet.rules.identity import owner_key

HOPS_MAX = 4
RELAY_SHARE = 0.5
"""A reader that is itself held up towards at least half as many connections as it does not read only passes it on."""


class Held(msgspec.Struct):
    """Send queues of one holder that one reader keeps full. sockets: in the sample. pids: holders' processes."""

    sockets: int = 0
    memory_bytes: int = 0
    unchanged: int = 0
    pids: Counter[int] = msgspec.field(default_factory=Counter)
    orphans: int = 0
    netns: Counter[int] = msgspec.field(default_factory=Counter)


class Backpressure(msgspec.Struct):
    """by_reader: reader's owner key -> holder's owner key -> what it holds for it. by_remote: the same by peer address.

    relays: owner keys that do not read because they themselves are held up, with the keys they wait for.
    scale: sockets with a symptom for each one in the sample.
    """

    by_reader: dict[str, dict[str, Held]] = {}
    by_remote: dict[str, dict[str, Held]] = {}
    relays: dict[str, set[str]] = {}
    scale: float = 1.0

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


def follow(sockets: Sockets, workloads: Workloads) -> Backpressure:
    """Pair every sampled socket whose peer has closed its window with the peer's socket on this node, if it is here."""
    readers = _Readers(sockets.stuck)
    result = Backpressure(scale=sockets.stuck_total / len(sockets.stuck) if sockets.stuck else 1.0)
    unread = Counter(_key(s, workloads) for s in sockets.stuck if s.symptom == "unread")
    waiting: dict[str, Counter[str]] = {}
    for s in sockets.stuck:
        if s.symptom != "window-closed":
            continue
        holder, reader = _key(s, workloads), readers.of(s)
        if reader is None:
            if not readers.on_this_node(s):
                _add(result.by_remote.setdefault(s.remote.address or "", {}), holder, s)
            continue
        reader_key = _key(reader, workloads)
        if reader_key != holder:
            _add(result.by_reader.setdefault(reader_key, {}), holder, s)
            waiting.setdefault(holder, Counter())[reader_key] += 1
    for holder, for_whom in waiting.items():
        if unread[holder] and for_whom.total() >= RELAY_SHARE * unread[holder]:
            result.relays[holder] = set(for_whom)
    return result


class _Readers:
    """The sampled sockets with unread data, found by the reversed addresses of their peer."""

    def __init__(self, stuck: tuple[StuckSocket, ...]) -> None:
        self._exact: dict[tuple[Endpoint, Endpoint], StuckSocket] = {}
        self._by_local: dict[Endpoint, list[StuckSocket]] = {}
        self._by_remote: dict[Endpoint, list[StuckSocket]] = {}
        self._local_addresses = {s.local.address for s in stuck}
        for s in stuck:
            if s.symptom == "unread":
                self._exact[s.local, s.remote] = s
                self._by_local.setdefault(s.local, []).append(s)
                self._by_remote.setdefault(s.remote, []).append(s)

    def of(self, holder: StuckSocket) -> StuckSocket | None:
        """The peer's socket. Where addresses are translated in between, the end that stays the same must be unique."""
        exact = self._exact.get((holder.remote, holder.local))
        if exact is not None:
            return exact
        if holder.role == "accepted":
            same = [s for s in self._by_local.get(holder.remote, ()) if s.role == "initiated"]
        else:
            same = [s for s in self._by_remote.get(holder.local, ()) if s.role == "accepted"]
        return same[0] if len(same) == 1 else None

    def on_this_node(self, holder: StuckSocket) -> bool:
        """Whether the peer's address is seen as a local one here, so that it cannot be called remote."""
        return holder.remote.address in self._local_addresses


def _add(table: dict[str, Held], holder: str, s: StuckSocket) -> None:
    held = table.setdefault(holder, Held())
    held.sockets += 1
    held.memory_bytes += s.memory_bytes
    held.unchanged += s.unchanged is True
    held.netns[s.netns] += 1
    if s.owner_pid is not None:
        held.pids[s.owner_pid] += 1
    elif s.holding == "orphan":
        held.orphans += 1


def _key(s: StuckSocket, workloads: Workloads) -> str:
    if s.owner_pid is None:
        return f"netns {s.netns} {s.holding}"
    return owner_key(s.owner_pid, workloads.by_pid.get(s.owner_pid))
