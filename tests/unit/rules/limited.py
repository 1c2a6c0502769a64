"""Nodes whose namespaces have settings, ports in use and counters, at several moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whodunnet.model.ports import NamespacePorts, Ports, PortUse, SourcePorts
from whodunnet.model.settings import DeviceSettings, NamespaceSettings, Settings
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import Endpoint

from .nodes import NETNS, NODE, moment, named

FIRST, PORTS = 40_000, 100
PEER = Endpoint("203.0.113.9", 443)
OTHER_PEER = Endpoint("203.0.113.8", 443)
USUAL: Mapping[str, tuple[int, ...]] = {
    "net.ipv4.ip_local_port_range": (32_768, 60_999), "net.ipv4.tcp_tw_reuse": (2,),
    "net.ipv4.tcp_max_tw_buckets": (131_072,), "net.ipv4.tcp_max_syn_backlog": (2_048,),
    "net.ipv4.tcp_syncookies": (1,), "net.ipv4.tcp_rmem": (4_096, 131_072, 6_291_456),
    "net.ipv4.tcp_wmem": (4_096, 16_384, 4_194_304), "net.ipv4.ip_forward": (0,),
    "net.ipv4.conf.all.rp_filter": (0,), "net.ipv4.conf.default.rp_filter": (0,),
    "net.ipv6.conf.all.forwarding": (0,), "net.core.somaxconn": (4_096,),
}  # fmt: skip
"""As a kernel begins."""
NARROW = (FIRST, FIRST + PORTS - 1)


def namespace(
    reserved: int = 0, devices: Mapping[str, DeviceSettings] | None = None, **changed: Any
) -> NamespaceSettings:
    """changed: net_core_somaxconn=128 in place of the usual."""
    short = {name.replace(".", "_"): name for name in (*USUAL, "net.ipv4.tcp_tw_recycle")}
    values = {short[name]: value if isinstance(value, tuple) else (value,) for name, value in changed.items()}
    return NamespaceSettings(
        values={**USUAL, **values}, ports_reserved=reserved, devices=dict(devices or {"eth0": DeviceSettings()})
    )


def settings(one: NamespaceSettings | None = None, *, unread: int = 0, netns: int = NETNS) -> Settings:
    return Settings(by_netns={netns: one or namespace()}, netns_unread=unread)


def narrow(**changed: Any) -> Settings:
    """A range of PORTS ports."""
    return settings(namespace(net_ipv4_ip_local_port_range=NARROW, **changed))


def use(open: int = 0, time_wait: int = 0, closing: int = 0, to: Endpoint = PEER) -> PortUse:
    return PortUse(source="10.0.0.1", destination=to, open=open, closing=closing, time_wait=time_wait)


def source(ports: int, shared: int = 0, time_wait: int = 0, address: str = "10.0.0.1") -> SourcePorts:
    return SourcePorts(source=address, ports=ports, shared=shared, time_wait=time_wait)


def ports(*uses: PortUse, bound: int = 0, unread: str | None = None, sources: tuple[SourcePorts, ...] = ()) -> Ports:
    """Without uses they were not read, as sockets are few."""
    one = NamespacePorts(
        sockets=sum(u.open + u.closing for u in uses), time_wait=sum(u.time_wait for u in uses),
        uses=tuple(uses) or None, bound=bound, unread=unread, sources=sources,
    )  # fmt: skip
    return Ports(by_netns={NETNS: one})


def node(moments: Sequence[Mapping[str, AnySample]], *, seconds: float = 3.0, **also: AnySample) -> Recording:
    """Samples by collector at each moment; also: the same at each."""
    step = seconds / max(len(moments) - 1, 1)
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=moment(i * step), samples={"workloads": named(7, 8), **also, **samples})
            for i, samples in enumerate(moments)
        ),
    )
