"""A node that has no file left: who cannot accept is a victim of it, whatever its queue looks like."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.causes import link
from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.snapshot import Recording

from .nodes import finding, named, parties, pids
from .suspects import logged
from .test_accept_queue import RULE as QUEUE_RULE
from .test_accept_queue import filled, stretched
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


def with_log(node: Recording, seconds: float) -> Recording:
    """The kernel logged so long after the first moment that the limit was reached."""
    log = logged("file-max", seconds)
    return replace(node, snapshots=tuple(replace(s, samples=s.samples | {"kernel_log": log}) for s in node.snapshots))


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


@pytest.mark.parametrize("rule", ["socket-leak", QUEUE_RULE])
@pytest.mark.parametrize(
    "files",
    [(1000, 1000, 1000), (10, 10, 1000), (1000, 10, 10), (10, 1000, 10)],
)
def test_both_stand_under_the_node_that_had_none_in_any_reading(rule: str, files: tuple[int, ...]) -> None:
    assert_under_the_node(with_files(stuck() if rule == "socket-leak" else filled(6, 6, 6), *files), rule)


@pytest.mark.parametrize("rule", ["socket-leak", QUEUE_RULE])
def test_who_was_refused_a_socket_elsewhere_excuses_nobody(rule: str) -> None:
    """In each reading there was room, and whoever is denied tries again at once."""
    node = with_files(stuck() if rule == "socket-leak" else filled(6, 6, 6), 850, 850, 400)
    refused = RefusedFiles(pid=99, comm="other", started_seconds=5.0, times=500)
    files = node.snapshots[-1].samples["descriptors"]
    last = replace(files, refused=(refused,), refusals_watched=True)
    *before, newest = node.snapshots
    node = replace(node, snapshots=(*before, replace(newest, samples=newest.samples | {"descriptors": last})))
    assert finding(node, "descriptor-limit").shape == "node-refused"
    assert [p.role for p in finding(node, rule).parties if p.process] == ["culprit"]


@pytest.mark.parametrize("rule", ["socket-leak", QUEUE_RULE])
def test_both_stand_under_the_node_of_which_only_the_log_says_so(rule: str) -> None:
    node = with_files(stuck() if rule == "socket-leak" else filled(6, 6, 6), 10, 10, 10)
    assert_under_the_node(with_log(node, 1.0), rule)
    found = finding(with_log(node, -60.0), rule)
    assert [p.role for p in found.parties if p.process] == ["culprit"]


def assert_under_the_node(node: Recording, rule: str) -> None:
    cause, found = link([finding(node, "descriptor-limit"), finding(node, rule)])
    assert (cause.shape, found.caused_by) == ("node-exhausted", (cause.id,))
    assert [p.role for p in found.parties if p.process] == ["victim"]
    assert (found.confidence, parties(found, "culprit")) == ("possible", [])


def test_the_log_alone_is_enough_to_name_nobody() -> None:
    found = finding(with_log(stuck(), 1.0))
    assert [p.role for p in found.parties if p.process] == ["victim"]


@pytest.mark.parametrize("state", ["stopped", "frozen"])
def test_who_is_halted_is_held_by_that_and_not_by_the_limit(state: str) -> None:
    full = with_files(filled(6, 6, 6, workloads=named(7, state=state)), 1000, 1000, 1000)
    cause, found = link([finding(full, "descriptor-limit"), finding(full, QUEUE_RULE)])
    assert (found.shape, found.confidence, pids(found, "reader")) == ("stuck", "proven", [7])
    assert (cause.shape, found.caused_by) == ("node-exhausted", ())
    assert not any("fs.file-max" in line for line in found.explanation)


def test_a_shared_listener_of_which_one_process_is_halted_is_not_put_under_the_limit() -> None:
    known = named(7, 8)
    states = {7: "sleeping", 8: "stopped"}
    processes = {pid: replace(known.by_pid[pid].process, exe="/app", state=state) for pid, state in states.items()}  # type: ignore[type-var]
    owners = replace(known, by_pid={pid: replace(known.by_pid[pid], process=p) for pid, p in processes.items()})
    full = with_files(filled(6, 6, 6, workloads=owners, shared=True), 1000, 1000, 1000)
    cause, found = link([finding(full, "descriptor-limit"), finding(full, QUEUE_RULE)])
    assert (cause.shape, pids(found, "reader"), found.caused_by) == ("node-exhausted", [8], ())


@pytest.mark.parametrize("rule", ["socket-leak", QUEUE_RULE])
@pytest.mark.parametrize("logs", [False, True])
def test_who_still_accepts_nothing_long_after_there_were_files_again_is_at_fault(rule: str, logs: bool) -> None:
    full = stuck() if rule == "socket-leak" else filled(6, 6, 6)
    node = with_log(with_files(full, 10, 10, 10), 1.0) if logs else with_files(full, 1000, 10, 10)
    node = stretched(node, 120.0)
    cause, found = link([finding(node, "descriptor-limit"), finding(node, rule)])
    assert (cause.shape, cause.severity, found.caused_by) == ("node-exhausted", "warning", ())
    assert [p.role for p in found.parties if p.process] == ["culprit"]


@pytest.mark.parametrize("rule", ["socket-leak", QUEUE_RULE])
def test_whether_the_limit_holds_for_it_is_not_known(rule: str) -> None:
    """Who has CAP_SYS_ADMIN may open files beyond it (alloc_empty_file)."""
    full = with_files(stuck() if rule == "socket-leak" else filled(6, 6, 6), 1000, 1000, 1000)
    found = finding(full, rule)
    assert str(parties(found, "victim")[0].effect).startswith("may not be able to accept")
    assert any("CAP_SYS_ADMIN" in line for line in found.explanation)
