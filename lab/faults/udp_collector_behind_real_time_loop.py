"""A collector loses a third of its metrics and more, as a control loop with real-time priority has its CPU.

Somebody gave each program of the node a CPU of its own, and two of them the same. The loop computes for 600 ms of each
800; meanwhile the collector, which needs next to nothing and reads whatever is there, may not run at all, and its
buffer has room for a few bursts. The other CPU is idle. By its socket it is a receiver that is too slow, yet to make it
quicker would change nothing. Packets themselves are received in time: softirqs interrupt the loop.
"""

from __future__ import annotations

import os
import socket

from lab.actor import every
from lab.arrivals import two_cpus
from lab.case import QUEUE_RULES, Case, Expected, Named
from lab.cpu_hogs import times
from lab.datagrams import counters
from lab.look import Sight
from lab.real_time import PRIORITY, policy, spin

PORT, BUFFER_BYTES = 8125, 24_576
BUSY_SECONDS, EVERY_SECONDS = 0.6, 0.8
AT_ONCE, PAUSE_SECONDS = 20, 0.1


def collect(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    receiver.bind(("", PORT))
    while receiver.recv(2_000):
        pass


def measure(address: str, cpu: int) -> None:
    """A small burst each time, from the CPU that nobody else wants."""
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in every(PAUSE_SECONDS, times=1_000_000):
            for _ in range(AT_ONCE):
                sender.sendto(b"shop.orders:1|c\n" * 5, (address, PORT))


class UdpCollectorBehindRealTimeLoop(Case):
    kind = "fault"
    rules = (*QUEUE_RULES, "cpu-pressure")
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, self.pod, plant = self.stage.pods("client", "metrics", "plant")
        shared, free = two_cpus()
        self.collector = self.stage.play(self.pod, "collector", collect, shared)
        self.loop = self.stage.play(plant, "control-loop", spin, shared, PRIORITY, BUSY_SECONDS, EVERY_SECONDS)
        self.client = self.stage.play(client, "web", measure, self.pod.address, free)

    def look(self) -> Sight:
        (ran, waited), seen, scheduled = times(self.collector.pid), counters(self.pod), policy(self.loop.pid)
        there = seen.no_room >= 150 and seen.read >= 150 and waited > ran and scheduled == (os.SCHED_FIFO, PRIORITY)
        return Sight(there, f"{seen}; the collector ran {ran:.2f} s and waited {waited:.2f} s; the loop: {scheduled}")

    def expected(self) -> Expected:
        """Whether pressure on one CPU of two is worth a finding of its own is left open; who has that CPU is not."""
        return Expected(
            rule="udp-buffers",
            also=("cpu-pressure",),
            severities=("warning", "critical"),
            tolerated=(self.loop.who(),),
            innocent=(self.collector.who(), self.client.who()),
            bystanders=(self.client.who(),),
            others=(
                Named(self.collector.who(), ("victim", "reader", "holder")),
                Named(self.loop.who(), ("culprit", "holder")),
            ),
        )
