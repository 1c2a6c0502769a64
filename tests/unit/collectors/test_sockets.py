"""The sockets collector's own bookkeeping; what it finds is compared with ss and sockstat in tests/netns."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors.sockets import SocketsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.sockets import Sockets


def write_alloc(root: Path, sockets: int) -> None:
    stat = root / "thread-self/net/sockstat"
    stat.parent.mkdir(parents=True, exist_ok=True)
    stat.write_text(f"sockets: used 9\nTCP: inuse 1 orphan 0 tw 0 alloc {sockets} mem 3\n")


@pytest.mark.parametrize(("before", "after", "kept"), [(70, 4, 4), (4, 70, 4), (5, 5, 5)])
def test_the_kernels_number_is_the_smaller_of_before_and_after_the_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int, kept: int
) -> None:
    def one_pass(_: SocketsCollector) -> Sockets:
        write_alloc(tmp_path, after)
        return Sockets(method="bpf", groups=())

    monkeypatch.setattr(SocketsCollector, "_pass", one_pass)
    write_alloc(tmp_path, before)
    collector = SocketsCollector(Roots(proc=tmp_path), read_support(Roots()), bpf=False)
    assert collector.collect().alloc_sockets == kept


def test_a_number_that_cannot_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketsCollector, "_pass", lambda _: Sockets(method="bpf", groups=()))
    collector = SocketsCollector(Roots(proc=tmp_path), read_support(Roots()), bpf=False)
    assert collector.collect().alloc_sockets is None
