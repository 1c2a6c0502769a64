"""retransmits and path-mtu on a real kernel: real loss and a path that is too narrow, and what only looks like it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from netns.lossy import HOLE, LOSS, NOTHING, ONE, PORT, TWO, UNREAD_PORT, Lines
from netns.namespace import set_sysctl, wait_until
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.diagnosis.engine import diagnose
from whodunnet.kernel.bpf.objects import BpfObject
from whodunnet.kernel.bpf.repeats import RepeatWatch
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import needed_collectors
from whodunnet.rules.rule import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

RULES = ("retransmits", "path-mtu")
CLOSED = 20
"""Connections that end before the reading."""


class Look:
    """Readings of all that the two rules need."""

    def __init__(self, rules: Sequence[str] = RULES) -> None:
        self.support = read_support(Roots())
        self.taker = SnapshotTaker(Roots(), self.support, needed_collectors(rules))
        self.snapshots: list[Snapshot] = []

    def take(self) -> None:
        self.snapshots.append(self.taker.take())

    def take_for(self, seconds: float, times: int = 3) -> None:
        for _ in range(times):
            time.sleep(seconds / times)
            self.take()

    @property
    def recording(self) -> Recording:
        return Recording(node=node(self.support), snapshots=tuple(self.snapshots))

    def answers(self, rule: str) -> list[Answer]:
        return list(judge(rule, self.recording))

    def found(self, rule: str) -> list[Finding]:
        return [a for a in self.answers(rule) if isinstance(a, Finding)]

    def destination(self, lines: Lines, address: str, *, exact: bool = False) -> Destination:
        """What the newest sample has of one server. exact: the kernel has skipped no program, as it does with one that
        interrupts itself, and counts it (bpf_prog_inc_misses_counter)."""
        sample = self.snapshots[-1].samples["retransmissions"]
        assert isinstance(sample, Retransmissions)
        assert (sample.other, sample.untracked) == (0, 0)
        assert sample.missed == 0 or not exact
        (one,) = (d for d in sample.destinations if (d.netns, d.remote) == (lines.host.number, address))
        return one


@pytest.fixture
def lines() -> Iterator[Lines]:
    with Lines() as made:
        yield made


@pytest.fixture
def look() -> Iterator[Look]:
    made = Look()
    with made.taker:
        made.taker.start()
        yield made


def named(found: Finding) -> tuple[list[object], list[object]]:
    """pids of the owners, and endpoints of the far end."""
    owners: list[object] = [
        p.process.pid for p in found.parties if p.role == "victim" and isinstance(p.process, Process)
    ]
    return owners, [p.endpoint for p in found.parties if p.role == "peer"]


def test_the_destination_to_which_segments_are_lost_is_named_with_its_owner(lines: Lines, look: Look) -> None:
    lines.filter(ONE, LOSS.format(percent=10))
    look.take()
    for address in (ONE, TWO):
        for _ in range(3):
            lines.send(address, 150, 10_000, 0.03)
    look.take_for(4.0)
    (found,) = look.found("retransmits")
    assert found.shape in ("lost", "timeouts")
    assert found.confidence == "proven"
    assert named(found) == ([os.getpid()], [Endpoint(ONE, PORT)])
    assert [e.value for e in found.evidence if e.unit == "device"] == ["line1"]
    assert not look.found("path-mtu")


def test_every_segment_is_counted_once(lines: Lines, look: Look) -> None:
    """Against the kernel's own counters of that namespace, also of connections that are closed meanwhile."""
    lines.filter(ONE, LOSS.format(percent=10))
    look.take()
    threads = [lines.send(ONE, 60, 10_000, 0.01) for _ in range(3)]
    for thread in threads:
        thread.join(60)
    short = [lines.connect(ONE) for _ in range(CLOSED)]
    for client in short:
        client.sendall(b"x" * 20_000)
    wait_until(lambda: _is_quiet(lines), "nothing to be sent any more", seconds=60)
    lines.filter(ONE, "accept")
    for client in short:
        client.close()
    wait_until(lambda: _is_quiet(lines), "nothing to be sent any more", seconds=60)
    look.take()
    one = look.destination(lines, ONE, exact=True)
    repeated = lines.counter("TcpRetransSegs") - lines.counter("TcpExtTCPSynRetrans")
    assert one.repeated + one.closed == repeated > 20
    fins = CLOSED  # without data, which the kernel counts as data here
    assert one.sent == lines.counter("TcpExtTCPOrigDataSent") - fins + one.repeated
    assert (one.device, one.path_mtu, one.mss) == ("line1", 1500, 1448)


def test_what_ends_while_the_watch_starts_leaves_nothing(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """What were left would be taken for the next socket at that address, of which so many segments would be missing."""
    ending = [lines.connect(ONE) for _ in range(8)]
    attach = BpfObject.attach

    def attach_later(of: BpfObject, program: str) -> None:
        ending.pop().close()
        wait_until(lambda: _is_quiet(lines), "its end")
        attach(of, program)

    monkeypatch.setattr(BpfObject, "attach", attach_later)
    with closing(RepeatWatch(read_support(Roots()))) as watch:
        monkeypatch.undo()
        with closing(RepeatWatch(read_support(Roots()))) as later:
            open_ones = _met(later)
            assert open_ones
            assert _met(watch) <= open_ones
    assert len(ending) == 6


def _met(watch: RepeatWatch) -> set[int]:
    """Addresses of sockets."""
    number, addresses, _ = watch._bpf.entries("repeaters", "unsigned long long", "struct repeater")
    return {int(addresses[i]) for i in range(number)}


def _unacknowledged(lines: Lines) -> list[int]:
    """Bytes of each connection, a FIN is one; without any, nothing is sent again."""
    shown = lines.host(lambda: subprocess.run(["ss", "-Htan"], check=True, capture_output=True, text=True).stdout)
    return [int(line.split()[2]) for line in shown.splitlines()]


def _is_quiet(lines: Lines) -> bool:
    """No connection has anything left to be acknowledged, and none that was closed is on its way."""
    return not any(_unacknowledged(lines))


def test_equal_loss_to_all_destinations_blames_none_of_them(lines: Lines, look: Look) -> None:
    for address in (ONE, TWO):
        lines.filter(address, LOSS.format(percent=10))
    look.take()
    for address in (ONE, TWO):
        for _ in range(3):
            lines.send(address, 150, 10_000, 0.03)
    look.take_for(4.0)
    (found,) = look.found("retransmits")
    assert (found.shape, found.confidence, found.severity) == ("everywhere", "possible", "info")
    assert not look.found("path-mtu")


def test_a_path_that_swallows_full_size_is_named_while_small_messages_pass(lines: Lines, look: Look) -> None:
    lines.filter(ONE, HOLE)
    look.take()
    for _ in range(3):
        lines.send(ONE, 1, 10_000)
    lines.send(ONE, 30, 200, 0.1)
    lines.send(TWO, 30, 10_000, 0.1)
    look.take_for(4.5)
    (found,) = look.found("path-mtu")
    assert (found.shape, found.confidence, found.severity) == ("black-hole", "likely", "warning")
    assert named(found) == ([os.getpid()], [Endpoint(ONE, PORT)])
    assert "device line1 (MTU 1,500): 3 transfers" in found.title
    (remedy,) = (r for r in found.remedies if "tcp_mtu_probing" in str(r.command))
    assert str(lines.host.number) in str(remedy.command)


def test_what_the_rule_advises_heals_it(lines: Lines, look: Look) -> None:
    """tcp_mtu_probing=1: the same transfers get through, in smaller segments, which are no full ones that passed."""
    lines.filter(ONE, HOLE)
    lines.host(lambda: set_sysctl("ipv4/tcp_mtu_probing", 1))
    look.take()
    for _ in range(3):
        lines.send(ONE, 1, 10_000)
    wait_until(
        lambda: lines.counter("TcpExtTCPMTUPSuccess") + _unacknowledged(lines).count(0) >= 3, "all to be healed", 40
    )
    look.take()
    assert look.destination(lines, ONE).passed == 0
    assert look.destination(lines, ONE).mss == 1448


def test_a_peer_that_is_gone_is_silent_and_no_narrow_path(lines: Lines, look: Look) -> None:
    look.take()
    for _ in range(8):
        lines.send(ONE, 200, 3_000, 0.03)
        lines.send(TWO, 200, 3_000, 0.03)
    time.sleep(0.5)
    lines.filter(ONE, NOTHING)
    look.take_for(5.0)
    (found,) = look.found("retransmits")
    assert found.shape == "silent"
    assert named(found) == ([os.getpid()], [Endpoint(ONE, PORT)])
    assert [(e.statement, e.value) for f in look.found("path-mtu") for e in f.evidence] == []


def test_a_receiver_that_does_not_read_is_no_loss(lines: Lines, look: Look) -> None:
    look.take()
    for _ in range(4):
        lines.send(ONE, 50, 100_000, 0.0, UNREAD_PORT)
    look.take_for(4.0)
    for rule in RULES:
        (answer,) = look.answers(rule)
        assert isinstance(answer, Cleared), answer


def test_a_moment_of_loss_is_no_finding(lines: Lines, look: Look) -> None:
    look.take()
    for _ in range(3):
        lines.send(ONE, 300, 10_000, 0.015)
    time.sleep(1.0)
    lines.filter(ONE, NOTHING)
    time.sleep(0.3)
    lines.filter(ONE, "accept")
    look.take_for(3.0)
    assert look.destination(lines, ONE).repeated > 0
    assert not look.found("retransmits")
    assert not look.found("path-mtu")


def test_loss_that_was_there_before_the_window_is_not_of_it(lines: Lines, look: Look) -> None:
    lines.filter(ONE, LOSS.format(percent=20))
    threads = [lines.send(ONE, 30, 10_000) for _ in range(3)]
    for thread in threads:
        thread.join(60)
    lines.filter(ONE, "accept")
    wait_until(lambda: _is_quiet(lines), "nothing to be sent any more", seconds=60)
    look.take()
    lines.send(ONE, 30, 10_000, 0.1)
    look.take_for(3.0)
    assert look.destination(lines, ONE).repeated > 20
    assert not look.found("retransmits")


def test_both_are_one_cause_where_they_meet(lines: Lines) -> None:
    """Many transfers hang for want of a wider path: their repeats stand under it."""
    look = Look()
    with look.taker:
        look.taker.start()
        lines.filter(ONE, HOLE)
        look.take()
        for _ in range(12):
            lines.send(ONE, 1, 10_000)
        lines.send(TWO, 30, 10_000, 0.1)
        look.take_for(4.5)
        said = diagnose(look.recording, RULES)
    by_rule = {f.rule: f for f in said.findings}
    assert by_rule["retransmits"].caused_by == (by_rule["path-mtu"].id,)
