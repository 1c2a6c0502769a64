"""resolv.conf as resolvers read it, and as whoever made it may have made it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import UnreadableError
from whodunnet.kernel.resolv_conf import (
    FILE_BYTES_MAX,
    SEARCH_MAX,
    SERVERS_MAX,
    Parsed,
    canonical,
    parse_resolv_conf,
    read_resolv_conf,
)
from whodunnet.kernel.roots import Roots

POD = b"""search shop.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
options ndots:5 timeout:2 attempts:3 edns0
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "proc/7/root/etc").mkdir(parents=True)
    return tmp_path


def read(machine: Path) -> Parsed:
    return read_resolv_conf(Roots.below(machine), 7)


def test_a_pod_s_file_is_read() -> None:
    assert parse_resolv_conf(POD) == Parsed(
        servers=("10.96.0.10",), search=("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"), ndots=5,
        timeout_seconds=2, attempts=3,
    )  # fmt: skip


def test_an_empty_file_has_what_a_c_library_takes_by_itself() -> None:
    assert parse_resolv_conf(b"") == Parsed(servers=(), search=(), ndots=1, timeout_seconds=5, attempts=2)


@pytest.mark.parametrize(
    ("line", "servers"),
    [
        (b"nameserver\t10.0.0.1", ("10.0.0.1",)),
        (b"nameserver  10.0.0.1  # primary", ("10.0.0.1",)),
        (b"nameserver fe80::1%eth0", ("fe80::1",)),
        (b"nameserver ::ffff:10.0.0.1", ("10.0.0.1",)),
        (b"nameserver 2001:DB8:0::1", ("2001:db8::1",)),
        (b"# nameserver 10.0.0.1", ()),
        (b"; nameserver 10.0.0.1", ()),
        (b" nameserver 10.0.0.1", ()),
        (b"nameserver ns.example", ()),
        (b"nameserver", ()),
        (b"nameservers 10.0.0.1", ()),
    ],
)
def test_a_server_is_an_address_at_the_begin_of_its_line(line: bytes, servers: tuple[str, ...]) -> None:
    assert parse_resolv_conf(line + b"\n").servers == servers


def test_no_more_servers_count_than_a_c_library_asks() -> None:
    found = parse_resolv_conf(b"".join(b"nameserver 10.0.0.%d\n" % n for n in range(1, 6)) + b"nameserver x\n")
    assert (len(found.servers), found.left_out) == (SERVERS_MAX, 3)


def test_the_last_search_list_counts_and_domain_is_one() -> None:
    assert parse_resolv_conf(b"search a.example b.example\nsearch c.example\n").search == ("c.example",)
    assert parse_resolv_conf(b"search a.example\ndomain d.example\n").search == ("d.example",)
    assert parse_resolv_conf(b"search .\n").search == ()
    assert parse_resolv_conf(b"search\ta.example b.example\n").search == ("a.example", "b.example")


def test_more_domains_than_anybody_takes_are_counted() -> None:
    found = parse_resolv_conf(b"search " + b" ".join(b"d%d" % n for n in range(SEARCH_MAX + 2)))
    assert (len(found.search), found.left_out) == (SEARCH_MAX, 2)


@pytest.mark.parametrize(
    ("options", "ndots"), [(b"ndots:99", 15), (b"ndots:-1", 1), (b"ndots:", 1), (b"ndots:5 ndots:2", 2), (b"ndots", 1)]
)
def test_options_are_cut_as_the_library_cuts_them(options: bytes, ndots: int) -> None:
    assert parse_resolv_conf(b"options " + options + b"\n").ndots == ndots


def test_names_are_cleaned() -> None:
    assert parse_resolv_conf(b"search a\x1b[31m\xff.example\n").search == ("a\ufffd[31m\ufffd.example",)


@given(damaged(POD))
def test_any_bytes_make_a_file_within_bounds(data: bytes) -> None:
    found = parse_resolv_conf(data)
    assert len(found.servers) <= SERVERS_MAX
    assert len(found.search) <= SEARCH_MAX
    assert all(canonical(server) == server for server in found.servers)
    assert 0 <= found.ndots <= 15


@given(st.text(max_size=30))
def test_an_address_is_canonical_or_none(text: str) -> None:
    found = canonical(text)
    assert found is None or canonical(found) == found


def test_the_file_of_a_process_is_read_below_its_root(machine: Path) -> None:
    (machine / "proc/7/root/etc/resolv.conf").write_bytes(POD)
    assert read(machine).servers == ("10.96.0.10",)


def test_an_absolute_link_is_followed_as_the_process_would(machine: Path) -> None:
    run = machine / "proc/7/root/run"
    run.mkdir()
    (run / "stub.conf").write_text("nameserver 127.0.0.53\n")
    (machine / "proc/7/root/etc/resolv.conf").symlink_to("/run/stub.conf")
    assert read(machine).servers == ("127.0.0.53",)


def test_a_link_out_of_the_root_stays_in_it(machine: Path) -> None:
    (machine / "outside.conf").write_text("nameserver 10.0.0.1\n")
    (machine / "proc/7/root/etc/resolv.conf").symlink_to("../../../../outside.conf")
    with pytest.raises(UnreadableError, match="does not exist here"):
        read(machine)


def test_a_pipe_or_directory_is_not_read(machine: Path) -> None:
    place = machine / "proc/7/root/etc/resolv.conf"
    os.mkfifo(place)
    with pytest.raises(UnreadableError, match="no regular file"):
        read(machine)
    place.unlink()
    place.mkdir()
    with pytest.raises(UnreadableError, match="no regular file"):
        read(machine)


def test_a_file_of_any_length_is_read_to_its_bound(machine: Path) -> None:
    place = machine / "proc/7/root/etc/resolv.conf"
    place.write_bytes(b"#" * FILE_BYTES_MAX + b"\nnameserver 10.0.0.1\n")
    assert read(machine).servers == ()


def test_a_container_without_the_file_is_told_from_an_empty_one(machine: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read(machine)
