"""A pool that gives up what was idle for four seconds, before nginx does after five: but it looks only every five.

On paper the client is right, and now and then it is: some connections it closes first. The others have been idle for
less than four seconds when the sweeper comes, and would be nine when it comes again. So whatever is wanted again after
five or six seconds is mostly one that nginx has closed, and the pool does not look when it gives it out.
"""

from __future__ import annotations

import time
from functools import partial
from http.client import HTTPConnection
from itertools import count
from threading import Lock, Thread

from lab.actor import every
from lab.keepalive import PairCase
from lab.look import Sight, connections
from lab.pools import Range, ask, spread
from lab.servers import nginx
from lab.stage import Player

LIMIT_SECONDS, SWEEP_SECONDS = 4.0, 5.0


class Pool:
    """One connection for each user, with the moment since which it has been idle."""

    def __init__(self, address: str, port: int) -> None:
        self.server = (address, port)
        self.idle: dict[int, tuple[float, HTTPConnection]] = {}
        self.lock = Lock()

    def get(self, user: int) -> None:
        with self.lock:
            _, connection = self.idle.pop(user, (0.0, HTTPConnection(*self.server, timeout=10)))
        ask(connection)
        with self.lock:
            self.idle[user] = (time.monotonic(), connection)

    def sweep(self) -> None:
        for _ in every(SWEEP_SECONDS, times=1_000_000):
            with self.lock:
                limit = time.monotonic() - LIMIT_SECONDS
                for user in [user for user, (since, _) in self.idle.items() if since < limit]:
                    self.idle.pop(user)[1].close()


def with_swept_pool(address: str, port: int, users: int, idle: Range) -> None:
    pool, numbers = Pool(address, port), count()
    Thread(target=pool.sweep).start()
    spread(users, idle, lambda: [partial(pool.get, next(numbers))])


class KeepaliveSweeperComesTooSeldom(PairCase):
    kind = "fault"
    rules_unread = True
    port = 80
    server_waits = (5.0, 5.0)
    window_seconds = 12

    def serve(self) -> Player:
        return nginx(self.stage, self.server_pod, self.port, keep_alive="5s")

    def call(self) -> Player:
        arguments = (self.address, self.port, self.connections, self.idle)
        return self.stage.play(self.client_pod, "orders", with_swept_pool, *arguments)

    def look(self) -> Sight:
        """Who closes first has the connection in TIME_WAIT: some of them the client."""
        sight = super().look()
        closed_here = connections(self.client_pod.netns).where("TIME-WAIT", peer_port=self.port)
        return Sight(sight.there and bool(closed_here), f"{sight.seen}; {len(closed_here)} in TIME-WAIT at the client")
