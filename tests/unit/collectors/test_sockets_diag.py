"""The pass over namespaces with a made-up kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from whodunnet.collectors import sockets_diag
from whodunnet.collectors.sockets_diag import collect_by_sock_diag
from whodunnet.collectors.sockets_diag_groups import Grouping, Positions
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots

from .grouping import ALL_SEEN, PORTS, SERVER


class Kernel:
    """Namespaces 1 (ours), 2 and 3 (refused), each with the same socket; stands in for namespaces and SockDiag."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "thread-self/ns").mkdir(parents=True)
        (tmp_path / "thread-self/ns/net").symlink_to("net:[1]")
        self.roots = Roots(proc=tmp_path)
        self.entered: list[int | None] = []
        self.refused = {3}
        ways = {number: namespaces.Way(pid=number) for number in (1, 2, 3)}
        monkeypatch.setattr(namespaces, "find", lambda _: namespaces.Namespaces(ways=ways, unidentified=4))
        monkeypatch.setattr(namespaces, "inside", self.inside)
        monkeypatch.setattr(sockets_diag, "_read_namespace", self.read)
        monkeypatch.setattr(sockets_diag, "read_socket_holders", lambda _: ALL_SEEN)

    def inside(self, path: Path, inum: int | None, call: Callable[[], None]) -> None:
        assert path == self.roots.proc / str(inum) / "ns/net"
        if inum in self.refused:
            raise UnreadableError("no CAP_SYS_ADMIN", "missing-capability", "CAP_SYS_ADMIN")
        self.entered.append(inum)
        call()

    def read(self, netns: int, grouping: Grouping, _: object) -> None:
        if netns in self.refused:
            raise UnreadableError("refused", "unsupported")
        grouping.add(netns, "tcp", SERVER, PORTS)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    return Kernel(monkeypatch, tmp_path)


def test_each_namespace_once_and_the_refused_counted(kernel: Kernel) -> None:
    sample = collect_by_sock_diag(kernel.roots, 16384, Positions())
    assert kernel.entered == [2]  # our own needs no entering
    assert [group.netns for group in sample.groups] == [1, 2]
    assert (sample.method, sample.netns_total, sample.netns_unread, sample.page_size_bytes) == (
        "sock_diag",
        None,
        5,
        16384,
    )
    assert any("could not be entered or read: 5 (first reason: no CAP_SYS_ADMIN)" in text for text in sample.not_seen)


def test_a_namespace_is_left_out_when_time_is_up(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag, "READING_SECONDS_MAX", -1.0)
    sample = collect_by_sock_diag(kernel.roots, 4096, Positions())
    assert kernel.entered == []
    assert ([group.netns for group in sample.groups], sample.netns_unread) == ([1], 2 + 4)


def test_nothing_readable_is_an_error_not_an_empty_sample(kernel: Kernel) -> None:
    kernel.refused = {1, 2, 3}
    with pytest.raises(UnreadableError) as caught:
        collect_by_sock_diag(kernel.roots, 4096, Positions())
    assert caught.value.code == "unsupported"
