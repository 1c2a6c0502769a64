"""How a watch of the table ends, what it refuses, and what it says of changes that it had no room for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from bench.conntrack import flows, insert, room_for
from netns.command import WHODUNNET, nobody_with
from netns.namespace import Namespace, set_sysctl
from netns.nat import run
from netns.watched import OwnNet, by_nftables, process, watching
from whodunnet.kernel.netlink.conntrack_events import ConntrackEvents, read_setting
from whodunnet.kernel.roots import Roots
from whodunnet.model.flow_event import FlowEvent

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()


@pytest.fixture
def plain_net() -> Iterator[OwnNet]:
    with ExitStack() as kept:
        yield OwnNet(kept, by_nftables)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_every_ending_signal_ends_it_with_a_summary(plain_net: OwnNet, number: signal.Signals) -> None:
    with watching(plain_net.router) as watched:
        assert watched.end(number)[-1]["events"] == {"new": 0, "changed": 0, "gone": 0}


def in_namespace(place: Namespace, *arguments: str, rights: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*rights, str(WHODUNNET), "conntrack", "--watch", *arguments]
    return place(lambda: subprocess.run(command, check=False, capture_output=True, text=True, timeout=60))


def test_it_ends_by_itself_after_its_time(plain_net: OwnNet) -> None:
    begin = time.monotonic()
    done = in_namespace(plain_net.router, "--for", "1s")
    assert time.monotonic() - begin >= 1
    assert done.returncode == 0
    assert done.stdout.startswith("time (UTC)")
    assert re.search(r"Watched +1 s, 0 changes", done.stdout)


def test_without_the_right_it_says_which(plain_net: OwnNet) -> None:
    done = in_namespace(plain_net.router, "--for", "1s", rights=nobody_with())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("whodunnet: tracked connections cannot be watched: ")
    assert "CAP_NET_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_events_are_off_it_says_so_and_leaves_them_off(plain_net: OwnNet) -> None:
    place = plain_net.router
    place(lambda: set_sysctl("netfilter/nf_conntrack_events", 0))
    done = in_namespace(place, "--for", "1s")
    assert done.returncode == 2
    assert "net.netfilter.nf_conntrack_events is 0" in done.stderr
    assert place(lambda: read_setting(ROOTS)).value == 0


def test_a_wrong_filter_is_refused_before_anything_else(plain_net: OwnNet) -> None:
    done = in_namespace(plain_net.router, "prot=tcp")
    assert (done.returncode, done.stdout) == (2, "")
    assert "possible are, for example: address=10.2.0.0/16, port=53" in done.stderr


def test_a_flood_has_a_bounded_number_of_lines_and_all_of_it_is_counted(plain_net: OwnNet) -> None:
    place, entries = plain_net.router, 3000
    with room_for(entries), process(place, str(WHODUNNET), "conntrack", "--watch") as made:
        assert made.stderr is not None
        made.stderr.readline()
        begin = time.monotonic()
        place(lambda: insert(flows(entries)))
        time.sleep(2.5)
        made.send_signal(signal.SIGTERM)
        out, _ = made.communicate(timeout=30)
        seconds = time.monotonic() - begin
    shown = len(re.findall(r"^\S+  new ", out, re.MULTILINE))
    hidden = sum(int(n.replace(",", "")) for n in re.findall(r"… ([\d,]+) more", out))
    assert 100 <= shown <= 100 * (seconds + 1)
    assert shown + hidden == entries
    assert re.search(rf"Watched .* {entries:,} changes: {entries:,} new, 0 changed, 0 gone", out)
    assert re.search(rf"Not shown +{hidden:,} changes", out)


def test_what_the_kernel_has_no_room_for_is_counted_to_the_message_and_the_watch_goes_on() -> None:
    entries = 500

    def overrun() -> tuple[list[FlowEvent], int, int | None, list[FlowEvent], int | None]:
        with ConntrackEvents(buffer_bytes=1) as events:  # the kernel gives 2,304 bytes, which is two messages
            insert(flows(entries))
            taken, overruns, lost = events.take(), events.overruns, events.lost
            run("conntrack -D -p tcp --orig-src " + (taken[0].source.address or ""))
            assert events.wait(10)
            return taken, overruns, lost, events.take(), events.lost

    with Namespace() as place, room_for(entries):
        taken, overruns, lost, later, lost_later = place(overrun)
    assert overruns == 1
    assert lost is not None
    assert lost_later is not None
    assert 0 < len(taken) < 10
    assert len(taken) + lost == entries
    assert {event.kind for event in taken} == {"new"}
    assert {event.kind for event in later} == {"gone"}


def test_a_watch_that_cannot_keep_up_says_what_it_lost(plain_net: OwnNet) -> None:
    entries, place = 20_000, plain_net.router
    with room_for(entries), watching(place, "port=9") as watched:
        watched.send(signal.SIGSTOP)
        place(lambda: insert(flows(entries)))
        watched.send(signal.SIGCONT)
        lines = watched.end()
    lost = [line for line in lines if line["line"] == "lost"]
    assert len(lost) == 1
    assert lost[0]["overruns"] == lines[-1]["overruns"] == 1
    assert lost[0]["messages"] == lines[-1]["lost"] > 0
    assert lines[-1]["filtered_out"] + lines[-1]["lost"] == entries
