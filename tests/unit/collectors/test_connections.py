"""Sums of how connections ended: nothing is lost where there is no room. And what is read where BPF is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors import connections
from whodunnet.collectors.connections import TCP_COUNTERS, TCP_EXT_COUNTERS, ConnectionsCollector, Sums
from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.connection_ends import End, EndTotal
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.connections import Connections, Span
from whodunnet.model.sockets import Endpoint

MACHINES = Path(__file__).parents[2] / "fixtures/proc"
FIRST, SECOND = 4026531833, 4026532178
SNMP = (
    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs"
    " RetransSegs InErrs OutRsts InCsumErrors\n"
    "Tcp: 1 200 120000 -1 3740 3162 13 119 0 2242746 2219552 1 0 1744 0\n"
)


def end(client: str | None = "10.0.0.2") -> End:
    server = Endpoint("10.0.0.1", 80)
    return End(1, "initiated", "closed-by-peer", "established", server, client, 7, "client", 1.0, False)


def test_the_same_class_is_added_up() -> None:
    sums = Sums()
    for number, seconds in ((2, 10.0), (3, 15.1)):
        sums.add([EndTotal(end(), 50, number, seconds)])
    (group,) = sums.groups()
    assert (group.connections, group.spans) == (5, (Span(5.0, 5.1, 5, 25.1),))


def test_classes_stand_in_rising_order() -> None:
    sums = Sums()
    sums.add(EndTotal(end(), number, 1, number / 10) for number in (99, 0, 50))
    (group,) = sums.groups()
    assert [span.since for span in group.spans] == [0.0, 5.0, 9.9]


def test_what_did_not_change_is_the_same_object_as_the_last_time() -> None:
    sums = Sums()
    sums.add(EndTotal(end(client), 50, 1, 5.0) for client in ("10.0.0.2", "10.0.0.3"))
    before = sums.groups()
    sums.add([EndTotal(end("10.0.0.3"), 50, 1, 5.0)])
    after = sums.groups()
    assert after[0] is before[0]
    assert [g.connections for g in (*before, *after)] == [1, 1, 1, 2]


def test_what_the_program_merged_is_shown_without_client_and_counted_once() -> None:
    """It says how many there are since its start, each time."""
    sums = Sums()
    sums.add([EndTotal(end(), 50, 1, 5.0)])
    for so_far in (4, 4, 6):
        sums.add_merged([EndTotal(end(None), None, so_far, 20.0)])
    assert {g.client: g.connections for g in sums.groups()} == {"10.0.0.2": 1, None: 6}


def limit(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    for name, number in limits.items():
        monkeypatch.setattr(connections, name, number)


def of_process(n: int, client: str = "10.0.0.2", comm: str = "curl") -> End:
    return end(client)._replace(owner_pid=n, process_started_seconds=float(n), comm=comm)


Found = tuple[str | None, int | None, str, float, int, int]


def found_by(sums: Sums) -> list[Found]:
    found = [
        (g.client, g.owner_pid, g.comm, g.process_started_seconds, g.connections, len(g.spans)) for g in sums.groups()
    ]
    return sorted(found, key=str)


def test_what_finds_no_room_loses_its_process_first_then_its_client_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, PROCESS_GROUPS_LIMIT=2, GROUPS_LIMIT=3)
    sums = Sums()
    sums.add(EndTotal(of_process(n), 50 + n, 1, 5.0) for n in range(1, 6))
    sums.add(EndTotal(of_process(n, "10.0.0.9"), 50, 1, 5.0) for n in range(1, 4))
    assert found_by(sums) == [
        ("10.0.0.2", 1, "curl", 1.0, 1, 1),
        ("10.0.0.2", 2, "curl", 2.0, 1, 1),
        ("10.0.0.2", None, "curl", 0.0, 3, 3),
        (None, None, "curl", 0.0, 3, 0),
    ]
    assert sums.other == {}


def test_a_script_that_calls_one_program_all_day_leaves_room_for_others() -> None:
    """Dead processes are never forgotten, so that numbers only grow; those of one name are one group from some on."""
    sums = Sums()
    for n in range(5000):
        sums.add([EndTotal(of_process(n + 1), 50, 1, 5.0)])
    sums.add([EndTotal(of_process(9, comm="server"), 50, 1, 5.0)])
    assert len(sums.groups()) == connections.PROCESSES_LIMIT + 2
    assert ("10.0.0.2", None, "curl", 0.0, 5000 - connections.PROCESSES_LIMIT, 1) in found_by(sums)
    assert ("10.0.0.2", 9, "server", 9.0, 1, 1) in found_by(sums)


def test_a_process_that_has_groups_of_its_own_gets_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, PROCESSES_LIMIT=1)
    sums = Sums()
    for client in ("10.0.0.2", "10.0.0.3"):
        sums.add(EndTotal(of_process(n, client), 50, 1, 5.0) for n in (1, 2))
    assert {(g.client, g.owner_pid) for g in sums.groups()} == {
        (client, pid) for client in ("10.0.0.2", "10.0.0.3") for pid in (1, None)
    }


def test_what_finds_no_merged_group_is_counted_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, GROUPS_LIMIT=0, PROCESS_GROUPS_LIMIT=0, MERGED_LIMIT=0)
    sums = Sums()
    sums.add([EndTotal(end(), 50, 4, 20.0)])
    assert sums.groups() == ()
    assert sums.other == {"closed-by-peer": 4}


def test_classes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, PROCESS_SPANS_LIMIT=2, SPANS_LIMIT=3)
    sums = Sums()
    sums.add(EndTotal(end(), number, 1, 0.0) for number in (1, 2, 3, 1, 4))
    found = {(g.client, g.owner_pid): (g.connections, len(g.spans)) for g in sums.groups()}
    assert found == {("10.0.0.2", 7): (3, 2), ("10.0.0.2", None): (1, 1), (None, None): (1, 0)}


TOTALS = st.lists(
    st.builds(
        lambda client, port, pid, number, n: EndTotal(
            end(client)._replace(server=Endpoint("10.0.0.1", port), owner_pid=pid),
            None if client is None else number,  # what the program merged has neither
            n,
            1.0,
        ),
        st.sampled_from(["10.0.0.2", "10.0.0.3", None]),
        *(st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.integers(1, 9)),
    ),
    max_size=30,
)


SMALL = st.integers(0, 4)


@given(st.lists(TOTALS, max_size=4), SMALL, SMALL, SMALL, SMALL)
def test_every_connection_is_counted_once_and_no_number_of_a_group_ever_falls(
    readings: list[list[EndTotal]], groups: int, spans: int, merged: int, processes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        limit(patch, PROCESS_GROUPS_LIMIT=groups, PROCESS_SPANS_LIMIT=spans, PROCESSES_LIMIT=processes)
        limit(patch, GROUPS_LIMIT=groups + 2, SPANS_LIMIT=spans + 2, MERGED_LIMIT=merged)
        sums, before = Sums(), {}
        for n in range(len(readings)):
            sums.add(readings[n])
            found = {msgspec.structs.replace(g, connections=0, spans=()): g for g in sums.groups()}
            assert len(found) == len(sums.groups()) <= groups + 2 + merged
            assert sum(len(g.spans) for g in found.values()) <= spans + 2
            total = sum(g.connections for g in found.values()) + sums.other.total()
            assert total == sum(t.connections for reading in readings[: n + 1] for t in reading)
            assert all(found[key].connections >= g.connections for key, g in before.items())
            before = found


def full() -> Connections:
    """As many groups and classes as there may be, with long texts."""
    sums = Sums()
    sums.add(
        EndTotal(
            End(
                4026531833 + n % 50, "accepted", "closed-by-peer", "established",
                Endpoint(f"fd00:10:244:{n:x}::{n:x}", 60_000), f"fd00:10:245:{n:x}::{n:x}", 3_000_000 + n,
                "nginx-worker-ab", 39_220.717485812 + n, last_word=True, unanswered=True, asked=True,
            ),
            number, 123_456, 12_345.678901,
        )
        for n in range(connections.GROUPS_LIMIT + 2 * connections.MERGED_LIMIT)
        for number in range(40, 43 if n % 5 < 2 else 42)
    )  # fmt: skip
    return Connections(groups=sums.groups(), watched_seconds=3600.0, other=dict(sums.other))


def test_the_largest_sample_is_about_a_megabyte() -> None:
    sample = full()
    assert len(sample.groups) == connections.GROUPS_LIMIT + connections.MERGED_LIMIT
    assert sum(len(g.spans) for g in sample.groups) == connections.SPANS_LIMIT
    assert 0.9e6 < len(msgspec.json.encode(sample)) < 1.2e6


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of the recorded machine, with the counters of its two namespaces."""
    found = Path(shutil.copytree(MACHINES / "linux-6.18", tmp_path / "machine", symlinks=True))
    for task in ("1", "42"):
        (found / "proc" / task / "net/snmp").write_text(SNMP)
    return found


def collect(machine: Path) -> Connections:
    return ConnectionsCollector(Roots.below(machine), read_support(Roots()), bpf=False).collect()


def test_without_bpf_there_are_counters_of_each_namespace_and_the_reason(machine: Path) -> None:
    sample = collect(machine)
    assert (sample.method, sample.groups) == ("counters", ())
    assert (sample.fallback_reason, sample.missing_capability) == ("BPF was switched off with --no-bpf", None)
    assert set(sample.counters) == {FIRST, SECOND}
    assert {name: sample.counters[SECOND][name] for name in TCP_COUNTERS} == {
        "ActiveOpens": 3740, "PassiveOpens": 3162, "AttemptFails": 13, "EstabResets": 119, "OutRsts": 1744,
    }  # fmt: skip
    assert set(sample.counters[SECOND]) == {*TCP_COUNTERS, *TCP_EXT_COUNTERS}
    assert sample.netns_unread == 0


def test_a_namespace_whose_counters_cannot_be_read_is_counted(machine: Path) -> None:
    (machine / "proc/42/net/snmp").unlink()
    (machine / "proc/self/mountinfo").write_bytes(b"")
    sample = collect(machine)
    assert (set(sample.counters), sample.netns_unread) == ({FIRST}, 1)


def test_where_bpf_is_refused_the_right_that_is_missing_is_said(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(support: object) -> None:
        asked.append(support)
        raise UnreadableError("BPF is refused", code="missing-capability", missing_capability="CAP_BPF")

    monkeypatch.setattr(connections, "ConnectionEnds", refuse)
    collector = ConnectionsCollector(Roots.below(machine), read_support(Roots()))
    samples = [collector.collect(), collector.collect()]
    collector.close()
    for sample in samples:
        assert (sample.method, sample.fallback_reason) == ("counters", "BPF is refused")
        assert sample.missing_capability == "CAP_BPF"
    assert len(asked) == 1
