"""The ports collector: where ports are read at all, and how they are counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from whodunnet.collectors import ports
from whodunnet.collectors.ports import PortsCollector, read_uses
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Namespaces, Way
from whodunnet.kernel.netlink.sock_diag_messages import SocketEnds
from whodunnet.kernel.roots import Roots
from whodunnet.model.ports import NamespacePorts, PortUse, SourcePorts
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.sockets import Endpoint

OWN, OTHER = 11, 12
SOCKSTAT = (
    "sockets: used 9\nTCP: inuse {} orphan 0 tw {} alloc 9 mem 1\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\n"
    "RAW: inuse 0\nFRAG: inuse 0 memory 0\n"
)
ESTABLISHED, FIN_WAIT_2, TIME_WAIT, CLOSE, LISTEN = 1, 5, 6, 7, 10
TIMER_TIME_WAIT = 3
RANGE = Settings(
    by_netns={n: NamespaceSettings(values={"net.ipv4.ip_local_port_range": (40_000, 40_099)}) for n in (OWN, OTHER)}
)


def end(state: int, own_port: int = 40_000, to: str = "10.0.0.9", port: int = 80, timer: int = 0) -> SocketEnds:
    own, other = (socket.inet_aton(a).ljust(16, b"\0") for a in ("10.0.0.1", to))
    return SocketEnds((socket.AF_INET, state, timer), own_port, port.to_bytes(2, "big") + own + other)


def mapped(state: int, own_port: int) -> SocketEnds:
    own, other = (bytes(10) + b"\xff\xff" + socket.inet_aton(a) for a in ("10.0.0.1", "10.0.0.9"))
    return SocketEnds((socket.AF_INET6, state, 0), own_port, (80).to_bytes(2, "big") + own + other)


def other_address(own_port: int) -> SocketEnds:
    own, other = (socket.inet_aton(a).ljust(16, b"\0") for a in ("10.0.0.2", "10.0.0.9"))
    return SocketEnds((socket.AF_INET, ESTABLISHED, 0), own_port, (80).to_bytes(2, "big") + own + other)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What sock_diag has, and which ports it was asked for."""
    given: dict[str, Any] = {"ends": [], "asked": []}

    class Diag:
        def __enter__(self) -> Diag:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ends(self, first: int, last: int) -> Iterator[SocketEnds]:
            given["asked"].append((first, last))
            if isinstance(given["ends"], Exception):
                raise given["ends"]
            yield from given["ends"]

    monkeypatch.setattr(ports, "SockDiag", Diag)
    return given


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = Namespaces(ways={OWN: Way(pid=1), OTHER: Way(pid=2)})
    monkeypatch.setattr(namespaces, "find", lambda _roots: found)
    monkeypatch.setattr(namespaces, "own", lambda _roots: OWN)
    monkeypatch.setattr(namespaces, "of_process", lambda _roots, _pid: OTHER)
    count(tmp_path, "thread-self", 0, 0)
    count(tmp_path, "2", 0, 0)
    return tmp_path


def count(machine: Path, task: str, sockets: int, time_wait: int) -> None:
    path = machine / "proc" / task / "net/sockstat"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOCKSTAT.format(sockets, time_wait))


def uses(ends: Sequence[SocketEnds], asked: dict[str, Any]) -> NamespacePorts:
    asked["ends"] = ends
    return read_uses(40_000, 40_099, NamespacePorts(sockets=1, time_wait=2))


def test_sockets_are_counted_by_endpoint_in_three(asked: dict[str, Any]) -> None:
    ends = [
        end(ESTABLISHED), end(ESTABLISHED, 40_001), end(FIN_WAIT_2, 40_002), end(TIME_WAIT, timer=TIMER_TIME_WAIT),
        end(FIN_WAIT_2, timer=TIMER_TIME_WAIT), end(ESTABLISHED, to="10.0.0.8"),
    ]  # fmt: skip
    found = uses(ends, asked)
    assert found.uses == (
        PortUse(source="10.0.0.1", destination=Endpoint("10.0.0.9", 80), open=2, closing=1, time_wait=2),
        PortUse(source="10.0.0.1", destination=Endpoint("10.0.0.8", 80), open=1),
    )
    assert (found.sockets, found.time_wait) == (1, 2)


def test_a_port_is_the_same_for_sockets_of_both_families(asked: dict[str, Any]) -> None:
    (use,) = uses([end(ESTABLISHED), mapped(ESTABLISHED, 40_001)], asked).uses or ()
    assert (use.source, use.destination, use.open) == ("10.0.0.1", Endpoint("10.0.0.9", 80), 2)


def test_ports_of_one_address_are_counted_once_whatever_their_endpoints(asked: dict[str, Any]) -> None:
    ends = [
        end(ESTABLISHED), end(ESTABLISHED, to="10.0.0.8"), end(ESTABLISHED, 40_001), end(ESTABLISHED, 40_001),
        mapped(ESTABLISHED, 40_002), end(TIME_WAIT, 40_003, timer=TIMER_TIME_WAIT),
    ]  # fmt: skip
    found = uses(ends, asked)
    assert found.sources == (SourcePorts(source="10.0.0.1", ports=4, shared=1, time_wait=1),)


def test_a_port_is_shared_by_sockets_of_both_families(asked: dict[str, Any]) -> None:
    (found,) = uses([end(ESTABLISHED, to="10.0.0.8"), mapped(ESTABLISHED, 40_000)], asked).sources
    assert (found.ports, found.shared) == (1, 1)


def test_what_was_accepted_has_no_port_of_its_own(asked: dict[str, Any]) -> None:
    ends = [end(LISTEN), *(end(ESTABLISHED, port=50_000 + n) for n in range(3)), end(ESTABLISHED, 40_001)]
    assert uses(ends, asked).sources == (SourcePorts(source="10.0.0.1", ports=1),)
    assert uses(ends[:4], asked).sources == ()


def test_what_was_accepted_and_closed_has_no_port_of_its_own(asked: dict[str, Any]) -> None:
    closed = [end(TIME_WAIT, port=50_000 + n, timer=TIMER_TIME_WAIT) for n in range(30)]
    opened = [end(ESTABLISHED, 40_001 + n) for n in range(26)]
    own = end(TIME_WAIT, 40_050, timer=TIMER_TIME_WAIT)
    for before, after in (([end(LISTEN)], []), ([], [end(LISTEN)])):
        found = uses([*before, *closed, *opened, own, *after], asked).sources
        assert found == (SourcePorts(source="10.0.0.1", ports=27, time_wait=1),)


def test_ports_in_time_wait_are_counted_once_whoever_listened_before(asked: dict[str, Any]) -> None:
    closed = [end(TIME_WAIT, port=50_000 + n, timer=TIMER_TIME_WAIT) for n in range(30)]
    found = uses([*closed, end(ESTABLISHED, 40_001)], asked).sources
    assert found == (SourcePorts(source="10.0.0.1", ports=2, shared=1, time_wait=1),)


def test_the_addresses_with_most_ports_are_kept(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "SOURCES_LIMIT", 1)
    (found,) = uses([end(ESTABLISHED), end(ESTABLISHED, 40_001), other_address(40_002)], asked).sources
    assert (found.source, found.ports) == ("10.0.0.1", 2)


def test_ports_that_are_listened_on_or_bound_are_counted_once(asked: dict[str, Any]) -> None:
    found = uses([end(LISTEN), end(LISTEN), end(CLOSE, 40_001)], asked)
    assert (found.bound, found.uses) == (2, ())


def test_the_endpoints_with_most_ports_are_kept(asked: dict[str, Any]) -> None:
    ends = [end(ESTABLISHED, to=f"10.0.1.{n}") for n in range(200) for _ in range(1 + (n == 150))]
    found = uses(ends, asked)
    assert len(found.uses or ()) == ports.USES_LIMIT
    assert (found.uses or ())[0].destination == Endpoint("10.0.1.150", 80)


def test_more_sockets_than_the_limit_are_an_error(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "SOCKETS_LIMIT", 2)
    with pytest.raises(UnreadableError, match="more than 2 sockets"):
        uses([end(ESTABLISHED)] * 3, asked)


@pytest.mark.parametrize(
    ("sockets", "waiting", "read"), [(49, 0, False), (50, 0, True), (0, 50, True), (20, 29, False)]
)
def test_ports_are_read_where_they_may_run_out(
    machine: Path, asked: dict[str, Any], sockets: int, waiting: int, read: bool
) -> None:
    count(machine, "thread-self", sockets, waiting)
    asked["ends"] = [end(ESTABLISHED)]
    sample = PortsCollector(Roots.below(machine), lambda: RANGE).collect()
    assert asked["asked"] == ([(40_000, 40_099)] if read else [])
    assert (sample.by_netns[OWN].uses is not None) is read
    assert (sample.by_netns[OWN].sockets, sample.by_netns[OWN].time_wait) == (sockets, waiting)
    assert sample.by_netns[OTHER].uses is None


def test_without_the_range_nothing_is_read(machine: Path, asked: dict[str, Any]) -> None:
    count(machine, "thread-self", 5_000, 0)
    for known in (None, Settings()):
        found = PortsCollector(Roots.below(machine), lambda known=known: known).collect()  # type: ignore[misc]
        assert found.by_netns[OWN] == NamespacePorts(sockets=5_000, time_wait=0)
    assert asked["asked"] == []


def test_what_the_kernel_refuses_is_said_beside_the_number(machine: Path, asked: dict[str, Any]) -> None:
    count(machine, "thread-self", 90, 0)
    asked["ends"] = UnreadableError("netlink request 20: Operation not permitted")
    found = PortsCollector(Roots.below(machine), lambda: RANGE).collect().by_netns[OWN]
    assert (found.uses, found.unread) == (None, "netlink request 20: Operation not permitted")


def test_a_namespace_with_few_sockets_is_counted_again_only_after_a_while(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = PortsCollector(Roots.below(machine), lambda: RANGE)
    collector.collect()
    count(machine, "2", 9, 0)
    assert collector.collect().by_netns[OTHER].sockets == 0
    monkeypatch.setattr(ports, "AGAIN_SECONDS", 0.0)
    assert collector.collect().by_netns[OTHER].sockets == 9
    count(machine, "2", 10, 0)
    collector.collect()
    count(machine, "2", 30, 0)
    monkeypatch.setattr(ports, "AGAIN_SECONDS", 2.5)
    assert collector.collect().by_netns[OTHER].sockets == 30


@pytest.mark.parametrize(("buckets", "counted"), [(9, 5), (10, 0)])
def test_where_time_wait_is_full_with_few_it_is_counted_each_time(machine: Path, buckets: int, counted: int) -> None:
    values = {"net.ipv4.ip_local_port_range": (40_000, 40_099), "net.ipv4.tcp_max_tw_buckets": (buckets,)}
    known = Settings(by_netns={OTHER: NamespaceSettings(values=values)})
    collector = PortsCollector(Roots.below(machine), lambda: known)
    collector.collect()
    count(machine, "2", 0, 5)
    assert collector.collect().by_netns[OTHER].time_wait == counted


def test_a_namespace_that_cannot_be_counted_is_unread(machine: Path) -> None:
    (machine / "proc/2/net/sockstat").unlink()
    sample = PortsCollector(Roots.below(machine), lambda: RANGE).collect()
    assert (list(sample.by_netns), sample.netns_unread) == ([OWN], 1)
