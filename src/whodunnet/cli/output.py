"""Standard output for lines that come as they come: whole, in order, and no hindrance to a signal that ends it all."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import TextIO

from whodunnet.cli.ending import interruptible

CHUNK_BYTES = 4096
"""So much a pipe takes at once when it takes anything (PIPE_BUF)."""


class Output:
    """Waits until the reader takes more, and only there lets signals in, so that nothing is written half or twice."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Raises OSError where standard output is closed."""
        stream = stream or sys.stdout
        if stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._descriptor, self._encoding = stream.fileno(), stream.encoding
        self._left = b""
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        """Raises Ended; what could not be written by then is kept for `flush`."""
        self._left += text.encode(self._encoding, "replace")
        self.flush()

    def flush(self) -> None:
        """Write what is left. Raises Ended, BrokenPipeError."""
        while self._left:
            with interruptible():
                self._poll.poll()
            written = os.write(self._descriptor, self._left[:CHUNK_BYTES])
            self._left = self._left[written:]
