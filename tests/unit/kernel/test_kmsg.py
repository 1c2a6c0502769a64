import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.kmsg import Kmsg, Record, parse_record
from whodunnet.kernel.roots import Roots

# Read from /dev/kmsg of Linux 6.18.44, the second one with its dictionary.
REAL = b"5,342,1297165,-;random: crng reseeded due to virtual machine fork\n"
REAL_WITH_DICTIONARY = (
    b"5,343,1297166,-;virtio_blk virtio1: [vda] new size: 536870912 512-byte logical blocks (275 GB/256 GiB)\n"
    b" SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n"
)
RECORDS = st.builds(
    Record,
    facility=st.integers(0, 23),
    level=st.integers(0, 7),
    sequence=st.integers(0, 2**63),
    stamp_seconds=st.integers(0, 2**50).map(lambda us: us / 1e6),
    text=st.text(st.characters(codec="utf-8")),
)


def written(record: Record) -> bytes:
    head = f"{record.facility * 8 + record.level},{record.sequence},{round(record.stamp_seconds * 1e6)},-,caller=T1"
    # msg_add_ext_text, kernel/printk/printk.c
    escaped = "".join(
        f"\\x{c:02x}" if c < 0x20 or c >= 0x7F or c == ord("\\") else chr(c) for c in record.text.encode()
    )
    return f"{head};{escaped}\n SUBSYSTEM=x\n".encode()


def device(*reads: bytes | int) -> Callable[[int, int], bytes]:
    """A read() that answers with records, and with errors by number; then EAGAIN for ever."""
    left = list(reads)

    def read(_descriptor: int, _size: int) -> bytes:
        answer = left.pop(0) if left else errno.EAGAIN
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer

    return read


def test_a_record_of_a_real_kernel_is_read() -> None:
    assert parse_record(REAL, "f") == Record(
        facility=0,
        level=5,
        sequence=342,
        stamp_seconds=1.297165,
        text="random: crng reseeded due to virtual machine fork",
    )


def test_the_dictionary_is_no_part_of_the_text() -> None:
    assert parse_record(REAL_WITH_DICTIONARY, "f").text.endswith("(275 GB/256 GiB)")


@given(RECORDS)
def test_records_are_read_back(record: Record) -> None:
    assert parse_record(written(record), "f") == record


@given(damaged(REAL_WITH_DICTIONARY))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_record(data, "f")


def test_reading_ends_where_the_device_has_no_more_and_goes_on_from_there() -> None:
    kmsg = Kmsg(-1, device(b"6,1,1000000,-;one\n", b"6,2,1000001,-;two\n", errno.EAGAIN, b"6,3,9000000,-;three\n"))
    assert [line.text for line in kmsg.read()] == ["one", "two"]
    assert [line.text for line in kmsg.read()] == ["three"]
    assert kmsg.lost == 0


def test_lines_have_the_time_since_boot() -> None:
    suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    kmsg = Kmsg(-1, device(b"6,1,1500000,-;one\n"))
    assert kmsg.read()[0].boot_seconds == pytest.approx(1.5 + suspended, abs=1e-3)
    assert kmsg.oldest == pytest.approx(1.5 + suspended, abs=1e-3)


def test_lines_that_user_space_wrote_are_left_out_and_lose_nothing() -> None:
    kmsg = Kmsg(-1, device(b"6,1,1,-;kernel\n", b"12,2,1,-;TCP: out of memory\n", b"6,3,1,-;kernel\n"))
    assert [line.text for line in kmsg.read()] == ["kernel", "kernel"]
    assert kmsg.lost == 0


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])
def test_overwritten_and_oversized_records_are_counted_by_their_gap(number: int) -> None:
    kmsg = Kmsg(-1, device(b"6,1,1,-;a\n", number, b"6,10,1,-;b\n"))
    assert [line.text for line in kmsg.read()] == ["a", "b"]
    assert kmsg.lost == 8


def test_a_buffer_that_begins_late_has_lost_nothing_while_we_read() -> None:
    kmsg = Kmsg(-1, device(b"6,5000,1,-;a\n"))
    kmsg.read()
    assert kmsg.lost == 0


def test_a_device_that_forbids_reading_asks_for_the_capability() -> None:
    with pytest.raises(UnreadableError) as caught:
        Kmsg(-1, device(errno.EPERM)).read()
    assert caught.value.missing_capability == "CAP_SYSLOG"


def test_a_missing_device_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="kmsg does not exist"):
        Kmsg.open(Roots.below(tmp_path))
