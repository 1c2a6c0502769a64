"""A node that has no file left: who cannot accept is a victim of it, whatever its queue looks like."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.causes import link
from whodunnet.model.descriptors import Descriptors, DescriptorUse
from whodunnet.model.snapshot import Recording

from .nodes import finding, parties
from .test_accept_queue import RULE as QUEUE_RULE
from .test_accept_queue import filled
from .test_leak_compared import queue

INDEXER = DescriptorUse(pid=90, comm="indexer", started_seconds=5.0, open=900, limit=20_000)


def with_files(node: Recording, *open_files: int, most: int = 1000) -> Recording:
    """The node's open files at each moment, of which one process has most."""
    read = [Descriptors(fullest=(INDEXER,), processes=2, open_files=n, max_files=most) for n in open_files]
    return replace(
        node,
        snapshots=tuple(
            replace(s, samples=s.samples | {"descriptors": files})
            for s, files in zip(node.snapshots, read, strict=True)
        ),
    )


def stuck() -> Recording:
    return queue((0, 0, 0), (None, 90, 90))


@pytest.mark.parametrize(
    ("files", "role", "confidence"),
    [
        ((999, 999, 999), "culprit", "proven"),
        ((10, 10, 1000), "victim", "possible"),
        ((1000, 10, 10), "victim", "possible"),
    ],
)
def test_who_accepts_nothing_is_at_fault_only_while_there_are_files(
    files: tuple[int, ...], role: str, confidence: str
) -> None:
    found = finding(with_files(stuck(), *files))
    assert (found.shape, found.confidence) == ("accept-not-called", confidence)
    assert [p.role for p in found.parties if p.process] == [role]
    assert any(remedy.action == "restart-workload" for remedy in found.remedies) == (role == "culprit")


@pytest.mark.parametrize(("files", "role"), [(999, "culprit"), (1000, "victim")])
def test_so_is_who_has_a_full_queue(files: int, role: str) -> None:
    found = finding(with_files(filled(6, 6, 6), *[files] * 3), QUEUE_RULE)
    assert [p.role for p in found.parties] == [role]
    assert any(remedy.action == "restart-workload" for remedy in found.remedies) == (role == "culprit")


def test_both_stand_under_the_node_that_has_none() -> None:
    recordings = {"socket-leak": stuck(), QUEUE_RULE: filled(6, 6, 6)}
    for rule, node in recordings.items():
        full = with_files(node, 1000, 1000, 1000)
        cause, found = link([finding(full, "descriptor-limit"), finding(full, rule)])
        assert (cause.shape, found.caused_by) == ("node-exhausted", (cause.id,))
        assert parties(found, "culprit") == []
