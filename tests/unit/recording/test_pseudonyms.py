"""A pseudonym says what kind of thing it stands for and keeps the form that is read; an address keeps its scope."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.containerd import PAUSE, is_static_uid
from whodunnet.recording.pseudonyms import Kind

from .keyed import address, name


def test_names_of_different_kinds_do_not_show_that_they_are_the_same() -> None:
    kinds: tuple[Kind, ...] = ("process", "pod", "host", "namespace", "container name", "image")
    assert len({name(kind, "web")[-10:] for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("kind", "original", "form"),
    [
        ("host", "edge-0412.example.com", r"host-[0-9a-f]{10}"),
        ("process", "nginx", r"p-[0-9a-f]{10}"),
        ("exe", "/usr/sbin/nginx", r"/exe-[0-9a-f]{10}"),
        ("cgroup", "/system.slice/nginx.service", r"/cgroup-[0-9a-f]{10}"),
        ("unit", "nginx.service", r"unit-[0-9a-f]{10}\.service"),
        ("unit", "session-3.scope", r"unit-[0-9a-f]{10}\.scope"),
        ("unit", "nginx.secret", r"unit-[0-9a-f]{10}"),
        ("container", "c0ffee01" * 8, r"[0-9a-f]{64}"),
        ("container", "web1", r"c-[0-9a-f]{10}"),
        ("container name", "worker", r"container-[0-9a-f]{10}"),
        ("container name", PAUSE, PAUSE),
        ("process", PAUSE, r"p-[0-9a-f]{10}"),
        ("uid", "5e6f0a11-1111-4111-8111-111111111111", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("uid", "5e6f0a11111141118111111111111111", r"[0-9a-f]{32}"),
        ("uid", "u1", r"uid-[0-9a-f]{10}"),
        ("boot", "b00t", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("release", "5.15.0-1011-aws", r"5\.15\.0-1011-aws"),
        ("release", "4.18.0-477.27.1.el8_8.x86_64", r"4\.18\.0-477\.27\.1\.el8_8\.x86_64"),
        ("release", "6.1.0-acme-amd64+", r"6\.1\.0-release-[0-9a-f]{10}-amd64\+"),
        ("pod", "", ""),
        ("device", "eth0", "eth0"),
        ("device", "enp3s0", "enp3s0"),
        ("device", "kube-ipvs0", "kube-ipvs0"),
        ("device", "flannel.1", r"flannel\.1"),
        ("device", "cali3f1e02ab4c5", r"zone-[0-9a-f]{10}"),
        ("device", "br-customer", r"zone-[0-9a-f]{10}"),
    ],
)
def test_a_pseudonym_says_its_kind_and_keeps_the_form_that_is_read(kind: Kind, original: str, form: str) -> None:
    found = name(kind, original)
    assert re.fullmatch(form, found)
    assert (found == original) == (form.replace("\\", "") == original)


def test_a_process_keeps_a_name_that_fits_into_a_comm() -> None:
    assert len(name("process", "x" * 15).encode()) <= 15


def test_a_pod_from_disk_is_still_known_as_one() -> None:
    assert is_static_uid(name("uid", "5e6f0a11111141118111111111111111"))
    assert not is_static_uid(name("uid", "5e6f0a11-1111-4111-8111-111111111111"))
    assert not is_static_uid(name("uid", "u1"))


@pytest.mark.parametrize(
    "special",
    ["127.0.0.1", "127.1.2.3", str(IPv4Address(0)), "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1",
     "::ffff:127.0.0.1"],
)  # fmt: skip
def test_an_address_that_says_what_and_not_who_stays(special: str) -> None:
    assert address(special) == special


@given(st.ip_addresses())
def test_an_address_becomes_another_one_of_its_family_and_scope(original: IPv4Address | IPv6Address) -> None:
    found = ip_address(address(str(original)))
    assert found.version == original.version
    assert address(original.exploded) == address(str(original))
    first = original.packed[0]
    if original.version == 4 and (first in (0, 127) or first >= 224):
        assert found == original
    else:
        assert found.is_link_local == original.is_link_local
        assert found.is_loopback == original.is_loopback
        assert found.is_multicast == original.is_multicast
        assert found.is_unspecified == original.is_unspecified


def test_that_an_address_is_the_providers_own_stays_known() -> None:
    found = address("fd00:ec2::253")
    assert found.startswith("fd00:ec2:")
    assert found != "fd00:ec2::253"
    assert not address("fd00:ec3::253").startswith("fd00:ec2:")


def test_no_two_link_local_addresses_become_one() -> None:
    every = {address(f"169.254.{n >> 8}.{n & 255}") for n in range(65_536)}
    assert len(every) == 65_536


@given(st.sets(st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n))), min_size=2, max_size=40))
def test_no_two_addresses_become_one(originals: set[str]) -> None:
    assert len({address(one) for one in originals}) == len(originals)


def test_neighbours_and_special_addresses_do_not_meet() -> None:
    """A seventh of all steps lands among the special addresses and has to go on."""
    some = [f"{n}.{m}.7.{i}" for n in (1, 10, 126, 128, 169, 223) for m in (0, 253, 254, 255) for i in range(250)]
    found = [address(one) for one in some]
    assert len(set(found)) == len(some)
    assert not [one for one in found if IPv4Address(one).packed[0] in (0, 127) or IPv4Address(one).packed[0] >= 224]


def test_the_same_address_in_both_families_stays_the_same() -> None:
    assert address("::ffff:10.32.7.40") == "::ffff:" + address("10.32.7.40")


def test_the_interface_behind_an_address_is_a_name_too() -> None:
    assert re.fullmatch(r"fe80::[0-9a-f:]+%zone-[0-9a-f]{10}", address("fe80::1%customer0"))
    assert address("fe80::1%2").endswith("%2")


@given(st.text(max_size=40))
def test_whatever_stands_for_an_address_is_replaced(text: str) -> None:
    found = address(text)
    assert found == "" if not text else re.match(r"address-|[0-9a-f]*[:.]", found)


@given(st.text(max_size=40), st.sampled_from(get_args(Kind)))
def test_any_text_has_a_pseudonym(text: str, kind: Kind) -> None:
    assert bool(name(kind, text)) == bool(text)
