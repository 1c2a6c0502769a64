"""The devices collector on real devices: statistics of veth, as ethtool(8) shows them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from netns.command import nobody_with
from netns.namespace import Namespace
from whodunnet.collectors.devices import DevicesCollector
from whodunnet.kernel.ethtool import Ethtool
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.devices import Device, Devices

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]
needs_ethtool = pytest.mark.skipif(shutil.which("ethtool") is None, reason="needs ethtool(8) as a second source")

ROOTS = Roots()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace("link add first type veth peer name second", "link add name bridge type bridge") as made:
        yield made


def by_tool(device: str) -> dict[str, int]:
    shown = subprocess.run(["ethtool", "-S", device], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in re.findall(r"^ +(\S+): (\d+)$", shown, re.MULTILINE)}


def by_us(device: str) -> tuple[str | None, dict[str, int]]:
    with Ethtool() as ethtool:
        return ethtool.driver(device), ethtool.statistics(device)


@needs_ethtool
def test_statistics_are_those_of_ethtool(namespace: Namespace) -> None:
    for device in ("first", "second"):
        driver, found = namespace(lambda device=device: by_us(device))
        assert driver == "veth"
        assert "peer_ifindex" in found
        assert found == namespace(lambda device=device: by_tool(device))


def test_a_device_without_statistics_has_none(namespace: Namespace) -> None:
    assert namespace(lambda: by_us("bridge")) == ("bridge", {})


def test_only_devices_of_the_wanted_driver_are_kept(namespace: Namespace) -> None:
    support = read_support(ROOTS)
    assert namespace(DevicesCollector(ROOTS, support).collect) == Devices(others=4)
    sample = namespace(DevicesCollector(ROOTS, support, {"veth"}).collect)
    assert sample.by_name == {"first": Device(driver="veth"), "second": Device(driver="veth")}
    assert (sample.others, sample.unread) == (2, 0)


def test_a_device_that_comes_and_goes_is_met_at_each_reading(namespace: Namespace) -> None:
    collector = DevicesCollector(ROOTS, read_support(ROOTS), {"veth"})
    assert len(namespace(collector.collect).by_name) == 2
    namespace(lambda: subprocess.run(["ip", "link", "del", "first"], check=True))
    assert namespace(collector.collect) == Devices(others=2)


def test_any_user_may_ask(namespace: Namespace) -> None:
    code = (
        "from whodunnet.kernel.ethtool import Ethtool\n"
        "with Ethtool() as ethtool: print(ethtool.driver('first'), len(ethtool.statistics('first')) > 0)"
    )
    command = [*nobody_with(), sys.executable, "-c", code]
    shown = namespace(lambda: subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout)
    assert shown == "veth True\n"
