"""A collector of metrics over IPv6 that writes to disk for half of each second, and reads nothing meanwhile.

Between two writes it reads all that is there, so on average it looks quick enough, and each look at its queue may find
it empty. What comes while it writes is more than its buffer takes. Beside it a build starts one short program after the
other and takes a whole CPU: that is loud, and has no part in it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected
from lab.look import Sight

PORT = 8125
COMPILE = 'while :; do "$0" -c "import ast, json, email.message, http.client; sum(range(300000))"; done'


def collect() -> None:
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    receiver.bind(("::", PORT))
    receiver.settimeout(0.1)
    while True:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            receiver.recv(2_000)
        time.sleep(0.5)  # a slow disk


def measure(address: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        for _ in every(0.01, times=1_000_000):
            for _ in range(20):
                sender.sendto(b"shop.orders:1|c\n" * 20, (address, PORT))


class UdpFlushingCollectorBesideBuild(Case):
    kind = "fault"
    rules = QUEUE_RULES
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, self.pod, build = self.stage.pods("client", "metrics", "build")
        self.build = self.stage.run(build, "sh", "sh", "-c", COMPILE, sys.executable)
        self.client = self.stage.play(client, "web", measure, self.pod.address6)
        self.collector = self.stage.play(self.pod, "collector", collect)

    def look(self) -> Sight:
        command = ["nsenter", f"--net={self.pod.netns}", "cat", "/proc/net/snmp6"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        counted = {name: int(value) for name, value in map(str.split, lines)}
        dropped, read = counted["Udp6RcvbufErrors"], counted["Udp6InDatagrams"]
        return Sight(dropped >= 1000 and read >= 1000, f"{dropped} datagrams dropped, {read} taken")

    def expected(self) -> Expected:
        return Expected(
            rule="udp-buffers",
            severities=("warning", "critical"),
            culprits=(self.collector.who(),),
            innocent=(self.client.who(), self.build.who()),
            bystanders=(self.build.who(),),
        )
