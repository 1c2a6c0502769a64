"""What cases of packets that a setting drops share: a second network of two pods, and queues before their devices."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import ClassVar

from lab.actor import every
from lab.case import LOSS_RULES, Case
from lab.node import address
from lab.stage import Pod, inside, ip

PORT = 8080
SECOND, NEAR, FAR = "net1", "10.79.0.1", "10.79.0.2"
GATHERER_PORT = 8125


class LossCase(Case):
    """A case whose packets are lost from before the window until after it."""

    rules: ClassVar[tuple[str, ...]] = LOSS_RULES
    window_seconds: ClassVar[int] = 4
    age_seconds: ClassVar[int] = 0
    quick: ClassVar[bool] = False


def second_network(near: Pod, far: Pod) -> None:
    """A line of their own between two pods, where each asks for neighbours by its address of that line."""
    ip("link", "add", SECOND, "netns", near.namespace, "type", "veth", "peer", "name", SECOND, "netns", far.namespace)
    address(near, SECOND, f"{NEAR}/24", "fd79::1/64")
    address(far, SECOND, f"{FAR}/24", "fd79::2/64")
    inside(near, "sysctl", "-qw", "net.ipv4.conf.all.arp_announce=2")


def check_way_back(pod: Pod, **by_device: int) -> None:
    """rp_filter of some devices; nothing is checked for the pod as a whole."""
    settings = {"all": 0, "eth0": 0, **by_device}
    inside(pod, "sysctl", "-qw", *(f"net.ipv4.conf.{device}.rp_filter={value}" for device, value in settings.items()))


def queue(pod: Pod, device: str, verb: str, rate: str, limit: str) -> None:
    """What the device sends leaves at this rate, and so many bytes of it may wait."""
    shape = ("tbf", "rate", rate, "burst", "2kb", "limit", limit)
    inside(pod, "tc", "qdisc", verb, "dev", device, "root", *shape)


def queue_drops(pod: Pod, device: str) -> int:
    """As tc counts them, of the root queue since it is there."""
    command = ["nsenter", f"--net={pod.netns}", "tc", "-s", "-j", "qdisc", "show", "dev", device]
    (root, *_) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return int(root["drops"])


def gather() -> None:
    """Read datagrams as they come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("", GATHERER_PORT))
        while True:
            receiver.recv(2_000)


def report(addresses: list[str], per_second: float, size: int) -> None:
    """Datagrams of this size to each address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in every(1 / per_second, times=100_000):
            for address in addresses:
                sender.sendto(bytes(size), (address, GATHERER_PORT))
