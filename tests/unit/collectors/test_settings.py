"""The settings of a recorded machine's namespaces, and that they are not read again at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors import settings
from whodunnet.collectors.settings import SettingsCollector, read_here
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Namespaces, Way
from whodunnet.kernel.roots import Roots
from whodunnet.model.settings import NAMES, DeviceSettings

OWN, OTHER = 11, 12
USUAL = dict.fromkeys(NAMES, "0\n") | {"net.ipv4.ip_local_port_range": "40000\t40099\n"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own namespace, and one that cannot be entered."""
    for name, text in {**USUAL, "net.ipv4.ip_local_reserved_ports": "1-5,40010-40019,40099-50000\n"}.items():
        write(tmp_path, name.replace(".", "/"), text)
    for device, rp_filter, forwarding in (("eth0", 0, 0), ("eth1", 1, 0), ("lo", 1, 1), ("veth.7", 2, 1)):
        write(tmp_path, f"net/ipv4/conf/{device}/rp_filter", f"{rp_filter}\n")
        write(tmp_path, f"net/ipv4/conf/{device}/forwarding", f"{forwarding}\n")
    found = Namespaces(ways={OWN: Way(pid=1), OTHER: Way(pid=2)}, unidentified=1)
    monkeypatch.setattr(namespaces, "find", lambda _roots: found)
    monkeypatch.setattr(namespaces, "own", lambda _roots: OWN)
    return tmp_path


def write(machine: Path, name: str, text: str) -> None:
    path = machine / "proc/sys" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_settings_are_kept_by_name_with_the_ports_that_are_left(machine: Path) -> None:
    found = read_here(Roots.below(machine))
    assert set(found.values) == set(NAMES)
    assert (found.ports_reserved, found.ports) == (11, 89)


def test_a_device_has_what_is_not_as_usual(machine: Path) -> None:
    found = read_here(Roots.below(machine))
    assert found.devices == {
        "eth0": DeviceSettings(), "eth1": DeviceSettings(rp_filter=1),
        "veth.7": DeviceSettings(rp_filter=2, forwarding=1),
    }  # fmt: skip
    assert [found.rp_filter(device) for device in found.devices] == [0, 1, 2]


def test_what_this_kernel_lacks_is_left_out(machine: Path) -> None:
    for name in ("net/ipv4/tcp_tw_recycle", "net/ipv6/conf/all/forwarding", "net/ipv4/ip_local_reserved_ports"):
        (machine / "proc/sys" / name).unlink()
    found = read_here(Roots.below(machine))
    assert found.number("net.ipv4.tcp_tw_recycle") is None
    assert (found.ports_reserved, found.ports) == (0, 100)


def test_more_devices_than_the_limit_are_counted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEVICES_LIMIT", 1)
    found = read_here(Roots.below(machine))
    assert (list(found.devices), found.devices_left_out) == (["eth0"], 2)


def test_a_namespace_that_cannot_be_entered_is_counted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SettingsCollector(Roots.below(machine)).collect()
    assert (list(sample.by_netns), sample.netns_unread) == ([OWN], 2)
    monkeypatch.setattr(settings, "NAMESPACES_LIMIT", 0)
    sample = SettingsCollector(Roots.below(machine)).collect()
    assert (list(sample.by_netns), sample.netns_unread) == ([], 3)


def test_they_are_read_again_only_after_a_while(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = SettingsCollector(Roots.below(machine))
    assert collector.newest is None
    first = collector.collect()
    write(machine, "net/core/somaxconn", "7\n")
    again = collector.collect()
    assert again.by_netns == first.by_netns
    assert 0 <= again.read_seconds_ago < 30
    monkeypatch.setattr(settings, "EVERY_SECONDS", 0.0)
    assert collector.collect().by_netns[OWN].number("net.core.somaxconn") == 7
    assert collector.newest == collector.newest


def test_without_a_list_of_processes_there_is_no_reading(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_roots: Roots) -> Namespaces:
        raise UnreadableError("no list")

    monkeypatch.setattr(namespaces, "find", fail)
    with pytest.raises(UnreadableError, match="no list"):
        SettingsCollector(Roots.below(machine)).collect()
