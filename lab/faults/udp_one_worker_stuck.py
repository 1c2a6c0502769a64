"""Four workers share a statsd port (SO_REUSEPORT), and one of them waits for ever for a lock that it holds itself.

The kernel gives each sender to one worker for good, so that the metrics of a quarter of all programs are lost and the
others are complete. On average the port is far from busy, and the worker is neither stopped nor short of CPU time.
Three workers of the same name, with the same port, are innocent.
"""

from __future__ import annotations

import socket
import subprocess
from threading import Lock

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import counter
from lab.look import Sight, wait_until

PORT, WORKERS, SENDERS = 8125, 4, 64


def work(stop_after: int) -> None:
    """Count what comes. 0: for ever."""
    lock, taken = Lock(), 0
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    receiver.bind(("", PORT))
    while receiver.recv(2_000):
        taken += 1
        if taken == stop_after:
            with lock:
                lock.acquire()


def measure(address: str) -> None:
    """A thousand small metrics a second, from many programs' sockets."""
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SENDERS)]
    for number in every(0.001, times=1_000_000):
        senders[number % SENDERS].sendto(b"shop.orders:1|c\n" * 20, (address, PORT))


class UdpOneWorkerStuck(Case):
    kind = "fault"
    rules = QUEUE_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        client, self.pod = self.stage.pods("client", "metrics")
        self.others = [self.stage.play(self.pod, "statsd", work, 0) for _ in range(WORKERS - 1)]
        self.stuck = self.stage.play(self.pod, "statsd", work, 50)
        wait_until(lambda: len(self.unread()) == WORKERS, 10, self.stage.logs)
        self.client = self.stage.play(client, "web", measure, self.pod.address)

    def unread(self) -> list[int]:
        """Bytes in each worker's receive queue, as ss shows them."""
        command = ["nsenter", f"--net={self.pod.netns}", "ss", "-Huan", "sport", f":{PORT}"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return sorted(int(line.split()[1]) for line in lines)

    def look(self) -> Sight:
        dropped, (*idle, full) = counter(self.pod.netns, "RcvbufErrors"), self.unread()
        there = dropped >= 100 and full > 100_000 > 10 * max(idle)
        return Sight(there, f"{dropped} datagrams dropped; unread: {idle} and {full} bytes")

    def expected(self) -> Expected:
        others = tuple(player.who() for player in self.others)
        return Expected(
            rule="udp-buffers",
            severities=("warning", "critical"),
            culprits=(self.stuck.who(),),
            innocent=(self.client.who(), *others),
            bystanders=(self.client.who(), *others),
        )
