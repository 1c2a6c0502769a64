"""Which samples come together in a snapshot, and what their costs say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from whodunnet.collectors import snapshots
from whodunnet.collectors.snapshots import COLLECTORS, SnapshotTaker
from whodunnet.errors import UnreadableError
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.sample import Failure
from whodunnet.model.workload import Workload, Workloads

NODE, POD = 11, 12
FLOWS = tuple(
    FlowGroup(family=4, protocol="udp", source=source, destination=None, entries=entries)
    for source, entries in (("10.0.0.1", 1), ("10.1.0.2", 4), ("10.9.9.9", 3))
)
TABLE = Conntrack(loaded=True, netns=NODE, count=10, groups=FLOWS, other_entries=2, malformed=5, interrupted=1)
ADDRESSES = Addresses(
    by_netns={
        NODE: (DeviceAddress(address="10.0.0.1", prefix_length=24, device="eth0"),),
        POD: (DeviceAddress(address="10.1.0.2", prefix_length=24, device="eth0"),),
    },
    left_out=1,
)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the collectors read; an error is raised."""
    given: dict[str, Any] = {"conntrack": TABLE, "addresses": ADDRESSES, "asked": []}

    def answer(name: str) -> Any:
        if isinstance(given[name], Exception):
            raise given[name]
        return given[name]

    def attribute(_self: object, pids: list[int], **more: Any) -> Workloads:
        given["asked"].append((list(pids), sorted(more["netns"]), sorted(more["shared_netns"])))
        return Workloads(by_netns={POD: Workload(netns=POD)})

    monkeypatch.setattr(snapshots.ConntrackCollector, "collect", lambda _self: answer("conntrack"))
    monkeypatch.setattr(snapshots.AddressesCollector, "collect", lambda _self: answer("addresses"))
    monkeypatch.setattr(snapshots.WorkloadsCollector, "attribute", attribute)
    return given


@pytest.fixture
def taker() -> Iterator[SnapshotTaker]:
    with SnapshotTaker(Roots(), read_support(Roots()), ("conntrack",)) as made:
        yield made


def test_addresses_and_workloads_come_with_the_entries_of_conntrack(
    answers: dict[str, Any], taker: SnapshotTaker
) -> None:
    assert list(taker.take().samples) == ["conntrack", "addresses", "workloads"]
    assert answers["asked"] == [([], [NODE, POD], [NODE])]
    assert set(taker.costs) == {"conntrack", "addresses", "workloads"}


@pytest.mark.parametrize(
    "table", [Conntrack(loaded=False), Conntrack(loaded=True, netns=NODE, count=0), UnreadableError("no such table")]
)
def test_without_entries_neither_is_read(answers: dict[str, Any], taker: SnapshotTaker, table: Any) -> None:
    answers["conntrack"] = table
    assert list(taker.take().samples) == ["conntrack"]
    assert answers["asked"] == []


def test_the_cost_says_what_was_lost_and_how_much_has_an_opener(answers: dict[str, Any], taker: SnapshotTaker) -> None:
    """4 of a pod and 3 from elsewhere, of 8 in groups, 2 in none and 5 that could not be decoded."""
    taker.take()
    assert answers["conntrack"].entries_read == 15
    cost = taker.costs["conntrack"]
    assert (cost.lost, cost.truncated, cost.attributed_share) == (6, True, round(7 / 15, 4))
    assert taker.costs["addresses"].truncated


def test_addresses_that_cannot_be_read_are_a_failure_beside_the_table(
    answers: dict[str, Any], taker: SnapshotTaker
) -> None:
    answers["addresses"] = UnreadableError("/proc cannot be listed")
    samples = taker.take().samples
    assert list(samples) == ["conntrack", "addresses"]
    assert isinstance(samples["addresses"], Failure)
    assert taker.costs["conntrack"].attributed_share is None


def test_what_is_not_named_is_not_taken(answers: dict[str, Any], taker: SnapshotTaker) -> None:
    assert taker.take(("tcp_memory", "kernel_log")).samples == {}
    assert answers["asked"] == []


def test_every_collector_has_one_name_and_the_names_of_the_samples_are_theirs() -> None:
    tags = {kind.__struct_config__.tag for kind in (Conntrack, Addresses, Workloads)}
    assert tags <= set(COLLECTORS)
    assert len(set(COLLECTORS)) == len(COLLECTORS)
