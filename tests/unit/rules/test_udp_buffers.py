"""udp-buffers: whose socket had no room, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import DroppingSocket, Endpoint
from whodunnet.model.workload import Workloads
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .nodes import NETNS, at_each, finding, findings, named, pids
from .queued import counters, node, sockets, udp
from .quotas import under_quota

RULE = "udp-buffers"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_dropped"))
BEFORE = udp(1_000)


def lost(
    *after: DroppingSocket, before: tuple[DroppingSocket, ...] = (BEFORE,), workloads: Workloads | None = None,
    cut: bool = False, **rises: int,
) -> Recording:  # fmt: skip
    """rises: of counters, Udp_RcvbufErrors=10."""
    past = dict.fromkeys(rises, 5_000)
    now = {name: 5_000 + rise for name, rise in rises.items()}
    return node(
        [
            (counters(**past), sockets(dropping=before, dropping_cut=cut)),
            (counters(**now), sockets(dropping=after, dropping_cut=cut)),
        ],
        workloads=workloads,
    )


def room(n: int, read: int = 0) -> dict[str, int]:
    """Datagrams without room, which are errors too."""
    return {"Udp_RcvbufErrors": n, "Udp_InErrors": n, "Udp_InDatagrams": read}


def shapes(recording: Recording) -> list[str | None]:
    return [f.shape for f in findings(recording, RULE)]


def test_whose_socket_dropped_is_named_with_the_number_of_the_window() -> None:
    found = finding(lost(udp(1_000 + FLOOR), **room(FLOOR)), RULE)
    assert (found.shape, found.confidence, found.severity) == ("receiver-slow", "proven", "warning")
    assert (pids(found, "culprit"), found.parties[0].endpoint) == ([7], BEFORE.local)
    assert [(e.value, e.limit) for e in found.evidence] == [(FLOOR, FLOOR), (4_000, 4_000), (2, 2), (FLOOR, None)]
    assert found.title == f"app7 does not read fast enough at 10.0.0.1:5000: {FLOOR} datagrams dropped in 3.0 s"


@pytest.mark.parametrize(("n", "answer"), [(FLOOR - 1, []), (FLOOR, ["receiver-slow"])])
def test_a_handful_is_one_burst(n: int, answer: list[str]) -> None:
    assert shapes(lost(udp(1_000 + n), **room(n))) == answer


@pytest.mark.parametrize(("read", "answer"), [(10_000 * FLOOR - FLOOR, ["receiver-slow"]), (10_000 * FLOOR, [])])
def test_one_in_ten_thousand_is_what_any_path_loses(read: int, answer: list[str]) -> None:
    assert shapes(lost(udp(1_000 + FLOOR), **room(FLOOR, read))) == answer


def test_a_socket_that_was_opened_in_the_window_has_dropped_all_of_its_number() -> None:
    found = finding(lost(udp(50, inode=9), before=(), **room(50)), RULE)
    assert found.evidence[0].value == 50


def test_the_number_of_a_socket_begins_again_after_32_bits() -> None:
    found = finding(lost(udp(15), before=(udp(2**32 - 5),), **room(20)), RULE)
    assert found.evidence[0].value == 20


def test_drops_for_another_reason_are_no_lack_of_room() -> None:
    """A wrong checksum, or a filter that lets nothing pass."""
    (answer,) = judge(RULE, lost(udp(9_000, unread=0), Udp_InErrors=8_000, Udp_InCsumErrors=8_000))
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [0, 0, 0, 8_000]


def test_an_empty_socket_among_others_is_only_likely_the_one() -> None:
    alone = finding(lost(udp(1_500, unread=0), before=(udp(1_000, unread=0),), **room(500)), RULE)
    assert alone.confidence == "likely"
    two = findings(lost(udp(1_500), udp(2_500, port=6_000, pid=8, inode=3), **room(3_000)), RULE)
    assert [(f.confidence, pids(f, "culprit")) for f in two] == [("likely", [8]), ("likely", [7])]


def test_a_socket_that_a_filter_empties_is_not_named_for_what_others_had_no_room_for() -> None:
    """It was never full, and has dropped a hundred times what found no room in all."""
    filtered = udp(1_000 + 100 * FLOOR, unread=0)
    assert shapes(lost(filtered, before=(udp(1_000, unread=0),), **room(FLOOR))) == ["unseen"]


def test_a_socket_that_init_handed_on_is_not_inits() -> None:
    """Socket activation: init has it open as well."""
    handed = udp(1_000 + FLOOR, pid=1, shared=True)
    found = finding(lost(handed, before=(udp(1_000, pid=1, shared=True),), workloads=named(1), **room(FLOOR)), RULE)
    assert found.title.startswith("An unknown owner does not read fast enough")
    assert not pids(found, "culprit")[0]


def test_one_of_several_processes_that_is_halted_leaves_the_reading_to_the_others() -> None:
    stopped = named(7, state="stopped")
    assert shapes(lost(udp(1_500, shared=True), workloads=stopped, **room(500))) == ["receiver-slow"]


def test_a_counter_that_this_kernel_has_not_clears_nobody() -> None:
    unknown = replace(counters(), known=())
    for readings in ([(unknown, None)], [(unknown, None)] * 2, [(counters(netns=1), None), (counters(netns=2), None)]):
        (answer,) = judge(RULE, node(readings))
        assert isinstance(answer, NotChecked)


def test_without_ipv6_there_is_no_number_of_it() -> None:
    without = replace(counters(), known=("Udp.RcvbufErrors", "Udp.InErrors"))
    (answer,) = judge(RULE, node([(without, None)] * 2))
    assert isinstance(answer, Cleared)
    assert [e.source for e in answer.evidence] == ["/proc/net/snmp RcvbufErrors"]


def test_sockets_of_one_owner_and_port_are_one_finding() -> None:
    found = finding(lost(udp(1_020), udp(30, inode=3), **room(50)), RULE)
    assert (found.evidence[0].value, found.evidence[0].statement[:26]) == (50, "Datagrams that 2 sockets a")


@pytest.mark.parametrize("state", ["stopped", "frozen"])
def test_a_halted_reader_has_caused_nothing(state: str) -> None:
    found = finding(lost(udp(1_500), workloads=named(7, state=state), **room(500)), RULE)
    assert (found.shape, [p.role for p in found.parties]) == ("receiver-stopped", ["reader"])


@pytest.mark.parametrize(
    ("socket", "words"),
    [
        (udp(90, port=53), "questions for names (DNS)"),
        (udp(90, port=40_000, remote=Endpoint("10.96.0.10", 53)), "answers of a name server (DNS)"),
        (udp(90, port=40_000, remote=Endpoint("10.96.0.10", 514)), "datagrams"),
        (udp(90, port=5_353), "datagrams"),
    ],
)
def test_names_are_called_by_name(socket: DroppingSocket, words: str) -> None:
    found = finding(lost(socket, before=(), **room(90)), RULE)
    assert f": 90 {words} dropped" in found.title


@pytest.mark.parametrize(
    ("rises", "shape", "severity"),
    [
        (room(FLOOR), "unseen", "warning"),
        ({"Udp6_RcvbufErrors": FLOOR, "Udp6_InErrors": FLOOR}, "unseen", "warning"),
        ({"Udp_MemErrors": FLOOR, "Udp_InErrors": FLOOR}, "no-memory", "warning"),
        ({"Udp_SndbufErrors": FLOOR}, "not-sent", "info"),
    ],
)
def test_what_no_open_socket_dropped_names_nobody(rises: dict[str, int], shape: str, severity: str) -> None:
    found = finding(lost(**rises), RULE)
    assert (found.shape, found.severity) == (shape, severity)
    assert [(p.role, p.netns) for p in found.parties] == [("victim", NETNS)]
    assert found.evidence[0].value == FLOOR


def test_of_more_sockets_than_were_read_nobody_is_named() -> None:
    assert shapes(lost(udp(9_000), cut=True, **room(8_000))) == ["unseen"]


def test_drops_from_before_the_window_are_cleared() -> None:
    (answer,) = judge(RULE, lost(BEFORE, **room(0)))
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [0, 0, 0]


def test_one_reading_is_not_checked_if_there_ever_was_one_and_else_cleared() -> None:
    (ever,) = judge(RULE, node([(counters(Udp6_RcvbufErrors=4), None)]))
    assert isinstance(ever, NotChecked)
    assert "4 datagrams" in ever.reason
    (never,) = judge(RULE, node([(counters(), None)]))
    assert isinstance(never, Cleared)


def test_without_counters_it_is_not_checked() -> None:
    (answer,) = judge(RULE, at_each(lost(), "counters", Failure(code="missing-file", reason="no")))
    assert isinstance(answer, NotChecked)


@pytest.mark.parametrize(
    ("periods", "used_up", "shape"),
    [
        (40, 10, "receiver-throttled"),
        (41, 10, "receiver-slow"),
        (8, 8, "receiver-throttled"),
        (7, 7, "receiver-slow"),  # of 3 s, 0.7
    ],
)
def test_a_receiver_whose_quota_is_used_up_is_a_victim(periods: int, used_up: int, shape: str) -> None:
    found = finding(under_quota(lost(udp(1_000 + FLOOR), **room(FLOOR)), (periods, used_up)), RULE)
    assert found.shape == shape
    assert [p.role for p in found.parties] == ["victim" if shape == "receiver-throttled" else "culprit"]


def test_of_a_quota_the_reading_is_told() -> None:
    found = finding(under_quota(lost(udp(1_000 + FLOOR), **room(FLOOR)), (50, 40)), RULE)
    (used_up,) = [e for e in found.evidence if e.unit == "periods"]
    assert (used_up.value, used_up.limit) == (40, 50)
    assert used_up.repeat == "cat /sys/fs/cgroup/pods/shop/cpu.stat  # twice"
    assert "used up in 80 % of the periods" in " ".join(found.explanation)


def test_of_a_socket_that_several_have_open_the_quota_of_one_does_not_tell() -> None:
    node = lost(udp(1_000 + FLOOR, shared=True), before=(udp(1_000, shared=True),), **room(FLOOR))
    assert finding(under_quota(node, (50, 40)), RULE).shape == "receiver-slow"


@pytest.mark.parametrize(("used_up", "confidence"), [(25, "proven"), (24, "likely")])
def test_that_a_quota_is_why_is_sure_if_it_is_used_up_in_most_periods(used_up: int, confidence: str) -> None:
    assert finding(under_quota(lost(udp(1_000 + FLOOR), **room(FLOOR)), (50, used_up)), RULE).confidence == confidence


def test_a_container_that_was_started_anew_is_judged_by_what_it_did_since() -> None:
    """Its counters begin again, and have passed those of before."""
    moments = [
        (counters(**dict.fromkeys(room(1), n)), sockets(dropping=(udp(1_000 + n),))) for n in (0, 0, 0, 3 * FLOOR)
    ]
    counts = ((100, 90), (110, 99), (5, 5), (125, 100))
    again = [
        LimitedCgroup(path="/p", period_us=100_000, periods=p, throttled=t, throttled_us=1, pids=(7,))
        for p, t in counts
    ]
    recording = node(moments, seconds=6.0)
    shots = tuple(
        replace(s, samples={**s.samples, "cpu_quota": CpuQuotas(version="v2", cgroups=(c,), read=1)})
        for s, c in zip(recording.snapshots, again, strict=True)
    )
    assert finding(replace(recording, snapshots=shots), RULE).shape == "receiver-throttled"


SECONDS = 4


def beside_loop(
    waits: tuple[float | None, ...], ran: float = 0.1, loop: float = 0.75, *, apart: bool = False, shared: bool = False,
    boots: tuple[int, ...] = (1,) * SECONDS,
) -> Recording:  # fmt: skip
    """A reading a second: how long pid 7 waited, and ran, beside pid 9, in real time; apart: once on another CPU."""
    moments = [
        (counters(**dict.fromkeys(room(1), n)), sockets(dropping=(udp(1_000 + n, shared=shared),)))
        for n in (0, 0, 0, 0, FLOOR)
    ]
    recording = node(moments, seconds=float(SECONDS), workloads=named(7, 9))
    cpus = [
        CpuPressure(
            cpus=2, total_ms=2_000 * i, idle_ms=1_000 * i, steal_ms=0, softirq_ms=0,
            measured_seconds=1.0 if i else None,
            consumers=(
                Consumer(pid=9, comm="loop", cpu_ms=round(1_000 * loop), wait_ms=0, on_cpu=0, realtime=50),
                Consumer(
                    pid=7, comm="app7", started_seconds=boots[i - 1], cpu_ms=round(1_000 * ran),
                    on_cpu=int(apart and i == 2),
                    wait_ms=None if (wait := waits[i - 1]) is None else round(1_000 * wait),
                ),
            ) if i else (),
        )
        for i in range(SECONDS + 1)
    ]  # fmt: skip
    shots = (
        replace(s, samples={**s.samples, "cpu_pressure": c}) for s, c in zip(recording.snapshots, cpus, strict=True)
    )
    return replace(recording, snapshots=tuple(shots))


@pytest.mark.parametrize(
    ("waits", "ran", "shape"),
    [
        ((0.5,) * 4, 0.1, "receiver-without-cpu"),
        ((0.49,) * 4, 0.1, "receiver-slow"),
        ((0.6,) * 4, 0.2, "receiver-without-cpu"),
        ((0.6,) * 4, 0.21, "receiver-slow"),  # it had its share
        ((0.6, None, 0.6, None), 0.1, "receiver-without-cpu"),
        ((0.9, None, None, None), 0.1, "receiver-slow"),  # hardly known
        ((None,) * 4, 0.1, "receiver-slow"),
    ],
)
def test_a_receiver_that_waits_for_a_cpu_is_a_victim(waits: tuple[float | None, ...], ran: float, shape: str) -> None:
    found = finding(beside_loop(waits, ran), RULE)
    assert found.shape == shape
    without = shape == "receiver-without-cpu"
    assert [p.role for p in found.parties] == (["victim", "holder"] if without else ["culprit"])
    assert (pids(found, "culprit"), pids(found, "holder")) == (([], [9]) if without else ([7], []))


def test_how_long_it_waited_is_told_and_who_ran_there() -> None:
    found = finding(beside_loop((0.7,) * 4), RULE)
    assert [(e.value, e.limit, e.unit) for e in found.evidence if e.unit in ("seconds", "readings")][1:] == [
        (2.8, 4.0, "seconds"), (0.4, 4.0, "seconds"), (4, None, "readings"),
    ]  # fmt: skip
    assert found.parties[1].effect == "ran for 3.0 s with real-time priority 50, on CPU 0, where the receiver waited"
    assert "ready to run for 2.8 s of 4.0 s" in " ".join(found.explanation)


@pytest.mark.parametrize("other", [{"apart": True}, {"loop": 0.34}])
def test_who_was_seen_elsewhere_or_ran_little_is_not_named(other: dict[str, Any]) -> None:
    found = finding(beside_loop((0.7,) * 4, **other), RULE)
    assert [(found.shape, p.role) for p in found.parties] == [("receiver-without-cpu", "victim")]


@pytest.mark.parametrize("other", [{"shared": True}, {"boots": (1, 1, 2, 2)}])
def test_a_wait_that_need_not_be_the_reader_s_does_not_tell(other: dict[str, Any]) -> None:
    assert finding(beside_loop((0.7,) * 4, **other), RULE).shape == "receiver-slow"
