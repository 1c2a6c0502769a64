"""The kernel's clock: what adjtimex tells, and the wall clock against boot time."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from whodunnet.errors import UnreadableError
from whodunnet.kernel import clock
from whodunnet.kernel.clock import Kept, decode_timex, read_against_boot, read_hardware_ahead, read_kept
from whodunnet.kernel.roots import Roots

UNSYNC, NANO = 0x0040, 0x2000


def timex(*, offset: int = 0, frequency: int = 0, max_error: int = 0, status: int = 0) -> bytes:
    return struct.pack("@I4li3l", 0, offset, frequency, max_error, 0, status, 2, 1, 32_768_000).ljust(512, b"\0")


def test_a_kept_clock_is_told() -> None:
    found = decode_timex(timex(offset=1_500, frequency=-65_536 * 12, max_error=4_000))
    assert found == Kept(synchronised=True, offset_us=1_500, max_error_us=4_000, frequency_ppm=-12.0)


def test_a_clock_that_nobody_keeps_is_told_whatever_else_is_set() -> None:
    assert not decode_timex(timex(status=UNSYNC | 1)).synchronised
    assert decode_timex(timex(status=1)).synchronised


def test_an_offset_in_nanoseconds_is_in_microseconds_too() -> None:
    assert decode_timex(timex(offset=2_000_000, status=NANO)).offset_us == 2_000


def test_the_kernel_answers_here_as_the_library_has_it() -> None:
    found = read_kept()
    assert found.max_error_us >= 0
    assert abs(found.frequency_ppm) <= 500


def test_the_wall_clock_stays_where_it_is_against_boot_time() -> None:
    first, then = read_against_boot(), read_against_boot()
    assert abs(then.seconds - first.seconds) < 0.4
    assert 0 <= first.within < 0.1


def test_the_narrowest_of_several_tries_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 1_000_000, 900_000_000, *[10, 1_000_020, 20] * 4])
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _clock: next(times))
    assert clock.read_against_boot().within == pytest.approx(1e-8)


def test_a_hardware_clock_is_read_against_ours(tmp_path: Path) -> None:
    place = tmp_path / "sys/class/rtc/rtc0"
    place.mkdir(parents=True)
    (place / "since_epoch").write_text(f"{int(time.time()) + 7200}\n")
    assert read_hardware_ahead(Roots.below(tmp_path)) == pytest.approx(7200, abs=2)
    (place / "since_epoch").write_text("-5\n")
    with pytest.raises(UnreadableError):
        read_hardware_ahead(Roots.below(tmp_path))


def test_a_machine_without_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read_hardware_ahead(Roots.below(tmp_path))
