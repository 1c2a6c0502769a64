"""One snapshot as bytes: JSON, compressed by zstd against the snapshot of a key frame, so that a day fits in a file.

Every frame needs its key frame only, never the one before it: any other can be taken out.
"""

from __future__ import annotations

import sys

from whodunnet.errors import RecordingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 11
WINDOW_LOG_MAX = 26
FRAME_BYTES_MAX = 48 << 20
"""What one snapshot may make a reader hold in memory, twice with its key frame."""


def pack(text: bytes, key: bytes | None) -> bytes:
    """Compress a snapshot's JSON; key: the JSON of its key frame, None for a key frame. Checked when unpacked.

    Raises RecordingError if it is larger than what is unpacked again.
    """
    if len(text) > FRAME_BYTES_MAX:
        raise RecordingError(
            f"a snapshot of {len(text):,} bytes is larger than a recording holds ({FRAME_BYTES_MAX:,})"
        )
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.window_log: min(WINDOW_LOG_MAX, max(10, (len(text) + len(key or b"")).bit_length())),
    }
    return zstd.compress(text, options=options, zstd_dict=_prefix(key))


def unpack(data: bytes, key: bytes | None) -> bytes:
    """The JSON that was packed. Raises RecordingError if the bytes are damaged, or would grow beyond reason."""
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX + 1}
    try:
        decompressor = zstd.ZstdDecompressor(zstd_dict=_prefix(key), options=options)
        text = decompressor.decompress(data, max_length=FRAME_BYTES_MAX)
    except (zstd.ZstdError, MemoryError) as error:
        raise RecordingError(str(error)) from error
    if not decompressor.eof:
        raise RecordingError(f"a snapshot is cut short, or larger than {FRAME_BYTES_MAX:,} bytes")
    return text


def unpacked_bytes(data: bytes) -> int:
    """How large the JSON is by the frame's own word, which `unpack` holds it to; nothing is decompressed.

    Raises RecordingError if the bytes are no frame, or one that does not say, or says more than FRAME_BYTES_MAX.
    """
    try:
        size = zstd.get_frame_info(data).decompressed_size
    except zstd.ZstdError as error:
        raise RecordingError(str(error)) from error
    if size is None or size > FRAME_BYTES_MAX:
        raise RecordingError(f"a snapshot does not say its size, or is larger than {FRAME_BYTES_MAX:,} bytes")
    return size


def _prefix(key: bytes | None) -> zstd.ZstdDict | tuple[zstd.ZstdDict, int] | None:
    # An undigested prefix: a key frame serves as dictionary only a few dozen times, too seldom to pay for digesting.
    return zstd.ZstdDict(key, is_raw=True).as_prefix if key and len(key) >= 8 else None
