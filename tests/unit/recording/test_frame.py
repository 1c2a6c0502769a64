"""A frame comes back as it was packed, says how large it is before it is, and is refused if it lies."""

from __future__ import annotations

import sys
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import RecordingError
from whodunnet.recording import frame
from whodunnet.recording.frame import pack, unpack, unpacked_bytes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

content = st.binary(max_size=2000) | st.integers(0, 200_000).map(lambda size: b"snapshot" * (size // 8))


@given(content, st.none() | st.binary(max_size=100))
def test_a_frame_says_how_large_it_is_unpacked(text: bytes, key: bytes | None) -> None:
    packed = pack(text, key)
    assert unpacked_bytes(packed) == len(unpack(packed, key)) == len(text)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"\x28\xb5\x2f\xfd" + rest))
def test_bytes_that_are_no_frame_are_refused_or_hold_what_they_say(data: bytes) -> None:
    with suppress(RecordingError):
        said = unpacked_bytes(data)
        assert len(unpack(data, None)) == said


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    compressor = zstd.ZstdCompressor()
    silent = compressor.compress(b"x" * 100) + compressor.flush()
    assert unpack(silent, None) == b"x" * 100
    with pytest.raises(RecordingError, match="does not say its size, or is larger"):
        unpacked_bytes(silent)


def test_a_frame_that_would_grow_beyond_reason_is_refused_before_and_while_it_does() -> None:
    bomb = zstd.compress(bytes(frame.FRAME_BYTES_MAX + 1))
    with pytest.raises(RecordingError, match="larger than 50,331,648 bytes"):
        unpacked_bytes(bomb)
    with pytest.raises(RecordingError, match="larger than 50,331,648 bytes"):
        unpack(bomb, None)


def test_a_frame_of_the_largest_size_is_taken() -> None:
    packed = pack(bytes(frame.FRAME_BYTES_MAX), None)
    assert unpacked_bytes(packed) == frame.FRAME_BYTES_MAX == len(unpack(packed, None))


def test_what_could_not_be_unpacked_is_not_packed() -> None:
    with pytest.raises(RecordingError, match="is larger than a recording holds"):
        pack(bytes(frame.FRAME_BYTES_MAX + 1), None)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_frame_that_lies_about_its_size_is_refused_when_it_is_unpacked(change: int) -> None:
    text = Random(1).randbytes(1000)
    packed = bytearray(pack(text, None))
    place = packed.index((len(text) - 256).to_bytes(2, "little"), 4)  # Frame_Content_Size of two bytes (RFC 8878)
    packed[place : place + 2] = (len(text) - 256 + change).to_bytes(2, "little")
    assert unpacked_bytes(bytes(packed)) == len(text) + change
    with pytest.raises(RecordingError):
        unpack(bytes(packed), None)
