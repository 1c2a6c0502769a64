"""Who opened real connections: pods on the CNI bridge behind NAT, and a pod on the node's own network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from whodunnet.collectors.snapshots import COLLECTORS, SnapshotTaker
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Pod, Workloads

from .node import Node, wait_until
from .pods import MakePod, RunningPod

pytestmark = [pytest.mark.containers, pytest.mark.root]

SERVICE, GATEWAY, PORT = "10.96.7.7", "10.88.77.1", 8080
RULES = f"""
table ip flows {{
    chain prerouting {{
        type nat hook prerouting priority -100; ip daddr {SERVICE} tcp dport 80 dnat to {GATEWAY}:{PORT};
    }}
}}
"""
SERVE = """
import socket, sys
listener, kept = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64), []
print("ready", flush=True)
while True:
    kept.append(listener.accept())
"""
CONNECT = """
import socket, sys, time
def connected():
    while True:
        try:
            return socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
        except OSError:
            time.sleep(0.05)
kept = [connected() for _ in range(int(sys.argv[3]))]
time.sleep(1000000)
"""


def connecting(to: str, port: int, number: int) -> dict[str, list[str]]:
    return {"app": ["/usr/bin/python3", "-c", CONNECT, to, str(port), str(number)]}


@pytest.fixture
def network(node: Node) -> Iterator[None]:
    """A Service behind NAT that a process of the node answers."""
    inside = ["ip", "netns", "exec", node.netns]
    with ExitStack() as kept:
        subprocess.run([*inside, "nft", "-f", "-"], check=True, input=RULES, text=True)
        kept.callback(subprocess.run, [*inside, "nft", "delete", "table", "ip", "flows"], check=True)
        subprocess.run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        subprocess.run([*inside, "sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1"], check=True)
        argv = [*inside, sys.executable, "-c", SERVE, GATEWAY, str(PORT)]
        server = kept.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        kept.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield


def snapshot(node: Node) -> Snapshot:
    """Of the node, which is a namespace here."""

    def take() -> Snapshot:
        with SnapshotTaker(Roots(), read_support(Roots()), COLLECTORS) as taker:
            return taker.take()

    return namespaces.inside(Path("/run/netns", node.netns), None, take)


def opened(found: Snapshot) -> list[tuple[FlowOwner, int]]:
    table, places = found.samples["conntrack"], found.samples.get("addresses", Addresses())
    sockets, workloads = found.samples["sockets"], found.samples["workloads"]
    assert isinstance(table, Conntrack)
    assert isinstance(places, Addresses)
    assert isinstance(sockets, Sockets)
    assert isinstance(workloads, Workloads)
    owners = FlowOwners(table, places, [sockets], workloads)
    return [part for group in table.groups if group.protocol == "tcp" for part in owners.split(group)]


def by_pod(found: Snapshot) -> dict[Pod | None, int]:
    total: dict[Pod | None, int] = {}
    for owner, n in opened(found):
        pod = owner.workload.pod if owner.workload else None
        total[pod] = total.get(pod, 0) + n
    return total


def identity(pod: RunningPod) -> Pod:
    return Pod(namespace=pod.namespace, name=pod.name, uid=pod.uid)


@pytest.mark.usefixtures("network")
def test_entries_are_of_the_pods_that_opened_them_and_a_host_network_pods_by_its_sockets(
    pod: MakePod, node: Node
) -> None:
    web = pod("web-0", containers=connecting(SERVICE, 80, 5))
    job = pod("job-0", ns="batch", containers=connecting(GATEWAY, PORT, 3))
    agent = pod("agent", ns="kube-system", host_network=True, containers=connecting(GATEWAY, PORT, 4))
    other = pod("other", ns="kube-system", host_network=True, containers=connecting(GATEWAY, PORT, 2))
    expected = {identity(web): 5, identity(job): 3, identity(agent): 4, identity(other): 2}
    seen: list[dict[Pod | None, int]] = []

    def all_there() -> bool:
        seen.append(by_pod(snapshot(node)))
        return seen[-1] == expected

    try:
        wait_until(all_there, "every connection of every pod is in the table, with its opener")
    except AssertionError:
        pytest.fail(f"{seen[-1]} instead of {expected}")
    taken = snapshot(node)
    listed = subprocess.run(
        ["ip", "netns", "exec", node.netns, "conntrack", "-L", "-p", "tcp"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    sources = [line.split("src=")[1].split()[0] for line in listed]
    assert (sources.count(web.ip), sources.count(job.ip), sources.count(GATEWAY)) == (5, 3, 6)
    workloads = taken.samples["workloads"]
    assert isinstance(workloads, Workloads)
    assert node_number(node) not in {*workloads.by_netns, *workloads.sole_by_netns}


def node_number(node: Node) -> int:
    return Path("/run/netns", node.netns).stat().st_ino
