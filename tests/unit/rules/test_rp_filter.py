"""rp-filter: packets dropped within the window, and the devices at which the check is strict."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from whodunnet.model.counters import Counters
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.settings import DeviceSettings, Settings
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .limited import namespace, node, settings
from .nodes import NETNS, at_each, finding, findings
from .queued import counters

RULE = "rp-filter"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_packets"))
RATE = ENTRY.limit("min_rate")


def filters(all_: int = 0, default: int = 0, **devices: int | None) -> Settings:
    """rp_filter of conf.all, of conf.default, and of devices; None: as the default."""
    by_name: Mapping[str, DeviceSettings] = {name: DeviceSettings(rp_filter=value) for name, value in devices.items()}
    changed = {"net_ipv4_conf_all_rp_filter": all_, "net_ipv4_conf_default_rp_filter": default}
    return settings(namespace(devices=by_name, **changed))


def dropped(packets: int, known: Settings | None = None, *, seconds: float = 3.0) -> Recording:
    readings = [{"counters": counters(TcpExt_IPReversePathFilter=900 + n)} for n in (0, packets)]
    return node(readings, seconds=seconds, settings=known or filters(eth0=1, eth1=None))


@pytest.mark.parametrize(("packets", "n"), [(FLOOR - 1, 0), (FLOOR, 1)])
def test_a_few_packets_are_what_the_check_is_there_for(packets: int, n: int) -> None:
    assert len(findings(dropped(packets), RULE)) == n


@pytest.mark.parametrize(("packets", "n"), [(int(100 * RATE) - 1, 0), (int(100 * RATE), 1)])
def test_in_a_long_window_the_rate_decides(packets: int, n: int) -> None:
    assert len(findings(dropped(packets, seconds=100.0), RULE)) == n


def test_the_devices_at_which_it_is_strict_are_named_and_nobody_is_blamed() -> None:
    found = finding(dropped(60), RULE)
    assert (found.shape, found.confidence, found.severity) == ("strict", "proven", "warning")
    assert "rp_filter=1 at eth0)" in found.title
    assert [(p.role, p.netns) for p in found.parties] == [("victim", NETNS)]
    assert [e.value for e in found.evidence] == [60, 0, 1]
    assert any(r.command == "sysctl -w net/ipv4/conf/eth0/rp_filter=2" for r in found.remedies)


@pytest.mark.parametrize(
    ("known", "shape", "devices"),
    [
        (filters(1, eth0=None, eth1=None), "strict", "eth0, eth1"),
        (filters(2, eth0=1, eth1=None), "loose", "eth0, eth1"),  # the larger one is in force
        (filters(0, 1, eth0=0, eth1=None), "strict", "eth1"),
        (filters(0, 2, eth0=None), "loose", "eth0"),
        (filters(eth0=None), "unknown", ""),
    ],
)
def test_what_is_in_force_is_the_larger_of_both(known: Settings, shape: str, devices: str) -> None:
    found = finding(dropped(60, known), RULE)
    assert (found.shape, devices in found.title) == (shape, True)


def test_many_devices_are_a_few_names() -> None:
    found = finding(dropped(60, filters(1, **{f"veth{n}": None for n in range(9)})), RULE)
    assert "and 4 more devices" in found.title
    assert not any("conf/veth" in str(r.command) for r in found.remedies)


def test_the_name_of_a_device_is_hostile() -> None:
    found = finding(dropped(60, settings(namespace(devices={"a;reboot": DeviceSettings(rp_filter=1)}))), RULE)
    assert any("'net/ipv4/conf/a;reboot/rp_filter'" in str(r.command) for r in found.remedies)


def test_without_settings_the_packets_are_told_and_no_device() -> None:
    failed = at_each(dropped(60), "settings", Failure(code="missing-file", reason="no"))
    found = finding(failed, RULE)
    assert (found.shape, found.confidence, len(found.evidence)) == ("unknown", "likely", 1)


def test_a_quiet_node_is_cleared_with_its_number() -> None:
    (answer,) = judge(RULE, dropped(2))
    assert isinstance(answer, Cleared)
    assert answer.evidence[0].value == 2


def test_a_kernel_without_the_counter_is_not_checked() -> None:
    (answer,) = judge(RULE, node([{"counters": Counters(by_netns={NETNS: {}}, netns_read=1)}] * 2))
    assert isinstance(answer, NotChecked)


def test_one_reading_is_not_checked_if_there_ever_was_one_and_else_cleared() -> None:
    (ever,) = judge(RULE, node([{"counters": counters(TcpExt_IPReversePathFilter=4)}]))
    assert isinstance(ever, NotChecked)
    (never,) = judge(RULE, node([{"counters": counters()}]))
    assert isinstance(never, Cleared)
