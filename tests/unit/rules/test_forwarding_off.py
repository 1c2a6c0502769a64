"""forwarding-off: packets for others that a namespace drops which should forward them, and a host that ignores them."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.settings import DeviceSettings, Settings
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.workload import Workloads
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .limited import namespace, node, settings
from .nodes import NETNS, at_each, finding, findings, named
from .queued import counters

RULE = "forwarding-off"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_packets"))


def device(address: str, name: str, kind: str | None = None, **other: Any) -> DeviceAddress:
    return DeviceAddress(address=address, prefix_length=24, device=name, kind=kind, **other)


OUTER, INNER = device("192.0.2.7", "eth0"), device("10.244.0.1", "cni0", "bridge")
OUTER6, INNER6 = device("2001:db8::7", "eth0"), device("fd00:1::1", "cni0", "bridge")
ROUTER, HOST = (OUTER, INNER), (OUTER,)


def met(
    packets: int, *at: DeviceAddress, forwarded: int = 0, known: Settings | None = None, section: str = "Ip",
    forwards: str = "Ip_ForwDatagrams", **also: AnySample,
) -> Recording:  # fmt: skip
    """Packets for others that came to a namespace with these addresses."""
    name = f"{section}_InAddrErrors"
    readings = [{"counters": counters(**{name: 700 + n, forwards: forwarded})} for n in (0, packets)]
    addresses = Addresses(by_netns={NETNS: at} if at else {})
    return node(readings, settings=known or settings(), addresses=addresses, **also)


@pytest.mark.parametrize(("packets", "n"), [(FLOOR - 1, 0), (FLOOR, 1)])
def test_a_stray_packet_is_no_wish_to_pass(packets: int, n: int) -> None:
    assert len(findings(met(packets, *ROUTER), RULE)) == n


def test_a_namespace_between_networks_is_told_with_its_setting() -> None:
    found = finding(met(60, *ROUTER), RULE)
    assert (found.shape, found.confidence, found.severity) == ("off", "likely", "warning")
    assert "60 in 3.0 s: net.ipv4.ip_forward is 0" in found.title
    assert [(p.role, p.netns) for p in found.parties] == [("holder", NETNS)]
    assert [e.value for e in found.evidence] == [60, 0, 0, 2]


@pytest.mark.parametrize(
    ("at", "forwarded", "confidence"),
    [(ROUTER, 5, "proven"), (HOST, 5, "likely"), ((), 5, "likely"), (ROUTER, 0, "likely")],
)
def test_who_has_forwarded_before_is_meant_to(at: tuple[DeviceAddress, ...], forwarded: int, confidence: str) -> None:
    assert finding(met(60, *at, forwarded=forwarded), RULE).confidence == confidence


TWO_NETWORKS = (device("10.244.0.7", "eth0", "veth"), device("198.51.100.4", "net1", "veth"))


@pytest.mark.parametrize(
    ("at", "forwarded", "alone", "severity", "confidence"),
    [
        (TWO_NETWORKS, 0, True, "info", "possible"),
        (TWO_NETWORKS, 5, True, "warning", "proven"),
        (TWO_NETWORKS, 0, False, "warning", "likely"),  # a router is made as a namespace without a program
        (ROUTER, 0, True, "warning", "likely"),
    ],
)
def test_a_pod_of_several_networks_is_no_router_for_that(
    at: tuple[DeviceAddress, ...], forwarded: int, alone: bool, severity: str, confidence: str
) -> None:
    workloads = Workloads(sole_by_netns={NETNS: named(7).by_pid[7]} if alone else {})
    found = finding(met(60, *at, forwarded=forwarded, workloads=workloads), RULE)
    assert (found.severity, found.confidence) == (severity, confidence)
    assert bool(found.would_explain) == (severity == "warning")


@pytest.mark.parametrize(
    "at",
    [
        HOST,
        (INNER,),  # a pod
        (OUTER, device("198.51.100.4", "eth1")),  # two uplinks
        (OUTER, device("10.244.0.1", "cni0", "bridge", up=False)),
        (OUTER, device("169.254.0.1", "cni0", "bridge")),
        (OUTER, device("10.96.0.1", "kube-ipvs0", "dummy")),
        (OUTER, INNER6),
    ],
)
def test_a_host_that_is_no_router_does_well_to_ignore_them(at: tuple[DeviceAddress, ...]) -> None:
    (answer,) = judge(RULE, met(60, *at))
    assert isinstance(answer, Cleared)
    assert "1 namespaces got as many, and nothing says that they should forward" in answer.sensitivity
    assert answer.evidence[0].value == 60


def test_one_that_forwards_counts_them_for_another_reason() -> None:
    on = settings(namespace(net_ipv4_ip_forward=1))
    assert findings(met(60, *ROUTER, known=on), RULE) == []


def test_a_device_with_a_setting_of_its_own_is_named() -> None:
    known = namespace(net_ipv4_ip_forward=1, devices={"cni0": DeviceSettings(forwarding=0), "eth0": DeviceSettings()})
    found = finding(met(60, *ROUTER, known=settings(known), forwarded=9), RULE)
    assert (found.shape, found.confidence) == ("device-off", "likely")
    assert "forwarding is off at cni0" in found.title


def switched_on(*devices: str) -> tuple[str, str]:
    """What is to be done, and the command, where these devices do not forward."""
    of = {name: DeviceSettings(forwarding=0) for name in devices}
    known = namespace(net_ipv4_ip_forward=1, devices={**of, "up0": DeviceSettings()})
    (remedy,) = (r for r in finding(met(60, *ROUTER, known=settings(known)), RULE).remedies if r.action == "tune")
    assert "firewall" in remedy.risk
    return remedy.do, str(remedy.command)


def test_forwarding_is_switched_on_at_the_device_that_has_it_off() -> None:
    do, command = switched_on("eth0")
    assert command == "sysctl -w net.ipv4.conf.eth0.forwarding=1  # in that network namespace"
    assert do == "Let it forward what comes in at that device"
    both, commands = switched_on("eth0", "eth1")
    assert "net.ipv4.conf.eth0.forwarding=1 net.ipv4.conf.eth1.forwarding=1" in commands
    assert "by which of them the packets came is not seen" in both


@pytest.mark.parametrize(
    ("device", "command"),
    [
        ("eth0.100", "sysctl -w net.ipv4.conf.eth0/100.forwarding=1"),
        ("$(reboot)", "sysctl -w 'net.ipv4.conf.$(reboot).forwarding=1'"),
        ("*", "sysctl -a -r 'net.ipv4.conf.*forwarding'  # shows"),
        ("a=1", "sysctl -a -r 'net.ipv4.conf.*forwarding'  # shows"),
    ],
)
def test_the_name_of_a_device_is_hostile(device: str, command: str) -> None:
    assert switched_on(device)[1].startswith(command)


def test_ipv6_has_a_setting_of_its_own() -> None:
    on = settings(namespace(net_ipv4_ip_forward=1))
    found = finding(
        met(60, OUTER6, INNER6, known=on, section="Ip6", forwards="Ip6_OutForwDatagrams", forwarded=3), RULE
    )
    assert (found.shape, found.confidence) == ("off-ipv6", "proven")
    assert "net.ipv6.conf.all.forwarding is 0" in found.title


def test_without_addresses_nobody_is_cleared_of_it() -> None:
    failed = at_each(met(60), "addresses", Failure(code="missing-capability", reason="no"))
    (answer,) = judge(RULE, failed)
    assert isinstance(answer, NotChecked)
    (quiet,) = judge(RULE, at_each(met(0), "addresses", Failure(code="missing-capability", reason="no")))
    assert isinstance(quiet, Cleared)


def test_a_namespace_whose_settings_were_not_read_is_not_checked() -> None:
    (answer,) = judge(RULE, met(60, *ROUTER, known=Settings()))
    assert isinstance(answer, NotChecked)


def test_one_reading_is_not_checked_if_there_ever_was_one_and_else_cleared() -> None:
    (ever,) = judge(RULE, node([{"counters": counters(Ip_InAddrErrors=4)}], settings=settings()))
    assert isinstance(ever, NotChecked)
    (never,) = judge(RULE, node([{"counters": counters()}], settings=settings()))
    assert isinstance(never, Cleared)
    assert "Ip6InAddrErrors" in never.evidence[0].repeat


def test_packets_of_ipv6_are_no_less_dropped() -> None:
    (ever,) = judge(RULE, node([{"counters": counters(Ip6_InAddrErrors=50_000)}], settings=settings()))
    assert isinstance(ever, NotChecked)
    assert "50,000 packets for others" in ever.reason
    (few,) = judge(RULE, met(FLOOR - 1, *ROUTER, section="Ip6"))
    assert isinstance(few, Cleared)
    assert [(e.value, e.source) for e in few.evidence] == [
        (0, "/proc/net/snmp InAddrErrors"), (FLOOR - 1, "/proc/net/snmp6 InAddrErrors"),
    ]  # fmt: skip
