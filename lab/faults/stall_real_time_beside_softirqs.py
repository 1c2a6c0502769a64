"""The voice mixer with real-time priority once more, but packets are received in softirqs, which interrupt it.

A server on its CPU answers a hundred milliseconds late, as it does not run: its clients see the same as with stalled
packets. Pings, which the kernel answers, are in time. Before kernel 6.5 a runnable ksoftirqd would keep packets back.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from lab.actor import every
from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.look import NotThereError, Sight
from lab.real_time import PRIORITY, policy, spin

BUSY_SECONDS, EVERY_SECONDS = 0.12, 0.3
PORT = 7
ASKED_PER_SECOND = 50


def answer(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", PORT))
        while True:
            server.sendto(*server.recvfrom(2000))


def ask(address: str, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        for _ in every(1 / ASKED_PER_SECOND, times=1_000_000):
            begin = time.monotonic()
            client.sendto(b"x", (address, PORT))
            with suppress(TimeoutError):
                client.recv(2000)
                print(f"{time.monotonic() - begin:.4f}", flush=True)


def kernel() -> tuple[int, int]:
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int(minor)


class StallRealTimeBesideSoftirqs(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        if kernel() < (6, 5):
            raise NotThereError("this kernel keeps softirqs back for a ksoftirqd that waits")
        probe, shop, voice = self.stage.pods("probe", "shop", "voice")
        self.ping_all_the_time(probe, shop)
        self.server = self.stage.play(shop, "shop", answer, self.receiver)
        self.mixer = self.stage.play(voice, "mixer", spin, self.receiver, PRIORITY, BUSY_SECONDS, EVERY_SECONDS)
        self.client = self.stage.play(probe, "checkout", ask, shop.address, self.sender)

    def look(self) -> Sight:
        took = sorted(map(float, self.client.log.read_text().split()))
        seen = f"mixer: policy and priority {policy(self.mixer.pid)}, {used(self.mixer.pid)}"
        late = bool(took) and took[-1] > BUSY_SECONDS / 2
        return self.in_time(late, f"{seen}; {len(took)} answers, the latest {took[-1:]} s")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.mixer, self.server, self.client)
