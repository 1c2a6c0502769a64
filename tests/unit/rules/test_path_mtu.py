"""A path that swallows what is of full size, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.connections import Connections
from whodunnet.model.finding import Cleared, Finding, NotChecked
from whodunnet.model.retransmissions import Destination
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import catalogue

from .connects import opened
from .nodes import NETNS, PEER, answers, finding, findings, memory_of, parties, pids
from .queued import counters
from .repeats import REMOTE, by, good, moments, narrow, node, sample, to, users

RULE = "path-mtu"
HERE = Addresses(by_netns={99: (DeviceAddress(address=REMOTE, prefix_length=24, device="eth0"),)})


def limit(name: str) -> float:
    return catalogue()[RULE].limit(name)


def found(recording: Recording) -> Finding:
    return finding(recording, RULE)


def none(recording: Recording) -> Cleared:
    (answer,) = answers(recording, RULE)
    assert isinstance(answer, Cleared), answer
    return answer


def test_a_narrow_path_is_named_with_device_size_and_owner() -> None:
    f = found(node(narrow(), groups=[users()], counters=counters()))
    assert (f.shape, f.severity, f.confidence, f.claim) == ("black-hole", "warning", "likely", "drops")
    assert f.title == "Nothing of full size gets to 203.0.113.9 by device eth0 (MTU 1,500): 3 transfers of app7 hang"
    assert pids(f, "victim") == [7]
    assert [p.endpoint for p in parties(f, "peer")] == [PEER]
    assert not parties(f, "culprit")
    assert (f.evidence[0].value, f.evidence[1].value, f.evidence[1].limit) == (6, 0, 16)
    assert any("tcp_mtu_probing=1" in (r.command or "") for r in f.remedies)
    assert any("ping -c 3 -M do -s 1472" in (r.command or "") for r in f.remedies)


def test_only_owners_whose_transfers_hang_are_named() -> None:
    d = narrow(owners=(by(7, 9, 0), by(8, 7, 6)))
    f = found(node(d, groups=[users(9, 7), users(1, 8)]))
    assert pids(f, "victim") == [8]
    assert "3 transfers of app8 hang" in f.title


@pytest.mark.parametrize(
    ("name", "least", "below"),
    [("min_again", narrow(2), narrow(1)), ("small_share", narrow(20, again_small=2), narrow(20, again_small=3))],
)
def test_each_threshold_from_both_sides(name: str, least: Destination, below: Destination) -> None:
    assert name in catalogue()[RULE].thresholds
    assert found(node(least))
    assert none(node(below))


@pytest.mark.parametrize(
    ("how", "confidence"),
    [
        ({"sacked": 6, "stuck": 1}, "possible"),
        ({"sacked": 6, "stuck": 2}, "likely"),
        ({"sacked": 6, "heard": 2, "stuck": 1}, "likely"),
        ({"sacked": 0, "heard": 2, "stuck": 2}, "likely"),
        ({"sacked": 0, "heard": 2, "stuck": 1}, "possible"),
    ],
)
def test_two_signs_are_more_than_one(how: dict[str, Any], confidence: str) -> None:
    f = found(node(narrow(**how)))
    assert f.confidence == confidence
    assert f.severity == ("warning" if confidence == "likely" else "info")


def test_where_nothing_small_passes_either_it_is_no_narrow_path() -> None:
    cleared = none(node(narrow(sacked=0), connections=Connections(groups=(), watched_seconds=1.0)))
    assert "nothing else was seen to get through, which may not be there at all: 1" in cleared.sensitivity


@pytest.mark.parametrize("parts", [1, 3])
def test_where_no_connects_were_read_after_it_was_stuck_nothing_is_said_of_them(parts: int) -> None:
    """Of two readings only the last one shows that it is stuck."""
    samples: dict[str, Any] = {"connections": Connections(groups=(), watched_seconds=1.0)} if parts == 1 else {}
    cleared = none(node(narrow(sacked=0), parts=parts, **samples))
    assert "may not be there" not in cleared.sensitivity
    assert "with no reading after that to show whether connects there are answered: 1" in cleared.sensitivity


@pytest.mark.parametrize(("answered_at", "is_sign"), [(1, False), (2, True), (3, True)])
def test_a_connect_that_is_answered_once_it_is_stuck_is_something_small_that_passes(
    answered_at: int, is_sign: bool
) -> None:
    """Stuck from the second of four readings on. What was answered before that may be gone by now."""
    recording = node(narrow(sacked=0))
    group = opened(5, to=PEER, netns=NETNS)
    for i, snapshot in enumerate(recording.snapshots):
        groups = (group,) if i >= answered_at else ()
        snapshot.samples["connections"] = Connections(groups=groups, watched_seconds=1.0 + i)
    if not is_sign:
        none(recording)
        return
    f = found(recording)
    assert f.confidence == "possible"  # several connections that somebody on the way has forgotten look the same
    assert [e.value for e in f.evidence if e.unit == "connects"] == [5]


def test_a_connect_that_is_answered_is_a_sign_beside_others() -> None:
    recording = node(narrow(stuck=1))
    for i, snapshot in enumerate(recording.snapshots):
        groups = (opened(5, to=PEER, netns=NETNS),) if i >= 2 else ()
        snapshot.samples["connections"] = Connections(groups=groups, watched_seconds=1.0 + i)
    assert found(recording).confidence == "likely"


def test_a_receiver_that_answers_and_takes_nothing_has_no_room() -> None:
    assert none(node(narrow(6, refused=3)))
    assert found(node(narrow(6, refused=2)))


def test_a_path_has_no_ports() -> None:
    f = found(node(narrow(2), narrow(4, port=80)))
    assert f.evidence[0].value == 6
    assert [p.endpoint for p in parties(f, "peer")] == [Endpoint(REMOTE, 80), PEER]


def test_two_namespaces_are_two_findings() -> None:
    assert len(findings(node(narrow(), narrow(netns=5)), RULE)) == 2


def test_a_far_end_here_without_memory_is_not_blamed_on_the_path() -> None:
    for memory, local, checked in (
        (memory_of(12_000), HERE, False),
        (memory_of(100), HERE, True),
        (memory_of(12_000), Addresses(), True),
    ):
        (answer,) = answers(node(narrow(), tcp_memory=memory, addresses=local), RULE)
        assert isinstance(answer, Finding) is checked
        if not checked:
            assert isinstance(answer, NotChecked)
            assert "TCP memory is short" in answer.reason


def test_segments_without_room_here_are_a_sign_of_it_too() -> None:
    recording = node(narrow(), addresses=HERE, counters=counters())
    recording.snapshots[-1].samples["counters"] = counters(TcpExt_TCPRcvQDrop=3)
    (answer,) = answers(recording, RULE)
    assert isinstance(answer, NotChecked)


def test_an_unknown_far_end_elsewhere_may_lack_memory_and_that_is_said() -> None:
    said = " ".join(found(node(narrow(), addresses=Addresses())).explanation)
    assert "out of TCP memory" in said
    assert "out of TCP memory" not in " ".join(found(node(narrow(), addresses=HERE)).explanation)


def test_a_short_window_shows_nothing() -> None:
    for seconds, checked in ((limit("min_seconds"), True), (limit("min_seconds") - 0.1, False)):
        (answer,) = answers(node(to(3), seconds=seconds), RULE)
        assert isinstance(answer, Cleared) is checked


def test_one_reading_is_not_checked() -> None:
    (answer,) = answers(moments(sample(narrow())), RULE)
    assert isinstance(answer, NotChecked)


def test_it_is_cleared_with_what_was_repeated_and_what_got_through() -> None:
    cleared = none(node(good(), to(40, full=40, passed=31)))
    assert [e.value for e in cleared.evidence] == [40, 0, 31]


def test_messages_of_unreachable_are_counted_by_family() -> None:
    known = replace(counters(), known=("IcmpMsg.InType3",))
    four = found(node(narrow(), counters=known))
    assert [(e.value, e.source) for e in four.evidence if e.unit == "messages"] == [(0, "/proc/net/snmp InType3")]
    six = narrow(remote="2001:db8::9")
    f = found(node(six, counters=counters()))
    assert [e.source for e in f.evidence if e.unit == "messages"] == ["/proc/net/snmp6 InPktTooBigs"]
    assert any("-s 1452 2001:db8::9" in (r.command or "") for r in f.remedies)


def test_names_of_the_node_are_cleaned_and_quoted() -> None:
    nasty = narrow(remote="1.2.3.4; rm -rf /\x1b[31m", device="e\x1b[31m")
    f = found(node(nasty))
    assert "\x1b" not in str(f)
    commands = [r.command for r in f.remedies if r.command] + [e.repeat for e in f.evidence]
    assert not any(" 1.2.3.4; rm" in c for c in commands)
