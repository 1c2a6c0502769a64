"""A node as Kubernetes makes them: it routes for its pods, translates addresses, and so tracks connections."""

from __future__ import annotations

import subprocess
from typing import Literal

from lab.stage import Pod, Stage, inside, ip

Firewall = Literal["nftables", "iptables", "none"]
BRIDGE = "cni0"
BRIDGE_ADDRESS = "02:00:0a:4d:00:fe"
"""One of its own, as CNI plugins give it: else it takes that of a pod, and loses it when the pod goes."""
GATEWAY, GATEWAY6 = "10.77.0.254", "fd77::fe"
PODS, PODS6 = "10.77.0.0/16", "fd77::/16"
NODE, NODE6 = "10.78.0.1", "fd78::1"
OUTSIDE, OUTSIDE6 = "10.78.0.2", "fd78::2"
INTERNET, INTERNET6 = "203.0.113.0/24", "2001:db8::/64"
"""Addresses of the outside by its routes alone: on no device, so that to whoever looks they are not on this machine."""

BLACK_HOLE = "10.80.0.9"
"""Beyond the uplink, where nobody answers: what is not meant for it, a host that does not forward throws away."""

FORWARDING = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.send_redirects=0",
    f"net.ipv4.conf.{BRIDGE}.send_redirects=0",
)
NFT_TABLE = f"""
table inet lab {{
    chain services {{ type nat hook prerouting priority dstnat; }}
    chain own {{ type nat hook output priority -100; }}
    chain uplink {{
        type nat hook postrouting priority srcnat;
        oifname eth0 ip saddr {PODS} ip daddr != {PODS} masquerade
        oifname eth0 ip6 saddr {PODS6} masquerade
    }}
}}
"""


class Node:
    """One namespace with an uplink to another, the outside, and pods on a bridge, of which each packet is routed.

    host: the node itself, where its own programs run. outside: all that is beyond the uplink.
    """

    def __init__(self, stage: Stage, *pods: str, firewall: Firewall = "nftables") -> None:
        self.host = Pod(f"{stage.label}-node", NODE, NODE6)
        self.outside = Pod(f"{stage.label}-outside", OUTSIDE, OUTSIDE6)
        self.pods = tuple(Pod(f"{stage.label}-{name}", f"10.77.0.{n}", f"fd77::{n}") for n, name in enumerate(pods, 1))
        self.firewall = firewall
        for place in (self.host, self.outside, *self.pods):
            stage.namespace(place.namespace)
        self._uplink()
        self._bridge()
        for number, pod in enumerate(self.pods, 1):
            self._attach(pod, f"veth{number}")
        inside(self.host, "sysctl", "-qw", *FORWARDING)
        inside(self.outside, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        self._translate()

    def service(self, address: str, port: int, *endpoints: tuple[str, int], protocol: str = "tcp") -> None:
        """An address and port of a Service, for pods, the node and from outside; one of its endpoints answers."""
        for chain in ("services", "own"):
            self._forward(chain, address, port, endpoints, protocol)

    def _forward(
        self, chain: str, address: str, port: int, endpoints: tuple[tuple[str, int], ...], protocol: str
    ) -> None:
        chosen = ", ".join(f"{n} : {to} . {at}" for n, (to, at) in enumerate(endpoints))
        target = f"numgen random mod {len(endpoints)} map {{ {chosen} }}"
        if len(endpoints) == 1:
            target = ":".join(map(str, endpoints[0]))
        rule = f"add rule inet lab {chain} ip daddr {address} {protocol} dport {port} dnat ip to {target}"
        inside(self.host, "nft", rule)

    def _uplink(self) -> None:
        place = ("netns", self.host.namespace)
        ip("link", "add", "eth0", *place, "type", "veth", "peer", "name", "eth0", "netns", self.outside.namespace)
        for end in (self.host, self.outside):
            address(end, "eth0", f"{end.address}/24", f"{end.address6}/64")
        ip("-n", self.host.namespace, "route", "add", "default", "via", OUTSIDE)
        ip("-n", self.host.namespace, "route", "add", "default", "via", OUTSIDE6)
        for network in (INTERNET, INTERNET6):
            ip("-n", self.outside.namespace, "route", "add", "local", network, "dev", "lo")

    def _bridge(self) -> None:
        ip("-n", self.host.namespace, "link", "add", BRIDGE, "address", BRIDGE_ADDRESS, "type", "bridge")
        address(self.host, BRIDGE, f"{GATEWAY}/24", f"{GATEWAY6}/64")

    def _attach(self, pod: Pod, end: str) -> None:
        """With an address that has no neighbours: also what goes to another pod goes through the node."""
        place = ("netns", self.host.namespace)
        ip("link", "add", "eth0", "netns", pod.namespace, "type", "veth", "peer", "name", end, *place)
        ip("-n", self.host.namespace, "link", "set", end, "master", BRIDGE, "up")
        address(pod, "eth0", f"{pod.address}/32", f"{pod.address6}/128")
        for gateway in (GATEWAY, GATEWAY6):
            ip("-n", pod.namespace, "route", "add", gateway, "dev", "eth0")
            ip("-n", pod.namespace, "route", "add", "default", "via", gateway)

    def _translate(self) -> None:
        if self.firewall == "nftables":
            command = ["nsenter", f"--net={self.host.netns}", "nft", "-f", "-"]
            subprocess.run(command, check=True, capture_output=True, input=NFT_TABLE, text=True)
        elif self.firewall == "iptables":
            leaving = ("-s", PODS, "!", "-d", PODS, "-o", "eth0")
            inside(self.host, "iptables", "-t", "nat", "-A", "POSTROUTING", *leaving, "-j", "MASQUERADE")


def address(place: Pod, device: str, four: str, six: str) -> None:
    ip("-n", place.namespace, "addr", "add", four, "dev", device)
    ip("-n", place.namespace, "addr", "add", six, "dev", device, "nodad")
    ip("-n", place.namespace, "link", "set", device, "up")
