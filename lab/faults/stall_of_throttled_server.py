"""Answers come late in runs that fall by the interval of the requests, as in incident 2, and no packet waits for a CPU.

A request goes out every 10 ms, and a backlog of them is answered at one instant: 250, 240, 230 ms and so on. The
server collects garbage now and then, 100 ms of work at a time; its CPU quota lets it run for 25 ms in each 100 ms, so
that this takes a third of a second. On average it uses two thirds of its quota, which looks like room enough. Pings to
the same pod, whose packets the same CPU receives, are answered at once: the requests wait in the server's socket.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from contextlib import suppress

from lab.actor import connected, every
from lab.arrivals import ONE_QUEUE, StallCase
from lab.case import STALL_RULES, Expected, Named
from lab.connects import ANSWERED, calls, log
from lab.cpu_hogs import times
from lab.cpu_quota import PORT, REQUEST, Quota, work
from lab.look import Sight
from lab.servers import up

CPUS = 0.25
COLLECT_SECONDS, REST_SECONDS, INTERVAL = 0.1, 0.3, 0.01
DONE = b"done\n"


def serve() -> None:
    """One thread answers, and collects garbage."""
    ready, due = selectors.DefaultSelector(), time.monotonic()
    listener = socket.create_server(("", PORT))
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select(max(0.0, due - time.monotonic())):
            if key.fileobj is listener:
                ready.register(listener.accept()[0], selectors.EVENT_READ)
            elif isinstance(key.fileobj, socket.socket) and key.fileobj.recv(len(REQUEST)):
                key.fileobj.sendall(DONE)
        if time.monotonic() >= due:
            work(COLLECT_SECONDS)
            due = time.monotonic() + REST_SECONDS


def ask_at_intervals(address: str) -> None:
    """Without waiting for answers, and log how long each took."""
    sent: deque[float] = deque()
    with connected(address, PORT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        for _ in every(INTERVAL, times=1_000_000):
            with suppress(BlockingIOError):
                for _ in range(len(connection.recv(4096)) // len(DONE)):
                    log(ANSWERED, time.monotonic() - sent.popleft())
            sent.append(time.monotonic())
            connection.sendall(REQUEST)


class StallOfThrottledServer(StallCase):
    kind = "fault"
    rules = ("cpu-throttled", *STALL_RULES)
    rules_unread = True

    def start(self) -> None:
        probe, shop = self.stage.pods("probe", "shop")
        self.quota = Quota(self.stage, cpus=CPUS)
        self.server = self.stage.play(shop, "orders", serve)
        self.quota.take(self.server)
        up(self.stage, shop, self.server, PORT)
        self.ping_all_the_time(probe, shop)
        self.client = self.stage.play(probe, "checkout", ask_at_intervals, shop.address)
        self.began, self.ran_before = time.monotonic(), times(self.server.pid)[0]

    def look(self) -> Sight:
        used = (times(self.server.pid)[0] - self.ran_before) / (time.monotonic() - self.began)
        made, throttled = calls(self.client), self.quota.throttled()
        late = made.where(ANSWERED, at_least_seconds=0.1)
        there = len(made) >= 500 and len(late) >= 100 and throttled > 20 and used < 0.9 * CPUS
        seen = f"{made}; {len(late)} took 0.1 s or more; it uses {used:.2f} of {CPUS} CPUs, throttled {throttled} times"
        return self.in_time(there, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="cpu-throttled",
            also=self.paused,
            cleared=() if self.paused else ("rx-stall",),
            inapplicable=ONE_QUEUE,
            innocent=(self.server.who(), self.client.who(), self.pinger.who()),
            others=(Named(self.server.who(), ("victim",)),),
            loosened=bool(self.paused),
        )
