"""A monitor asks two hundred devices in turn, by HTTP and by SNMP, each time from a new port, and each of them answers.

Twenty-five devices a second: a connection that is closed at once, and a question over UDP from a socket of its own. One
pod has opened nearly all entries of the node, to two hundred addresses, and hardly any of them lives for longer than a
moment; each device is a neighbour of the node too, as their network is the uplink's. It looks like a scan, but a scan
hears nothing: here nobody is silent. It comes to an end at two fifths of the table (it is lowered for this).
"""

from __future__ import annotations

import select
import socket
import subprocess

from lab.actor import every
from lab.case import Expected
from lab.connects import ANSWERED, GAVE_UP, calls, log
from lab.load import ask_once, keep_busy
from lab.look import Sight, wait_until
from lab.node import INTERNET
from lab.stage import ip
from lab.table import TableCase

LIMIT, DEVICES, PER_SECOND, SNMP = 10_000, 200, 25, 161
SERVER = "203.0.113.250"
QUESTION, READY = b"public sysUpTime?", "ready"
ENOUGH = 150
SILENT_MOST = 5
"""Entries of questions that are under way."""


def device(number: int) -> str:
    return f"203.0.113.{number % DEVICES + 1}"


def answer() -> None:
    """An agent for each device; it answers from the address that was asked."""
    agents = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(DEVICES)]
    for number, agent in enumerate(agents):
        agent.bind((device(number), SNMP))
    print(READY, flush=True)
    while True:
        for agent in select.select(agents, [], [])[0]:
            asked, asker = agent.recvfrom(512)
            agent.sendto(asked, asker)


def poll() -> None:
    for number in every(1 / PER_SECOND, times=1_000_000):
        try:
            ask_once(device(number), 80)
            ask_agent(device(number))
            log(ANSWERED, 0)
        except OSError:
            log(GAVE_UP, 0)


def ask_agent(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.sendto(QUESTION, (address, SNMP))
        asker.recv(512)


class TableOfMonitoredDevices(TableCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.pod, shop = self.furnish(LIMIT, "monitor", "shop")
        ip("-n", self.node.host.namespace, "route", "add", INTERNET, "dev", "eth0")
        self.agents = self.stage.play(self.node.outside, "snmp-agents", answer)
        wait_until(lambda: READY in self.agents.log.read_text(), 20, self.stage.logs)
        self.shop = self.stage.play(shop, "shop", keep_busy, SERVER, 80, 20, 1)
        self.monitor = self.stage.play(self.pod, "monitor", poll)

    def neighbours(self) -> int:
        """Devices that have told the node their hardware's address."""
        command = ["ip", "-n", self.node.host.namespace, "-4", "neighbour", "show", "dev", "eth0"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return sum("lladdr" in line for line in lines)

    def look(self) -> Sight:
        own, made = self.table.entries.where(source=self.pod.address), calls(self.monitor)
        neighbours = self.neighbours()
        by_http, by_snmp = own.where("TIME_WAIT", port=80), own.where(port=SNMP, replied=True)
        silent, answered = len(own.where(replied=False)), len(made.where(ANSWERED))
        enough = min(len(by_http), len(by_snmp), neighbours) >= ENOUGH and answered >= ENOUGH
        there = enough and answered == len(made) and silent <= SILENT_MOST and self.table.count < LIMIT / 2
        seen = f"{len(by_http)} entries by HTTP, {len(by_snmp)} by SNMP, {silent} without an answer"
        return Sight(there, f"{seen}; {neighbours} neighbours; {self.table} of {LIMIT}; monitor: {made}")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.agents.who(), self.shop.who(), self.monitor.who())
        return Expected(rule=None, cleared=("conntrack-table",), innocent=parts, bystanders=parts)
