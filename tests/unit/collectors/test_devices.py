"""The devices collector with drivers that this machine need not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import pytest

from whodunnet.collectors import devices
from whodunnet.collectors.devices import ALLOWANCES, DevicesCollector
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.devices import Device, Devices

ENA = {"tx_timeout": 0, "queue_0_tx_cnt": 7, **{name: n for n, name in enumerate(ALLOWANCES)}}
Machine = dict[str, tuple[str | None, dict[str, int] | UnreadableError]]


class FakeEthtool:
    """Devices of a machine: driver, and statistics or why there are none."""

    machine: ClassVar[Machine] = {}
    asked: ClassVar[list[tuple[str, str]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def driver(self, device: str) -> str | None:
        self.asked.append(("driver", device))
        return self.machine[device][0]

    def statistics(self, device: str) -> dict[str, int]:
        self.asked.append(("statistics", device))
        found = self.machine[device][1]
        if isinstance(found, UnreadableError):
            raise found
        return found


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch, support: Support) -> Callable[[Machine], DevicesCollector]:
    def make(machine: Machine) -> DevicesCollector:
        monkeypatch.setattr(FakeEthtool, "machine", machine)
        monkeypatch.setattr(FakeEthtool, "asked", [])
        monkeypatch.setattr(devices, "Ethtool", FakeEthtool)
        monkeypatch.setattr(devices, "_every", lambda: list(enumerate(machine, 1)))
        return DevicesCollector(Roots(), support)

    return make


Make = Callable[[Machine], DevicesCollector]


def test_limits_are_read_of_the_driver_that_counts_them_and_nothing_else(collector: Make) -> None:
    sample = collector({"lo": (None, {}), "eth0": ("ena", ENA), "eth1": ("mlx5_core", ENA)}).collect()
    assert sample == Devices(
        by_name={"eth0": Device(driver="ena", allowances={name: n for n, name in enumerate(ALLOWANCES)})}, others=2
    )
    assert [device for what, device in FakeEthtool.asked if what == "statistics"] == ["eth0"]


def test_a_driver_is_asked_for_once(collector: Make) -> None:
    made = collector({"lo": (None, {}), "eth0": ("ena", ENA)})
    assert made.collect() == made.collect()
    assert FakeEthtool.asked.count(("driver", "eth0")) == FakeEthtool.asked.count(("driver", "lo")) == 1


def test_an_older_driver_counts_fewer_or_none(collector: Make) -> None:
    sample = collector({"eth0": ("ena", {"pps_allowance_exceeded": 4}), "eth1": ("ena", {"tx_timeout": 1})}).collect()
    assert [d.allowances for d in sample.by_name.values()] == [{"pps_allowance_exceeded": 4}, {}]


def test_a_device_that_goes_meanwhile_is_counted(collector: Make) -> None:
    gone = UnreadableError("network device 'eth0' is gone", "vanished")
    assert collector({"eth0": ("ena", gone), "eth1": ("ena", {})}).collect() == Devices(
        by_name={"eth1": Device(driver="ena")}, unread=1
    )


def test_an_answer_that_makes_no_sense_is_ours_to_mend(collector: Make) -> None:
    with pytest.raises(MalformedError):
        collector({"eth0": ("ena", MalformedError("eth0: what"))}).collect()


def test_a_counter_beyond_all_bounds_is_cut(collector: Make) -> None:
    sample = collector({"eth0": ("ena", {"pps_allowance_exceeded": 2**64 - 1})}).collect()
    assert sample.by_name["eth0"].allowances["pps_allowance_exceeded"] == INT64_MAX


def test_devices_beyond_the_bound_are_counted(collector: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICES_LIMIT", 2)
    sample = collector({f"veth{i}": ("veth", {}) for i in range(5)}).collect()
    assert (sample.others, sample.left_out) == (2, 3)
