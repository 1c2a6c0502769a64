"""The retransmissions collector under other kernels: each repeat is counted once, and a narrow path is seen as one."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet.model.retransmissions import Destination, Retransmissions

from .inside.retransmissions import MESSAGES, THERE

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
TRANSFERS = 3


class Answer(msgspec.Struct):
    """What inside/retransmissions.py prints."""

    sample: Retransmissions
    counters: dict[str, int]

    @property
    def destination(self) -> Destination:
        (found,) = (d for d in self.sample.destinations if d.remote == THERE)
        return found


@pytest.fixture(scope="module")
def answer(kernel: Kernel) -> Answer:
    command = [sys.executable, "-m", "inside.retransmissions", str(TRANSFERS)]
    done = machine.run(kernel, command, HERE, modules=(*machine.COMMON_MODULES, "bridge"))
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version}: {done.seconds:.0f} s")
    return msgspec.json.decode(done.stdout, type=Answer)


def test_as_many_repeats_are_counted_as_the_kernel_does(answer: Answer) -> None:
    sample, counted = answer.sample, answer.counters
    repeated = counted["Tcp:RetransSegs"] - counted["TcpExt:TCPSynRetrans"]
    assert answer.destination.repeated + sample.inside == repeated > 0
    assert (sample.other, sample.untracked, sample.missed, answer.destination.closed) == (0, 0, 0, 0)


def test_what_was_sent_is_of_all_connections_there_since_the_start(answer: Answer) -> None:
    """One of them was open before, and repeated nothing."""
    d = answer.destination
    assert d.sent == answer.counters["TcpExt:TCPOrigDataSent"] + d.repeated
    assert d.sent >= MESSAGES + d.repeated


def test_a_path_that_is_too_narrow_is_seen_as_one(answer: Answer) -> None:
    d = answer.destination
    assert (d.sockets, d.stuck, d.passed, d.again_small) == (TRANSFERS, TRANSFERS, 0, 0)
    assert d.again_full >= TRANSFERS
    assert d.sacked == d.again_full
    assert (d.mss, d.path_mtu, d.device, d.device_mtu) == (1448, 1500, "near", 1500)
