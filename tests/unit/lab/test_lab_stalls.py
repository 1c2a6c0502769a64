"""What the cases of stalls are measured with."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from subprocess import Popen
from typing import Any, cast

import pytest

from lab.arrivals import ONE_QUEUE, Pings, checksum, echo, pings, used
from lab.case import STALL_RULES
from lab.ctnetlink import dump, last
from lab.score import is_party
from lab.slow_filter import sent
from lab.stage import Player
from lab.who import Who


def player(log: Path, *lines: str) -> Player:
    log.write_text("\n".join(lines) + "\n")
    return Player("pinger", cast("Popen[bytes]", None), log)


def test_an_echo_request_has_the_checksum_that_the_kernel_checks() -> None:
    message = echo(7)
    assert checksum(message) == 0
    assert checksum(message[:-1] + bytes([message[-1] ^ 1])) != 0
    (sent_at,) = struct.unpack("!d", message[8:])
    assert 0 <= time.time() - sent_at < 60


def test_pings_are_those_of_the_time_that_is_asked_for(tmp_path: Path) -> None:
    now = time.monotonic()
    log = player(
        tmp_path / "log", f"{now - 9:.3f} 0.500000", f"{now:.3f} 0.000100", f"{now:.3f} 0.020000", f"{now + 2:.3f} 0.5",
        f"{now:.3f} 0."
    )  # fmt: skip
    seen = pings(log, now - 4, now + 1)
    assert (seen.trips, seen.stalled, seen.longest, seen.flow) == ((0.0001, 0.02), 1, 0.02, False)
    assert str(seen) == ("2 pings in 5 s, half within 20.00 ms, 1 of 10 ms or more, the longest 20.0 ms")
    assert Pings(3, (0.0001,) * 600).flow
    assert not Pings(3, ()).flow


def test_what_a_process_has_used_is_told_by_mode() -> None:
    before = used(os.getpid())
    assert before.endswith("s in the kernel")
    assert "s in user mode" in before


@pytest.mark.parametrize("by", ["mark", "address"])
def test_a_dump_says_its_own_length(by: Any) -> None:
    message = dump(by)
    assert struct.unpack_from("=I", message)[0] == len(message)
    assert len(message) % 4 == 0


def test_the_end_of_a_dump_is_told_from_an_entry_and_from_a_refusal() -> None:
    assert last(struct.pack("=IHHII", 20, 3, 2, 1, 0) + bytes(4))
    assert not last(struct.pack("=IHHII", 20, 1 << 8, 2, 1, 0) + bytes(4))
    with pytest.raises(OSError, match="refuses"):
        last(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -95))


def test_what_was_sent_is_the_sum_of_all_bursts(tmp_path: Path) -> None:
    assert sent(player(tmp_path / "log", "sent 200 in 0.001 s", "sent 200 in 0.002 s")) == 400


def test_a_process_without_its_pod_is_not_the_one_in_it() -> None:
    who = Who("monitor", frozenset({7}), pod="1-2")
    process = {"pid": 7, "comm": "monitor"}
    assert is_party(who, {"process": process, "pod": {"uid": "1-2"}})
    assert not is_party(who, {"process": process, "pod": {"uid": "1-3"}})
    assert not is_party(who, {"process": process, "pod": None})
    assert is_party(Who("monitor", frozenset({7})), {"process": process})


def test_a_rule_that_needs_several_queues_is_one_of_those_asked() -> None:
    assert {*ONE_QUEUE} <= {*STALL_RULES}
