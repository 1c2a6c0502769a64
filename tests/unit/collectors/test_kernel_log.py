import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors import kernel_log
from whodunnet.collectors.kernel_log import LINES_KEPT, KernelLogCollector, known
from whodunnet.errors import UnreadableError
from whodunnet.kernel.kmsg import Kmsg, Line
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.kernel_log import LogLine

MEMORY = "TCP: out of memory -- consider tuning tcp_mem"
ORPHANS = "TCP: too many orphaned sockets"


class Played:
    """A source that hands out lines as it is told."""

    name = "/dev/kmsg"

    def __init__(self) -> None:
        self.oldest: float | None = None
        self.lost = 0
        self.waiting: list[Line] = []
        self.closed = False

    def read(self) -> list[Line]:
        lines, self.waiting = self.waiting, []
        return lines

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Played:
    """What /dev/kmsg holds."""
    played = Played()
    played.oldest = 0.0
    monkeypatch.setattr(Kmsg, "open", lambda _roots: played)
    return played


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with dmesg_restrict, and we without CAP_SYSLOG."""

    def refuse(_roots: Roots) -> Kmsg:
        raise UnreadableError("/dev/kmsg: no", code="missing-capability", missing_capability="CAP_SYSLOG")

    monkeypatch.setattr(Kmsg, "open", refuse)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[KernelLogCollector]:
    (tmp_path / "var/log").mkdir(parents=True)
    made = KernelLogCollector(Roots.below(tmp_path), read_support(Roots()))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (MEMORY, "tcp-out-of-memory"),
        (ORPHANS, "too-many-orphans"),
        ("Out of socket memory", "tcp-out-of-memory"),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "conntrack-table-full"),
        ("request_sock_TCP: Possible SYN flooding on port 10.0.0.1:8080. Sending cookies.", "syn-flooding"),
        ("request_sock_TCPv6: Possible SYN flooding on port [fe80::1]:80. Dropping request.", "syn-flooding"),
        ("neighbour: arp_cache: neighbor table overflow!", "neighbour-table-full"),
        ("neighbour: ndisc_cache: neighbor table overflow!", "neighbour-table-full-ipv6"),
        ("VFS: file-max limit 2466183 reached", "file-max"),
        (
            "TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.  Check SNMP counters.",
            "syn-flooding",
        ),
        ("nf_conntrack: table full, dropping packet", "conntrack-table-full"),
        ("nf_conntrack: table full, dropping packet.", "conntrack-table-full"),
        ("nf_conntrack: nf_conntrack: table full in netns 4026532177, dropping packet", "conntrack-table-full-netns"),
    ],
)
def test_every_known_text_has_its_kind(text: str, kind: str) -> None:
    assert list(known([Line(1.0, text)])) == [LogLine(kind, 1.0, text)]


@pytest.mark.parametrize(
    "text",
    [
        f"evil[12]: {MEMORY}",
        f"{MEMORY} now",
        "TCP: out of memory",
        f"{MEMORY}\n",
        "",
        "table full, dropping packet",
        "evil: nf_conntrack: table full, dropping packet",
        "nf_conntrack: table full, dropping packet of evil",
        "nf_conntrack: nf_conntrack: table full in netns evil, dropping packet",
        "nf_conntrack: expectation table full",
        "evil: arp_cache: neighbor table overflow!",
        "VFS: file-max limit 1 reached by evil",
    ],
)
def test_a_text_that_only_contains_a_known_one_is_not_known(text: str) -> None:
    assert list(known([Line(1.0, text)])) == []


@given(st.text(), st.floats(0, 1e9))
def test_no_text_is_known_twice(text: str, stamp: float) -> None:
    assert len(list(known([Line(stamp, text)]))) <= 1


def test_lines_add_up_over_readings(source: Played, collector: KernelLogCollector) -> None:
    source.waiting = [Line(1.0, MEMORY), Line(2.0, "something else")]
    assert collector.collect().counts == {"tcp-out-of-memory": 1}
    source.waiting = [Line(3.0, MEMORY), Line(4.0, ORPHANS)]
    log = collector.collect()
    assert log.counts == {"tcp-out-of-memory": 2, "too-many-orphans": 1}
    assert [line.boot_seconds for line in log.lines] == [1.0, 3.0, 4.0]


def test_only_the_newest_lines_are_kept_but_all_are_counted(source: Played, collector: KernelLogCollector) -> None:
    source.waiting = [Line(float(n), MEMORY) for n in range(LINES_KEPT + 6)]
    log = collector.collect()
    assert log.counts == {"tcp-out-of-memory": LINES_KEPT + 6}
    assert [line.boot_seconds for line in log.lines] == [float(n) for n in range(6, LINES_KEPT + 6)]


def test_the_sample_says_how_far_back_it_reaches_and_its_losses(source: Played, collector: KernelLogCollector) -> None:
    source.oldest, source.lost = time.clock_gettime(time.CLOCK_BOOTTIME) - 100, 7
    log = collector.collect()
    assert log.reaches_back_seconds == pytest.approx(100, abs=5)
    assert (log.source, log.lost) == ("/dev/kmsg", 7)


def test_closing_gives_the_source_back(source: Played, collector: KernelLogCollector) -> None:
    collector.collect()
    collector.close()
    assert source.closed


@pytest.mark.usefixtures("forbidden")
def test_a_log_file_is_read_where_the_device_is_forbidden(collector: KernelLogCollector, tmp_path: Path) -> None:
    path = tmp_path / "var/log/kern.log"
    path.write_text(f"{datetime.now(UTC).isoformat()} node-1 kernel: {MEMORY}\n")
    log = collector.collect()
    assert (log.source, log.counts) == (str(path), {"tcp-out-of-memory": 1})
    assert collector.collect().counts == {"tcp-out-of-memory": 1}


@pytest.mark.usefixtures("forbidden")
def test_without_any_source_the_capability_is_asked_for(collector: KernelLogCollector) -> None:
    with pytest.raises(UnreadableError, match="no kernel log can be read: /dev/kmsg: no; ") as caught:
        collector.collect()
    assert (caught.value.code, caught.value.missing_capability) == ("missing-capability", "CAP_SYSLOG")


@pytest.mark.usefixtures("forbidden")
def test_a_journal_with_lines_is_read_before_a_log_file(
    collector: KernelLogCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run/log/journal").mkdir(parents=True)
    (tmp_path / "var/log/kern.log").write_text(f"{datetime.now(UTC).isoformat()} n kernel: {ORPHANS}\n")
    played = Played()
    played.name = "journal"
    played.waiting = [Line(1.0, MEMORY)]
    monkeypatch.setattr(kernel_log, "Journal", lambda _directory, _boot_id: played)
    assert collector.collect().source == "journal"


def test_a_source_without_lines_is_passed_over(source: Played, collector: KernelLogCollector) -> None:
    source.oldest = None
    with pytest.raises(UnreadableError, match="/dev/kmsg has no kernel line of this boot"):
        collector.collect()
    assert source.closed


def test_a_machine_without_device_and_files_says_so(collector: KernelLogCollector) -> None:
    with pytest.raises(UnreadableError, match="no kernel log can be read") as caught:
        collector.collect()
    assert (caught.value.code, caught.value.missing_capability) == ("missing-file", None)


def test_lines_that_come_again_are_counted_whatever_they_say(source: Played) -> None:
    collector = KernelLogCollector(Roots(), read_support(Roots()))
    source.waiting = [Line(1.0, "usb 1-1: gone")] * 5
    first = collector.collect()
    assert (first.written, first.repeated) == (0, ())
    source.waiting = [Line(2.0, f"IN=eth0 LEN={n} ID=0x{n:x}") for n in range(30)] + [Line(2.0, "once")]
    then = collector.collect()
    assert then.written == 31
    assert [(line.text, line.lines) for line in then.repeated] == [("IN=eth0 LEN=29 ID=0x1d", 30)]


def test_a_flood_is_compared_as_far_as_there_is_room(source: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_log, "COMPARED_A_READ", 10)
    monkeypatch.setattr(kernel_log, "KINDS_COMPARED", 2)
    collector = KernelLogCollector(Roots(), read_support(Roots()))
    collector.collect()
    source.waiting = [Line(2.0, "old")] * 90 + [Line(2.0, "new")] * 8 + [Line(2.0, "b"), Line(2.0, "c")]
    found = collector.collect()
    assert found.written == 100
    assert [(line.text, line.lines) for line in found.repeated] == [("new", 8)]
