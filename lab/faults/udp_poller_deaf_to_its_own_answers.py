"""A poller asks two hundred devices at once, by one socket, and sees to its database before it reads what they say.

All of them answer within a moment, and the poller's own socket has room for some dozens of answers; the kernel throws
the others away. The poller reports four devices in five as silent, every two seconds, and its users look for a broken
switch. No server is slow and no queue of one is full: the buffer is that of the program that asks, at a port that
nobody knows, and half a second later it is empty.
"""

from __future__ import annotations

import socket
import time

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import ANSWERED, GAVE_UP, calls, log
from lab.datagrams import counters
from lab.faults.table_of_monitored_devices import DEVICES, READY, SNMP, answer, device
from lab.look import Sight, wait_until
from lab.node import INTERNET
from lab.stage import ip

ROUND_SECONDS, DATABASE_SECONDS, WAIT_SECONDS = 2.0, 0.6, 0.5
BUFFER_BYTES, QUESTION = 16_384, b"public ifTable " + bytes(480)


def poll() -> None:
    """In each round ask everybody, store the round before, and then read until nobody has said anything for a while."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        asker.settimeout(WAIT_SECONDS)
        for _ in every(ROUND_SECONDS, times=100_000):
            for number in range(DEVICES):
                asker.sendto(QUESTION, (device(number), SNMP))
            time.sleep(DATABASE_SECONDS)  # its database
            heard = listen(asker)
            for number in range(DEVICES):
                log(ANSWERED if device(number) in heard else GAVE_UP, 0)


def listen(asker: socket.socket) -> set[str]:
    heard = set()
    while True:
        try:
            heard.add(asker.recvfrom(2_000)[1][0])
        except TimeoutError:
            return heard


class UdpPollerDeafToItsOwnAnswers(Case):
    kind = "fault"
    rules = QUEUE_RULES
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        self.pod, self.far = self.stage.pods("poller", "devices")
        ip("-n", self.far.namespace, "route", "add", "local", INTERNET, "dev", "lo")
        ip("-n", self.pod.namespace, "route", "add", INTERNET, "via", self.far.address)
        self.agents = self.stage.play(self.far, "snmp-agents", answer)
        wait_until(lambda: READY in self.agents.log.read_text(), 20, self.stage.logs)
        self.poller = self.stage.play(self.pod, "poller", poll)

    def look(self) -> Sight:
        made, own, asked = calls(self.poller), counters(self.pod), counters(self.far)
        lost = len(made) >= 2 * DEVICES and made.share(GAVE_UP) > 0.4 and own.no_room >= DEVICES
        there = lost and asked.no_room == 0 and asked.read >= 0.9 * len(made)
        return Sight(there, f"answers: {own}; questions: {asked}; the poller: {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="udp-buffers",
            severities=("warning", "critical"),
            culprits=(self.poller.who(),),
            innocent=(self.agents.who(),),
        )
