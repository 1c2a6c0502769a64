"""Two readings of the table of tracked connections of an invented node, and pods of other nodes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.report.pod_names import PodNames

HOST, WEB, API, MIXED, TWIN_A, TWIN_B = 1, 12, 13, 14, 15, 16
HERE = "192.168.7.4"
SERVICE = Endpoint("10.96.0.1", 80)
BACKENDS = (Endpoint("10.244.1.13", 8080), Endpoint("10.244.3.9", 8080), Endpoint("10.244.3.10", 8080))
DNS = Endpoint("10.96.0.10", 53)
BEGIN = datetime(2026, 3, 1, 3, 12, 0, tzinfo=UTC)
NODE = Node(hostname="n1", kernel="6.1.0", boot_id="5e5c6e2c-0000")

WEB_POD = Pod(namespace="shop", name="web-0", uid="0c20")
WEB_CONTAINER = Container(id="77aa66190a2b5c0f4ae8", name="web", runtime="containerd", cgroup="/kubepods/b")
API_POD = Pod(namespace="shop", name="api-7d9f", uid="0c21")
API_CONTAINER = Container(id="933d66190a2b5c0f4ae8", name="api", runtime="containerd", cgroup="/kubepods/a")
WORKLOADS = Workloads(
    by_pid={
        20: Workload(process=Process(pid=20, comm="web"), container=WEB_CONTAINER, pod=WEB_POD, netns=WEB),
        30: Workload(process=Process(pid=30, comm="api"), container=API_CONTAINER, pod=API_POD, netns=API),
        40: Workload(process=Process(pid=40, comm="kubelet", exe="/k"), unit="kubelet.service", netns=HOST),
        41: Workload(process=Process(pid=41, comm="agent", exe="/a"), unit="agent.service", netns=HOST),
        50: Workload(process=Process(pid=50, comm="scraper"), netns=MIXED),
        51: Workload(process=Process(pid=51, comm="shipper"), netns=MIXED),
    },
    by_netns={
        WEB: Workload(container=WEB_CONTAINER, pod=WEB_POD, netns=WEB),
        API: Workload(container=API_CONTAINER, pod=API_POD, netns=API),
    },
)


def at(address: str) -> DeviceAddress:
    return DeviceAddress(address=address, prefix_length=24, device="eth0", kind="veth")


ADDRESSES = Addresses(
    by_netns={
        HOST: (at(HERE),),
        WEB: (at("10.244.1.12"),),
        API: (at("10.244.1.13"),),
        MIXED: (at("10.244.1.14"),),
        TWIN_A: (at("172.17.0.2"),),
        TWIN_B: (at("172.17.0.2"),),
    }
)


def flow(entries: int, source: str, destination: Endpoint | None, state: str = "established", **rest: Any) -> FlowGroup:
    fields: dict[str, Any] = {"family": 4, "protocol": "tcp", "replied": True, "assured": True, "state": state}
    return FlowGroup(**(fields | rest), source=source, destination=destination, entries=entries)


def silent(entries: int, source: str, destination: Endpoint, **rest: Any) -> FlowGroup:
    return flow(entries, source, destination, "syn-sent", replied=False, assured=False, **rest)


def datagrams(entries: int, source: str, destination: Endpoint, **rest: Any) -> FlowGroup:
    return flow(entries, source, destination, "none", protocol="udp", **rest)


def groups(more: int = 0) -> tuple[FlowGroup, ...]:
    """more: connections of web in TIME_WAIT beyond the usual ones."""
    web, api, mixed, far = "10.244.1.12", "10.244.1.13", "10.244.1.14", "10.244.3.77"
    return (
        flow(19_000 + more, web, SERVICE, "time-wait", answered_by=BACKENDS[0]),
        flow(9_850, web, SERVICE, "time-wait", answered_by=BACKENDS[1]),
        flow(150, web, SERVICE, answered_by=BACKENDS[1]),
        silent(40, web, SERVICE, answered_by=BACKENDS[2]),
        datagrams(310, web, DNS, answered_by=Endpoint("10.244.3.2", 53)),
        flow(12, web, Endpoint("203.0.113.9", 443), source_as=HERE),
        silent(2_100, api, Endpoint("198.51.100.7", 6379), source_as=HERE),
        flow(30, api, Endpoint("10.244.3.20", 5432)),
        flow(9, HERE, Endpoint("192.168.7.1", 6443)),
        flow(500, HERE, Endpoint("192.168.7.9", 9090), "time-wait"),
        flow(77, HERE, Endpoint("192.168.7.8", 9091), "time-wait"),
        flow(25, mixed, Endpoint("10.244.3.30", 3000)),
        flow(60, mixed, Endpoint("10.244.3.30", 3000), "time-wait"),
        flow(700, far, Endpoint("192.168.7.4", 10_250)),
        flow(90, "203.0.113.50", Endpoint(HERE, 443), answered_by=BACKENDS[0]),
        flow(33, "172.17.0.2", Endpoint("198.51.100.1", 443)),
        flow(8, web, None, "established", merged=True),
        flow(6, web, Endpoint("fd00::9", None), "none", protocol="icmpv6", family=6),
        flow(5, web, SERVICE, "none", offloaded=True, answered_by=BACKENDS[0]),
    )


def table(more: int = 0, **rest: Any) -> Conntrack:
    found = groups(more)
    entries = sum(g.entries for g in found) + 17 + 2
    fields: dict[str, Any] = {
        "loaded": True,
        "netns": HOST,
        "count": entries,
        "max_entries": 262_144,
        "buckets": 65_536,
        "statistics": {"drop": 40 + more, "early_drop": 7, "insert_failed": 3, "found": 12},
        "counts": {HOST: entries, WEB: 80, API: 0, 99: 1_200},
        "netns_unread": 1,
        "method": "ctnetlink",
        "groups": found,
        "other_entries": 17,
        "malformed": 2,
        "dump_seconds": 0.0213,
    }
    return Conntrack(**(fields | rest))


def connections(owner_pid: int, netns: int, sockets: int, to: Endpoint, **rest: Any) -> SocketGroup:
    fields: dict[str, Any] = {
        "protocol": "tcp", "family": 4, "state": "established", "role": "initiated", "holding": "descriptor",
    }  # fmt: skip
    return SocketGroup(**(fields | rest), owner_pid=owner_pid, netns=netns, sockets=sockets, endpoint=to)


def sockets(churning: int = 4) -> Sockets:
    """churning: connections of the agent, which come and go."""
    return Sockets(
        method="bpf",
        groups=(
            connections(20, WEB, 150, SERVICE),
            connections(20, WEB, 12, Endpoint("203.0.113.9", 443)),
            connections(20, WEB, 400, Endpoint(None, 8443), role="accepted"),
            connections(30, API, 30, Endpoint("10.244.3.20", 5432)),
            connections(30, API, 2_100, Endpoint("198.51.100.7", 6379), state="syn-sent"),
            connections(40, HOST, 9, Endpoint("192.168.7.1", 6443)),
            connections(41, HOST, churning, Endpoint("192.168.7.9", 9090)),
            connections(50, MIXED, 20, Endpoint("10.244.3.30", 3000)),
            connections(51, MIXED, 5, Endpoint("10.244.3.30", 3000)),
        ),
    )


def recording(*readings: dict[str, AnySample]) -> Recording:
    """One snapshot a second for each reading."""
    moments = [Moment(wall=BEGIN + timedelta(seconds=n), boot_seconds=100.0 + n) for n in range(len(readings))]
    pairs = zip(moments, readings, strict=True)
    return Recording(node=NODE, snapshots=tuple(Snapshot(at=moment, samples=samples) for moment, samples in pairs))


def reading(conntrack: Conntrack | Failure, churning: int = 4, **rest: AnySample) -> dict[str, AnySample]:
    """Everything that the table needs, by collector."""
    usual = {
        "conntrack": conntrack, "addresses": ADDRESSES, "sockets": sockets(churning), "workloads": WORKLOADS,
    }  # fmt: skip
    return usual | rest


def one() -> Recording:
    return recording(reading(table()))


def two() -> Recording:
    """A second in which 210 connections came."""
    return recording(reading(table(), churning=3), reading(table(more=210)))


PODS = PodNames(
    [
        ("10.244.3.77", Pod(namespace="monitoring", name="prometheus-0", uid="a1")),
        ("10.244.3.9", Pod(namespace="shop", name="api-9k2c", uid="a2")),
        ("10.244.3.2", Pod(namespace="kube-system", name="coredns-1", uid="a3")),
    ]
)
