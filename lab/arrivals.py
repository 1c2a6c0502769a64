"""Packets that one CPU receives, and how long they wait there: the kernel answers pings in softirqs, so they tell.

RPS (Documentation/networking/scaling.rst) stands for the queue of a network card: whatever is sent to a pod is received
by the CPU that the pod's device is steered to.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lab.actor import every, rest
from lab.case import STALL_RULES, Case, Expected
from lab.look import NotThereError, Sight
from lab.stage import Player, Pod, inside
from lab.who import Who

SO_TIMESTAMPNS = 35  # asm-generic/socket.h
ECHO, ECHO_REPLY = 8, 0
ECHO6, ECHO6_REPLY = 128, 129
STALL_SECONDS = 0.01
PINGS_PER_SECOND = 200
SEEN_SECONDS = 3
ONE_QUEUE = ("rx-imbalance",)
"""Many machines have no network card with several receive queues."""

WRITE_RPS = 'echo "$1" | tee /sys/class/net/"$0"/queues/rx-*/rps_cpus'


def two_cpus() -> tuple[int, int]:
    """The CPU that receives, and the one that sends. Raises NotThereError."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise NotThereError("a CPU that receives and one that sends are two CPUs")
    return cpus[0], cpus[1]


def steer(place: Pod, device: str, cpu: int) -> None:
    """What the device receives, on whichever of its queues, is received by this CPU."""
    write_sys(place, WRITE_RPS, device, f"{1 << cpu:x}")


def write_sys(place: Pod, script: str, *arguments: str) -> None:
    """Run a line of the shell where /sys shows the devices of the pod."""
    own = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"mount -t sysfs none /sys && {script}"]
    inside(place, *own, *arguments)


def ping(address: str, cpu: int) -> None:
    """A line for each ping: when it was sent, and after how many seconds the kernel had its answer."""
    os.sched_setaffinity(0, {cpu})
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    with socket.socket(family, socket.SOCK_RAW, protocol) as pinger:
        pinger.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        pinger.setblocking(False)
        pinger.connect((address, 0))
        for number in every(1 / PINGS_PER_SECOND, times=1_000_000):
            say_answers(pinger)
            pinger.send(echo(number & 0xFFFF, ECHO6 if six else ECHO))
    rest()


def echo(number: int, kind: int = ECHO) -> bytes:
    """An echo request which says when it was sent. Of ICMPv6 the kernel writes the checksum."""
    body = struct.pack("!HHd", os.getpid() & 0xFFFF, number, time.time())
    return struct.pack("!BBH", kind, 0, checksum(struct.pack("!BBH", kind, 0, 0) + body)) + body


def checksum(message: bytes) -> int:
    """Of the Internet (RFC 1071), of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def say_answers(pinger: socket.socket) -> None:
    """Of IPv4 a raw socket gives the packet with its IP header, of IPv6 without."""
    six = pinger.family == socket.AF_INET6
    while True:
        try:
            answer, ancillary, *_ = pinger.recvmsg(200, 64)
        except BlockingIOError:
            return
        icmp = answer if six else answer[4 * (answer[0] & 15) :]
        if icmp[0] == (ECHO6_REPLY if six else ECHO_REPLY):
            seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
            (sent,) = struct.unpack("!d", icmp[8:16])
            os.write(1, f"{time.monotonic():.3f} {seconds + nanoseconds / 1e9 - sent:.6f}\n".encode())


@dataclass(frozen=True)
class Pings:
    """Round trips of so many seconds, each in seconds."""

    within: float
    trips: tuple[float, ...]

    @property
    def longest(self) -> float:
        return max(self.trips, default=0.0)

    @property
    def stalled(self) -> int:
        return sum(one >= STALL_SECONDS for one in self.trips)

    @property
    def flow(self) -> bool:
        """They are answered, nearly all."""
        return len(self.trips) >= 0.8 * PINGS_PER_SECOND * self.within

    def __str__(self) -> str:
        middle = sorted(self.trips)[len(self.trips) // 2] if self.trips else 0.0
        return (
            f"{len(self.trips)} pings in {self.within:.3g} s, half within {1000 * middle:.2f} ms, {self.stalled} of "
            f"{1000 * STALL_SECONDS:.0f} ms or more, the longest {1000 * self.longest:.1f} ms"
        )


def pings(player: Player, since: float, until: float) -> Pings:
    """Of a time by time.monotonic()."""
    lines = (line.split() for line in player.log.read_text(errors="replace").splitlines()[:-1])
    return Pings(until - since, tuple(float(took) for at, took in lines if since <= float(at) <= until))


def used(pid: int) -> str:
    """What a process and its children that ended have used of the CPUs."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, kernel, user_of_gone, kernel_of_gone = (int(word) / os.sysconf("SC_CLK_TCK") for word in words[11:15])
    return f"{user + user_of_gone:.2f} s in user mode, {kernel + kernel_of_gone:.2f} s in the kernel"


class StallCase(Case):
    """A case with a pod whose packets one CPU receives, and another that pings it all the time."""

    rules: ClassVar[tuple[str, ...]] = STALL_RULES
    window_seconds = 10
    age_seconds = 3

    pinger: Player
    pinged: Pod

    def ping_all_the_time(self, source: Pod, pinged: Pod, *, six: bool = False) -> None:
        """From the CPU that sends; the other one receives what comes to the pinged pod. six: over IPv6."""
        self.receiver, self.sender = two_cpus()
        self.pinged = pinged
        to = pinged.address6 if six else pinged.address
        self.pinger = self.stage.play(source, "pinger", ping, to, self.sender)
        steer(pinged, "eth0", self.receiver)

    @property
    def pings(self) -> Pings:
        now = time.monotonic()
        return pings(self.pinger, now - SEEN_SECONDS, now)

    def late(self, at_least: int, seconds: float, seen: str) -> Sight:
        """So many pings waited long, and one so long."""
        sight = self.pings
        return Sight(sight.stalled >= at_least and sight.longest >= seconds, f"{seen}; {sight}")

    def in_time(self, there: bool, seen: str) -> Sight:
        """It is there, pings are answered, and none of them late."""
        sight = self.pings
        return Sight(there and sight.flow and sight.stalled == 0, f"{seen}; {sight}")

    def stalled(self, shape: str, *culprits: Who, innocent: tuple[Player, ...] = ()) -> Expected:
        return Expected(
            rule="rx-stall",
            inapplicable=ONE_QUEUE,
            severities=("warning", "critical"),
            shapes=(shape,),
            culprits=culprits,
            innocent=(self.pinger.who(), *(player.who() for player in innocent)),
        )

    @property
    def paused(self) -> tuple[str, ...]:
        """Where pings of the window were late all the same, virtual CPUs were not run: that may be said, of nobody."""
        return ("rx-stall",) if self.window is not None and pings(self.pinger, *self.window).stalled else ()

    def nothing_stalled(self, *innocent: Player, also: tuple[str, ...] = ()) -> Expected:
        paused = self.paused
        return Expected(
            rule=None,
            also=(*also, *paused),
            cleared=() if paused else ("rx-stall",),
            inapplicable=ONE_QUEUE,
            innocent=(self.pinger.who(), *(player.who() for player in innocent)),
            loosened=bool(paused),
        )
