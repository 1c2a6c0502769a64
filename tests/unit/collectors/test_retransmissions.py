"""What a sample of repeated segments holds, and what is said where there is none."""

from __future__ import annotations

import pytest

from whodunnet.collectors import retransmissions as module
from whodunnet.collectors.retransmissions import RetransmissionsCollector, most_repeated
from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.repeats import Repeats
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.retransmissions import Destination


def to(n: int, fast: int = 0, closed: int = 0) -> Destination:
    return Destination(netns=5, remote=f"203.0.113.{n}", port=443, fast=fast, closed=closed)


class Watch:
    """Has one destination more than a sample."""

    attached_at = 0.0
    made = closed = 0

    def __init__(self, *_: object) -> None:
        type(self).made += 1

    def read(self) -> Repeats:
        found = [to(n, n) for n in range(module.DESTINATIONS_LIMIT + 2)]
        return Repeats(found, elsewhere=1, inside=2, other=3, untracked=4, forgotten=5, missed=6)

    def close(self) -> None:
        type(self).closed += 1


def test_a_sample_has_the_most_and_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RepeatWatch", Watch)
    collector = RetransmissionsCollector(read_support(Roots()))
    sample = collector.collect()
    assert collector.collect().started_seconds == sample.started_seconds > 0
    collector.close()
    assert (Watch.made, Watch.closed) == (1, 1)
    assert len(sample.destinations) == module.DESTINATIONS_LIMIT
    assert (sample.other, sample.elsewhere, sample.inside) == (3 + 0 + 1, 1, 2)
    assert (sample.untracked, sample.forgotten, sample.missed) == (4, 5, 6)


def test_those_with_most_are_kept_in_an_order_that_stays() -> None:
    kept, left_out = most_repeated([to(3, 5), to(2, 9), to(4, 1, closed=7), to(1, 2)], at_most=3)
    assert ([d.remote[-1] for d in kept], left_out) == (["2", "3", "4"], 2)


def test_without_bpf_there_is_a_reason_and_no_sample() -> None:
    collector = RetransmissionsCollector(read_support(Roots()), bpf=False)
    for _ in range(2):
        with pytest.raises(UnreadableError, match="--no-bpf"):
            collector.collect()
    collector.close()


def test_what_is_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise UnreadableError("not here", code="missing-capability", missing_capability="CAP_BPF")

    monkeypatch.setattr(module, "RepeatWatch", refuse)
    collector = RetransmissionsCollector(read_support(Roots()))
    for _ in range(2):
        with pytest.raises(UnreadableError, match="not here"):
            collector.collect()
    assert tried == [1]
