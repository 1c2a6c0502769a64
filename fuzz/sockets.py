"""A socket on which given bytes came, in one datagram from the kernel, and which has no others."""

from __future__ import annotations


class Given:
    """As much of a socket as is asked of one that does not wait. Its options are of these bytes too."""

    def __init__(self, data: bytes) -> None:
        self._datagrams, self._option = [data], data

    def recv(self, size: int) -> bytes:
        if not self._datagrams:
            raise BlockingIOError
        return self._datagrams.pop()[:size]

    def recvmsg_into(self, buffers: list[memoryview]) -> tuple[int, list[bytes], int, tuple[int, int]]:
        data = self.recv(len(buffers[0]))
        buffers[0][: len(data)] = data
        return len(data), [], 0, (0, 0)

    def getsockopt(self, _level: int, _option: int, size: int) -> bytes:
        return self._option[:size]
