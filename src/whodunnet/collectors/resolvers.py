"""Which name servers the programs of each network namespace are told to ask; with --active, whether these answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.kernel import namespaces
from whodunnet.kernel.name_query import NameQuery, make_query
from whodunnet.kernel.namespaces import Visitor
from whodunnet.kernel.procfs.pids import list_pids
from whodunnet.kernel.resolv_conf import Parsed, read_resolv_conf
from whodunnet.kernel.roots import Roots
from whodunnet.model.resolvers import Lookup, Outcome, ResolvConf, Resolvers

PROCESSES_MAX: Final = 32_768
FILES_MAX: Final = 4096
FILES_OF_ONE: Final = 32
"""Mount namespaces of one network namespace: the host's has one for each pod that uses it."""
EVERY_SECONDS: Final = 30.0
QUERIES_MAX: Final = 64
AGAIN_SECONDS: Final = 0.5
"""After that a question without an answer is asked once more: a packet may be lost."""
TIMES_ASKED: Final = 2
LOCALHOST: Final = "127.0.0.1"

Place = tuple[int, str]
"""Network namespace, and the link of the mount namespace."""


class _Asked(NamedTuple):
    """One server, asked from one namespace. query: None where nothing could be sent."""

    netns: int
    server: str
    at: float
    query: NameQuery | None


class ResolversCollector:
    """Reads resolv.conf of one process in each pair of network and mount namespace, every EVERY_SECONDS.

    active: also asks each server once, from inside of the namespaces, and looks for its answer in later readings.
    """

    name: ClassVar[str] = "resolvers"

    def __init__(self, roots: Roots, *, active: bool = False) -> None:
        self._roots = roots
        self._active = active
        self._newest: tuple[float, Resolvers] | None = None
        self._asked: list[_Asked] | None = None
        self._unasked = 0

    def collect(self) -> Resolvers:
        """One reading, of files the last one if it is new enough. Raises UnreadableError."""
        now = time.monotonic()
        if self._newest is None or now - self._newest[0] >= EVERY_SECONDS:
            self._newest = now, self._read()
        found = msgspec.structs.replace(self._newest[1], read_seconds_ago=round(now - self._newest[0], 3))
        if not self._active:
            return found
        if self._asked is None:
            self._asked = self._ask(found.files, now)
        lookups = tuple(_look(asked, now) for asked in self._asked)
        return msgspec.structs.replace(found, asked=True, lookups=lookups, unasked=self._unasked)

    def close(self) -> None:
        """Give the sockets back."""
        for asked in self._asked or ():
            if asked.query is not None:
                asked.query.close()
        self._asked = None

    def _read(self) -> Resolvers:
        places, left_out = _places(self._roots)
        files: dict[tuple[int, Parsed], int] = {}
        unread: set[int] = set()
        for (netns, _), pid in places.items():
            parsed = unless_unreadable(partial(read_resolv_conf, self._roots, pid))
            if parsed is None:
                unread.add(netns)
            else:
                files.setdefault((netns, parsed), pid)
        every = unless_unreadable(partial(namespaces.find, self._roots))
        return Resolvers(
            files=tuple(_file(netns, pid, parsed) for (netns, parsed), pid in files.items()),
            netns_unread=len(unread - {netns for netns, _ in files}) + (every.unidentified if every is not None else 0),
            left_out=left_out,
        )

    def _ask(self, files: Iterable[ResolvConf], now: float) -> list[_Asked]:
        """One question to each server from each namespace, each server from one of them first."""
        wanted: dict[tuple[int, str], int] = {}
        for conf in files:
            for server in conf.servers or (LOCALHOST,):
                wanted.setdefault((conf.netns, server), conf.pid)
        met: dict[str, int] = {}
        turns = []
        for netns, server in wanted:
            turns.append((met.get(server, 0), netns, server))
            met[server] = met.get(server, 0) + 1
        turns.sort(key=lambda turn: turn[0])
        self._unasked = max(len(turns) - QUERIES_MAX, 0)
        with Visitor() as visitor:
            return [
                _Asked(netns, server, now, self._query(visitor, netns, wanted[netns, server], server))
                for _, netns, server in turns[:QUERIES_MAX]
            ]

    def _query(self, visitor: Visitor, netns: int, pid: int, server: str) -> NameQuery | None:
        make = partial(make_query, server)
        if netns == unless_unreadable(partial(namespaces.own, self._roots)):
            return unless_unreadable(make)
        place = Path(f"{self._roots.proc}/{pid}/ns/net")
        return unless_unreadable(partial(visitor.inside, place, netns, make))


def _places(roots: Roots) -> tuple[dict[Place, int], int]:
    """The lowest pid in each pair of namespaces, and how many pairs are left out. Raises UnreadableError."""
    found: dict[Place, int] = {}
    of_one: dict[int, int] = {}
    left_out: set[Place] = set()
    for pid in list_pids(roots.proc)[:PROCESSES_MAX]:
        place = _place(roots.proc, pid)
        if place is None or place in found:
            continue
        if len(found) >= FILES_MAX or of_one.get(place[0], 0) >= FILES_OF_ONE:
            left_out.add(place)
            continue
        found[place] = pid
        of_one[place[0]] = of_one.get(place[0], 0) + 1
    return found, len(left_out)


def _place(proc: Path, pid: int) -> Place | None:
    """None for a process that is gone, or that we may not look at."""
    try:
        mount = os.readlink(f"{proc}/{pid}/ns/mnt")  # noqa: PTH115 - a third of the time of Path.readlink
        netns = os.readlink(f"{proc}/{pid}/ns/net")  # noqa: PTH115
        return namespaces.parse_link(os.fsencode(netns), f"{proc}/{pid}/ns/net"), mount
    except OSError:
        return None


def _file(netns: int, pid: int, parsed: Parsed) -> ResolvConf:
    return ResolvConf(netns=netns, pid=pid, **msgspec.structs.asdict(parsed))


def _look(asked: _Asked, now: float) -> Lookup:
    """What became of a question, which is asked again if it is time."""
    query, seconds = asked.query, round(now - asked.at, 3)
    if query is None:
        return Lookup(netns=asked.netns, server=asked.server, sent=0, seconds=seconds, outcome="not-sent")
    query.look()
    outcome: Outcome = "answered" if query.rcode is not None else "refused" if query.refused else "waiting"
    if outcome == "waiting" and seconds >= AGAIN_SECONDS and query.sent < TIMES_ASKED:
        query.ask()
    return Lookup(
        netns=asked.netns,
        server=asked.server,
        sent=query.sent,
        seconds=seconds,
        outcome=outcome,
        rcode=query.rcode,
        inode=query.inode,
    )
