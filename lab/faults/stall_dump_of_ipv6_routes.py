"""A monitor counts the IPv6 routes of a protocol that none has, and packets of its CPU wait, those of IPv4 as well.

The node has as many routes as the Internet has prefixes, and more, all written by one routing daemon. Since that was
replaced by another, the monitor's filter matches nothing: the kernel finds nothing to hand over, and walks the whole
tree in one call with softirqs off (fib6_dump_table in net/ipv6/ip6_fib.c). It asks twice a second, rests in between,
and is served in some tens of milliseconds, which looks like nothing. The table of connections is empty, no filter is
long, and forwarding by these routes is quick.
"""

from __future__ import annotations

import os
import socket
import struct
import time

from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.containers import PodCgroup
from lab.ctnetlink import ANSWER_BYTES, DUMP, REQUEST, last
from lab.look import PATIENCE, Sight
from lab.node import OUTSIDE6, Node
from lab.stage import Pod, Stage, inside
from lab.who import Who

ROUTES = int(300_000 / PATIENCE)
ROUTE = "route add 2a00:{:x}:{:x}::/48 via {} dev eth0 proto 12\n"  # bird
BGP = 186
RTM_GETROUTE = 26
SOL_NETLINK, GET_STRICT_CHK = 270, 12
"""Without that a kernel ignores the filter and hands over all (since 4.20)."""

EVERY_SECONDS = 0.5


def learn_routes(stage: Stage, place: Pod) -> None:
    file = stage.directory / "routes"
    file.write_text("".join(ROUTE.format(n >> 16, n & 0xFFFF, OUTSIDE6) for n in range(ROUTES)))
    inside(place, "ip", "-6", "-batch", str(file))


def count_routes(every_seconds: float, cpu: int) -> None:
    """It tells of each answer how long it took."""
    os.sched_setaffinity(0, {cpu})
    body = struct.pack("=8BI", socket.AF_INET6, 0, 0, 0, 0, BGP, 0, 0, 0)  # struct rtmsg, of any table
    asked = struct.pack("=IHHII", 16 + len(body), RTM_GETROUTE, REQUEST | DUMP, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.setsockopt(SOL_NETLINK, GET_STRICT_CHK, 1)
        while True:
            begin = time.monotonic()
            netlink.send(asked)
            messages = 0
            while not last(netlink.recv(ANSWER_BYTES)):
                messages += 1
            print(f"asked {time.monotonic() - begin:.3f} s, {messages} messages", flush=True)
            time.sleep(every_seconds)


class StallDumpOfIpv6Routes(StallCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop")
        learn_routes(self.stage, self.node.host)
        self.ping_all_the_time(*self.node.pods)
        self.pod = PodCgroup(self.stage)
        self.monitor = self.stage.play(self.node.host, "route-monitor", count_routes, EVERY_SECONDS, self.receiver)
        self.pod.add(self.monitor.pid)

    def look(self) -> Sight:
        asked = self.monitor.log.read_text().splitlines()[-3:]
        return self.late(at_least=4, seconds=0.015, seen=f"monitor: {asked}, {used(self.monitor.pid)}")

    def expected(self) -> Expected:
        monitor = Who(self.monitor.comm, self.monitor.who().pids, pod=self.pod.uid)
        return self.stalled("softirqs-disabled", monitor)
