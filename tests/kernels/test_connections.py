"""The connections collector under other kernels: every connection made there is in exactly the group it belongs to."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet.model.connections import ConnectionGroup, Connections

from .inside.connections import DROPPED, GIVEN_UP_SECONDS

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
N = {
    "reused": 11, "raced": 2, "linger": 7, "refused": 13, "client_first": 5, "open_before": 3, "dropped": 4,
    "waiting": 6,
}  # fmt: skip
"""How many of each kind; see inside/connections.py."""
IDLE_SECONDS = 1.25
MODULES = (*machine.COMMON_MODULES, "crc32c_generic", "nf_tables")  # libcrc32c asks for crc32c when it is loaded
REPEATS = {"6.1": 2, "6.12": 4}
"""Of a SYN until it is given up: from 6.5 on the first four are a second apart (tcp_syn_linear_timeouts)."""
READ = {"6.1": [1, 2, 2, 2], "6.12": [1, 3, 4, 4]}
"""Repeats of each SYN at the readings while it waits, and after it was given up."""
TELLS_OF_MINISOCKETS = {"6.1": False, "6.12": True}
"""Whether tcp_send_reset fires where a minisocket answers ("tcp: rstreason: let it work finally", 6.11)."""


class Answer(msgspec.Struct):
    """What inside/connections.py prints."""

    pid: int
    ports: dict[str, int]
    waited: list[int]
    under_way: int
    sample: Connections

    def of(self, port: str) -> list[ConnectionGroup]:
        return [g for g in self.sample.groups if g.server.port == self.ports[port]]

    def counts(self, port: str) -> Counter[tuple[str, str, str]]:
        found: Counter[tuple[str, str, str]] = Counter()
        for g in self.of(port):
            found[g.role, g.ending, g.state] += g.connections
        return found


@pytest.fixture(scope="module")
def answer(kernel: Kernel) -> Answer:
    done = machine.run(kernel, [sys.executable, "-m", "inside.connections", json.dumps(N)], HERE, modules=MODULES)
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version}: {done.seconds:.0f} s")
    return msgspec.json.decode(done.stdout, type=Answer)


def test_every_connection_is_counted_once(answer: Answer, kernel: Kernel) -> None:
    reused = N["reused"] + N["raced"]
    opened = reused + N["linger"] + N["client_first"]
    expected = {
        ("initiated", "opened", "established"): opened,
        ("accepted", "closed-here", "established"): reused,
        ("initiated", "closed-by-peer", "established"): reused,
        ("initiated", "reset-received", "close-wait"): reused,
        ("accepted", "late-data", "close"): N["raced"],
        ("accepted", "reset-sent", "established"): N["linger"],
        ("initiated", "reset-received", "established"): N["linger"],
        ("initiated", "closed-here", "established"): N["client_first"],
        ("accepted", "closed-by-peer", "established"): N["client_first"],
    }
    if TELLS_OF_MINISOCKETS[kernel.release]:
        expected["accepted", "late-data", "time-wait"] = N["reused"]
    assert answer.counts("new") == expected
    sample = answer.sample
    assert (sample.other, sample.untracked, sample.missed, sample.late_unassigned) == ({}, 0, 0, 0)


def test_refused_connects_are_told_from_all_others(answer: Answer) -> None:
    (refused,) = [g for g in answer.sample.groups if g.ending == "refused"]
    assert (refused.connections, refused.owner_pid, refused.state) == (N["refused"], answer.pid, "syn-sent")


def test_the_first_repeat_of_a_syn_has_its_time_also_where_it_is_told_of_at_the_end(
    answer: Answer, kernel: Kernel
) -> None:
    (repeated,) = [g for g in answer.sample.groups if g.ending == "syn-retransmitted" and g.server.address == DROPPED]
    first, last = repeated.spans
    assert (first.connections, last.connections) == (N["dropped"], (REPEATS[kernel.release] - 1) * N["dropped"])
    assert first.mean == pytest.approx(1.0, abs=0.01)
    assert last.mean >= GIVEN_UP_SECONDS


def test_repeats_that_this_node_dropped_are_counted_while_the_connect_goes_on(answer: Answer, kernel: Kernel) -> None:
    assert answer.waited == [N["waiting"] * repeats for repeats in READ[kernel.release]]


def test_of_connects_that_ended_none_is_taken_to_be_under_way(answer: Answer) -> None:
    assert answer.under_way == 0


def test_what_was_open_before_has_its_owner(answer: Answer) -> None:
    assert answer.counts("old") == {
        ("initiated", "closed-here", "established"): N["open_before"],
        ("accepted", "closed-by-peer", "established"): N["open_before"],
    }


def test_owners_are_named_wherever_a_process_did_it(answer: Answer) -> None:
    unowned = {(g.role, g.ending) for g in answer.sample.groups if g.owner_pid != answer.pid}
    assert unowned <= {("accepted", "late-data")}


def test_the_idle_time_is_that_of_the_server(answer: Answer) -> None:
    (closed,) = [g for g in answer.of("new") if g.ending == "closed-by-peer" and g.role == "initiated"]
    shortest, longest = closed.quantile(0.0), closed.quantile(1.0)
    assert shortest is not None
    assert longest is not None
    assert shortest >= IDLE_SECONDS - 0.02
    assert longest < IDLE_SECONDS + 1.0  # on an emulated machine
