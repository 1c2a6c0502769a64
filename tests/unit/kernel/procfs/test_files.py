import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import integer, read_bytes, read_head, unreadable


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 200_000)
    assert len(read_bytes(tmp_path / "file")) == 200_000


def test_a_file_at_the_limit_is_read_and_one_byte_more_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(MalformedError, match="longer than 4 bytes"):
        read_bytes(tmp_path / "file", limit=4)


def test_the_head_of_a_file_is_cut_without_complaint(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_head(tmp_path / "file", 3) == b"123"


def test_a_pipe_that_nobody_writes_to_is_empty_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(tmp_path / "pipe") == b""


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist") as caught:
        read_bytes(tmp_path / "none")
    assert caught.value.code == "missing-file"


@pytest.mark.parametrize(
    ("number", "capability", "code"),
    [
        (errno.ENOENT, None, "missing-file"),
        (errno.ENOTDIR, None, "missing-file"),
        (errno.ESRCH, None, "vanished"),
        (errno.EACCES, "CAP_SYSLOG", "missing-capability"),
        (errno.EPERM, "CAP_SYSLOG", "missing-capability"),
        (errno.EACCES, None, "unreadable"),
        (errno.EIO, "CAP_SYSLOG", "unreadable"),
    ],
)
def test_every_refusal_of_the_kernel_has_its_code(number: int, capability: str | None, code: str) -> None:
    error = unreadable("/proc/x", OSError(number, os.strerror(number)), capability)
    assert error.code == code
    assert error.missing_capability == (capability if code == "missing-capability" else None)
    assert "/proc/x" in str(error)


@given(st.integers(-(2**63), 2**64 - 1))
def test_every_64_bit_number_is_read_back(number: int) -> None:
    assert integer(str(number).encode(), "f", "n") == number


@pytest.mark.parametrize("token", [b"", b"-", b"+1", b"1_0", b"0x1", b" 1", b"1.5", "١".encode(), b"1" * 21])
def test_what_python_but_not_the_kernel_would_write_is_no_number(token: bytes) -> None:
    with pytest.raises(MalformedError, match="f: n should be a number"):
        integer(token, "f", "n")
