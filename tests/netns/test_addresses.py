"""Addresses of real namespaces as ip(8) shows them."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.mounted_namespace import Place, inside, run
from whodunnet.collectors import addresses
from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.kernel.roots import Roots
from whodunnet.model.addresses import Addresses, DeviceAddress

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
READ = """
import sys
from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.kernel.roots import Roots
reading = AddressesCollector(Roots()).collect()
print(*(a.address for a in reading.by_netns.get(int(sys.argv[1]), ())))
"""


def collect() -> Addresses:
    return AddressesCollector(ROOTS).collect()


def by_ip(place: Place) -> set[tuple[str, int, str, str | None, bool]]:
    """What `ip addr` shows, without what every namespace has."""
    shown = json.loads(run(f"ip -n {place.name} -d -j addr"))
    return {
        (a["local"], a["prefixlen"], link["ifname"], link.get("linkinfo", {}).get("info_kind"), "UP" in link["flags"])
        for link in shown
        for a in link.get("addr_info", ())
        if not is_everywhere(a["local"])
    }


def is_everywhere(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or (parsed.version == 6 and parsed.is_link_local)


def as_shown(addresses: Sequence[DeviceAddress]) -> set[tuple[str, int, str, str | None, bool]]:
    return {(a.address, a.prefix_length, a.device, a.kind, a.up) for a in addresses}


def test_addresses_are_those_that_ip_shows(kept: ExitStack) -> None:
    other = Place(kept)
    place = Place(
        kept,
        "link add plain type bridge", "link add br7 type bridge", "link add down0 type ifb",
        f"link add eth0 type veth peer name there netns {other.name}", "link set plain up", "link set br7 up",
        "link set eth0 up", "addr add 10.7.0.1/24 dev plain", "addr add 10.7.0.2/24 dev plain",
        "addr add 10.7.1.1 peer 10.7.1.2/32 dev eth0", "addr add fd07::1/64 dev br7 nodad",
        "addr add fd07::5 peer fd07::6/128 dev eth0 nodad", "addr add 10.7.3.1/8 dev down0",
        "addr add 192.0.2.9/32 dev lo", "addr add 169.254.20.10/32 dev plain",
    )  # fmt: skip
    other.ip("addr add 10.8.0.1/24 dev there", "link set there up")
    for reading in (collect(), inside(other, collect)):
        assert {a.address for a in reading.by_netns[place.number]} >= {"10.7.1.1", "fd07::5", "192.0.2.9"}
        assert as_shown(reading.by_netns[place.number]) == by_ip(place)
        assert as_shown(reading.by_netns[other.number]) == by_ip(other)
        assert (reading.left_out, reading.netns_unread) == (0, 0)


def test_a_device_may_be_called_anything(kept: ExitStack) -> None:
    name = "a\x1b[31m\xe9"
    place = Place(kept)
    subprocess.run(["ip", "-n", place.name, "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "-n", place.name, "addr", "add", "10.7.0.1/24", "dev", name], check=True)
    (found,) = collect().by_netns[place.number]
    assert (found.device, found.kind) == ("a\N{REPLACEMENT CHARACTER}[31m\xe9", "bridge")


def test_a_namespace_that_only_a_process_keeps_is_read(kept: ExitStack) -> None:
    script = "ip link set lo up; ip addr add 192.0.2.7/32 dev lo; echo ready; read _"
    holder = kept.enter_context(
        subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    number = Path(f"/proc/{holder.pid}/ns/net").stat().st_ino
    assert [a.address for a in collect().by_netns[number]] == ["192.0.2.7"]


def test_a_namespace_whose_mount_is_hidden_is_read_as_the_first_process_sees_it(kept: ExitStack) -> None:
    """pid 1 of a pid namespace still sees what a tmpfs hides from us, as in a container with a /run of its own."""
    place = Place(kept, "addr add 192.0.2.77/32 dev lo")
    hide = f"mount -t tmpfs none /run/netns; exec {sys.executable} -c '{READ}' {place.number}"
    first = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"]
    found = subprocess.run(
        [*first, 'unshare --mount sh -c "$0"; true', hide], check=True, capture_output=True, text=True
    )
    assert found.stdout.split() == ["192.0.2.77"], found.stderr


def test_more_addresses_than_are_kept_are_counted_and_the_others_kept(
    kept: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel answers in several parts, of which only the first ones are read."""
    place = Place(kept)
    many = "".join(f"addr add 10.7.{n >> 8}.{n & 255}/32 dev lo\n" for n in range(1000))
    run(f"ip -n {place.name} -batch -", many)
    monkeypatch.setattr(addresses, "ADDRESSES_PER_NETNS", 5)
    reading = collect()
    assert [a.device for a in reading.by_netns[place.number]] == ["lo"] * 5
    assert reading.left_out >= 1


def test_namespaces_that_come_and_go_meanwhile_do_no_harm(kept: ExitStack) -> None:
    lasting = Place(kept, "link add plain type bridge", "addr add 10.7.0.1/24 dev plain")
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    script = f"while :; do ip netns add {name} && ip -n {name} link set lo up; ip netns del {name}; echo; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as changing:
        assert changing.stdout is not None
        for _ in range(30):
            changing.stdout.readline()
            assert [a.address for a in collect().by_netns[lasting.number]] == ["10.7.0.1"]
        os.killpg(changing.pid, 9)
    subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)
