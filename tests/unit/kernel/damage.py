"""Bytes that a parser must survive, and where the recorded machines are."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

MACHINES = Path(__file__).parents[2] / "fixtures/proc"
COUNT = st.integers(0, 2**64 - 1)


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, or `good` with a piece of it replaced by arbitrary bytes."""

    def replace(start: int, length: int, piece: bytes) -> bytes:
        return good[:start] + piece + good[start + length :]

    return st.binary() | st.builds(replace, st.integers(0, len(good)), st.integers(0, 40), st.binary(max_size=40))
