"""nic-drops: devices and queues that lose packets or their line, and counters that say nothing of the sort."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.finding import Cleared, Finding, NotApplicable, NotChecked
from whodunnet.model.links import QUEUE_WRAP, Links
from whodunnet.model.sample import Failure
from whodunnet.model.workload import Workloads

from .nodes import NETNS, answers, finding, findings, parties
from .suspects import HOST, device, hardware, node, pair

RULE = "nic-drops"


def of_hardware(before: dict[str, Any], then: dict[str, Any]) -> list[Finding]:
    """100,000 packets before, and as many meanwhile."""
    return findings(node("links", [hardware(**before), hardware(sent=200_000, **then)]), RULE)


def shapes(before: dict[str, Any], then: dict[str, Any]) -> list[str | None]:
    return [f.shape for f in of_hardware(before, then)]


@pytest.mark.parametrize(
    ("counter", "shape"),
    [("rx_missed", "ring-full"), ("tx_dropped", "not-sent"), ("rx_errors", "damaged"), ("tx_errors", "damaged")],
)
def test_each_kind_of_loss_has_its_shape(counter: str, shape: str) -> None:
    (found,) = of_hardware({counter: 7}, {counter: 507})
    assert (found.shape, found.severity, found.confidence) == (shape, "warning", "proven")
    assert found.evidence[0].value == 500
    (victim,) = found.parties
    assert (victim.role, victim.node, victim.device) == ("victim", "n1", "eth0")


@pytest.mark.parametrize(("lost", "found"), [(10, 1), (9, 0)])
def test_a_few_packets_are_nothing(lost: int, found: int) -> None:
    readings = [hardware(), hardware(sent=150_000, rx_missed=lost)]
    assert len(findings(node("links", readings), RULE)) == found


def test_a_small_share_of_many_packets_is_nothing() -> None:
    first, then = hardware(), hardware(sent=10_000_000, rx_missed=900)
    assert isinstance(answers(node("links", [first, then]), RULE)[0], Cleared)


def test_what_was_lost_before_the_window_is_cleared_with_what_was_lost_in_it() -> None:
    old = {"rx_missed": 9_000_000, "tx_dropped": 70_000, "rx_errors": 500, "queue_drops": 3_000}
    (answer,) = answers(node("links", [hardware(**old), hardware(sent=300_000, **old)]), RULE)
    assert isinstance(answer, Cleared)
    assert {e.value for e in answer.evidence} == {0}
    assert "1 devices" in answer.sensitivity


def test_the_drivers_rings_say_which_queue() -> None:
    (found,) = of_hardware({"rings": {"rx3_drops": 5}}, {"rings": {"rx3_drops": 805, "rx1_drops": 200}})
    assert found.shape == "ring-full"
    assert found.parties[0].queues == (3, 1)
    assert "queues 3, 1" in found.title
    assert found.evidence[0].value == 1000


def test_a_driver_that_counts_ring_drops_as_dropped_has_lost_them_once() -> None:
    rise = {"rx_dropped": 50_000, "rings": {"rx_queue_0_drops": 50_000}}
    assert shapes({}, rise) == ["ring-full"]


def test_packets_of_no_protocol_are_no_loss_and_their_number_is_said() -> None:
    readings = [hardware(), hardware(sent=200_000, rx_dropped=40_000, rx_nohandler=40_000)]
    (answer,) = answers(node("links", readings), RULE)
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence if "protocol" in e.statement] == [40_000]


@pytest.mark.parametrize("there", [{"carrier": False}, {"up": False}])
def test_what_is_flooded_to_a_device_without_a_line_is_missed_by_nobody(there: dict[str, bool]) -> None:
    """As to a bridge without members (noop_enqueue)."""
    assert shapes(there, {"tx_dropped": 5_000, **there}) == []


def test_a_bridge_whose_members_come_and_go_does_not_flap() -> None:
    def bridge(downs: int) -> Links:
        return Links.of({HOST: {"docker0": device(4, kind="bridge", carrier_downs=downs)}})

    assert findings(node("links", [bridge(1), bridge(9)]), RULE) == []


def test_the_line_goes_before_what_went_down_with_it() -> None:
    def node_with(downs: int) -> Links:
        stacked = {f"vlan{n}": device(n, kind="vlan", peer=9, carrier_downs=downs) for n in range(2, 7)}
        return Links.of({HOST: {**stacked, "eth0": device(9, carrier_downs=downs)}})

    found = findings(node("links", [node_with(0), node_with(2)]), RULE)
    assert found[0].parties[0].device == "eth0"
    assert found[0].evidence[0].repeat.startswith("ip -s -s link show dev eth0  # transns")


def test_where_no_device_could_be_compared_none_is_cleared() -> None:
    nothing = Links.of({})
    (alone,) = answers(node("links", [nothing, nothing]), RULE)
    assert isinstance(alone, NotApplicable)
    for then in (Links.of({}, netns_unread=3), hardware()):
        (answer,) = answers(node("links", [nothing, then]), RULE)
        assert isinstance(answer, NotChecked)


def test_a_queue_that_drops_is_named_with_its_kind() -> None:
    (found,) = of_hardware({"queue": "tbf"}, {"queue": "tbf", "queue_drops": 5_000})
    assert (found.shape, found.severity) == ("queue-full", "warning")
    assert "tbf" in found.title


@pytest.mark.parametrize("kind", ["fq_codel", "mq fq_codel"])
def test_a_queue_that_thins_out_on_purpose_is_no_fault(kind: str) -> None:
    (found,) = of_hardware({"queue": kind}, {"queue": kind, "queue_drops": 5_000})
    assert (found.shape, found.severity) == ("queue-thins", "info")


def test_a_drop_in_a_hundred_is_how_tcp_finds_its_pace() -> None:
    assert shapes({}, {"queue_drops": 1_000}) == []
    assert shapes({}, {"queue_drops": 1_100}) == ["queue-full"]


def test_a_queue_that_began_again_at_zero_has_lost_what_it_lost() -> None:
    wrapped = [hardware(queue_drops=QUEUE_WRAP - 1_000), hardware(sent=200_000, queue_drops=4_000)]
    assert finding(node("links", wrapped), RULE).evidence[0].value == 5_000


def test_another_queue_in_its_place_has_lost_nothing() -> None:
    assert shapes({"queue": "pfifo_fast"}, {"queue": "tbf", "queue_drops": 7_000}) == []


def test_a_queue_that_was_made_anew_has_not_lost_four_thousand_million() -> None:
    assert shapes({"queue_drops": 50_000}, {"queue_drops": 0}) == []


def test_a_driver_that_was_reset_begins_anew() -> None:
    assert shapes({"rx_missed": 50_000}, {"rx_missed": 0}) == []


# --- The line ----------------------------------------------------------------------------------------------------


def test_hardware_that_loses_its_line_once_is_a_finding() -> None:
    (found,) = of_hardware({"carrier_downs": 4}, {"carrier_downs": 5})
    assert (found.shape, found.evidence[0].value) == ("flaps", 1)


def test_a_line_that_only_comes_up_is_none() -> None:
    assert shapes({"carrier_changes": 1, "carrier_downs": 1}, {"carrier_changes": 2, "carrier_downs": 1}) == []


def test_an_older_kernel_counts_changes_only() -> None:
    none: dict[str, Any] = {"carrier_downs": None}
    assert shapes({**none, "carrier_changes": 2}, {**none, "carrier_changes": 3}) == []
    assert shapes({**none, "carrier_changes": 2}, {**none, "carrier_changes": 4}) == ["flaps"]


@pytest.mark.parametrize(("downs", "found"), [(2, 0), (3, 1)])
def test_a_pods_device_may_go_down_once(downs: int, found: int) -> None:
    readings = [pair(), pair(nodes={"carrier_downs": downs})]
    assert len(findings(node("links", readings), RULE)) == found


def test_a_new_pod_in_the_place_of_another_has_another_device() -> None:
    old = Links.of({HOST: {"eth0": device(1), "cali1": device(9, carrier_downs=1)}})
    new = Links.of({HOST: {"eth0": device(1), "cali1": device(12, carrier_downs=9, tx_dropped=900)}})
    (answer,) = answers(node("links", [old, new]), RULE)
    assert isinstance(answer, Cleared)
    assert "1 devices were new" in answer.sensitivity


def test_a_slower_line_is_a_finding_and_an_unknown_speed_is_not() -> None:
    (found,) = of_hardware({"speed_mbps": 10_000, "duplex": "full"}, {"speed_mbps": 100, "duplex": "half"})
    assert found.shape == "renegotiated"
    assert "100 instead of 10,000 Mbit/s, half instead of full duplex" in found.title
    assert shapes({"speed_mbps": 10_000}, {"speed_mbps": None}) == []


# --- Who is behind it --------------------------------------------------------------------------------------------


def test_the_pod_at_the_other_end_is_who_suffers() -> None:
    readings = [pair(), pair(nodes={"sent": 200_000, "queue": "tbf", "queue_drops": 0}),
                pair(nodes={"sent": 300_000, "queue": "tbf", "queue_drops": 20_000})]  # fmt: skip
    found = finding(node("links", readings), RULE)
    (victim,) = found.parties
    assert (victim.role, victim.device, victim.netns) == ("victim", "veth9", NETNS)
    assert "shop" in found.title
    assert parties(found, "culprit") == []


def test_without_a_name_the_smaller_namespace_is_the_pods() -> None:
    readings = [pair(), pair(nodes={"sent": 200_000, "tx_dropped": 5_000})]
    found = finding(node("links", readings, workloads=Workloads()), RULE)
    assert found.parties[0].netns == NETNS


def test_a_pair_that_could_be_another_is_nobodys() -> None:
    """In nested containers two pairs may have the same numbers."""
    twin = {4_026_533_000: {"eth0": device(2, kind="veth", peer=9)}}

    def with_twin(links: Links) -> Links:
        return Links.of({**links.by_netns, **twin})

    readings = [with_twin(pair()), with_twin(pair(nodes={"sent": 200_000, "tx_dropped": 5_000}))]
    found = finding(node("links", readings), RULE)
    assert (found.parties[0].node, found.parties[0].device) == ("n1", "veth9")


def test_where_a_namespace_was_not_read_no_other_end_is_named() -> None:
    readings = [pair(netns_unread=1), pair(nodes={"sent": 200_000, "tx_dropped": 5_000}, netns_unread=1)]
    assert finding(node("links", readings), RULE).parties[0].node == "n1"


def test_no_more_than_a_few_devices_of_each_kind_are_listed() -> None:
    def many(lost: int) -> Links:
        return Links.of({HOST: {f"eth{n}": device(n + 1, rx_missed=lost * n) for n in range(1, 9)}})

    found = findings(node("links", [many(0), many(500)]), RULE)
    assert [f.parties[0].device for f in found] == ["eth8", "eth7", "eth6"]


# --- Without two readings ----------------------------------------------------------------------------------------


def test_one_reading_shows_no_rise_but_nothing_ever_is_cleared() -> None:
    (answer,) = answers(node("links", [hardware(rx_missed=4)]), RULE)
    assert isinstance(answer, NotChecked)
    assert isinstance(answers(node("links", [hardware()]), RULE)[0], Cleared)


@pytest.mark.parametrize("readings", [1, 2])
def test_devices_of_namespaces_that_could_not_be_read_are_not_cleared(readings: int) -> None:
    (answer,) = answers(node("links", [pair(netns_unread=2)] * readings), RULE)
    assert isinstance(answer, NotChecked)
    assert "2 network namespaces could not be read" in answer.reason


def test_a_collector_that_failed_is_not_checked() -> None:
    (answer,) = answers(node("links", [Failure(code="unreadable", reason="x")] * 2), RULE)
    assert isinstance(answer, NotChecked)
