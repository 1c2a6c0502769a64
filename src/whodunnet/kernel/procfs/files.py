"""Bounded reading of kernel files, and the one place where an OSError becomes an UnreadableError."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from whodunnet.errors import MalformedError, UnreadableError

DEFAULT_LIMIT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO}
_DENIED = {errno.EACCES, errno.EPERM}


def read_bytes(path: Path, limit: int = DEFAULT_LIMIT_BYTES, capability: str | None = None) -> bytes:
    """Everything in a file of at most `limit` bytes.

    capability: the one that grants this read, named in the error if the kernel refuses.
    Raises UnreadableError (missing-file, missing-capability, vanished, unreadable), MalformedError if it is longer.
    """
    data = read_head(path, limit + 1, capability)
    if len(data) > limit:
        raise MalformedError(f"{path} is longer than {limit} bytes")
    return data


def read_head(path: Path, size: int, capability: str | None = None) -> bytes:
    """The first `size` bytes of a file, fewer if it is shorter. Raises UnreadableError."""
    try:
        # What a runtime keeps its state in may be a FIFO today, which would wait for whoever writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _read(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(str(path), error, capability) from error


def _read(descriptor: int, size: int) -> bytes:
    # A seq_file hands out one piece per read() even when the buffer is larger (seq_read_iter, fs/seq_file.c).
    data = bytearray()
    while len(data) < size and (piece := os.read(descriptor, min(size - len(data), _CHUNK_BYTES))):
        data += piece
    return bytes(data)


def unreadable(source: str, error: OSError, capability: str | None = None) -> UnreadableError:
    """The error for a source that the kernel would not let us read, with a sentence and its code."""
    why = error.strerror or type(error).__name__
    if error.errno in _ABSENT:
        return UnreadableError(f"{source} does not exist here", code="missing-file")
    if error.errno == errno.ESRCH:
        return UnreadableError(f"the process behind {source} is gone", code="vanished")
    if error.errno in _DENIED and capability is not None:
        text = f"{source} cannot be read without {capability} ({why})"
        return UnreadableError(text, code="missing-capability", missing_capability=capability)
    return UnreadableError(f"{source} cannot be read: {why}")


def integer(token: bytes, source: str, item: str) -> int:
    """The decimal number in `token`. Raises MalformedError naming source and item."""
    digits = token[1:] if token[:1] == b"-" else token
    # isdigit first: int() alone would also take "1_0" and "+1". 20 digits hold any 64-bit number.
    if not digits.isdigit() or len(digits) > 20:
        raise MalformedError(f"{source}: {item} should be a number and is {shown(token)}")
    return int(token)


def shown(token: bytes) -> str:
    """Bytes from the kernel as they may appear in a sentence: escaped and short."""
    return repr(token[:40])[1:]
