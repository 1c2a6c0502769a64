"""What reads and has no target, each with the reason."""

from __future__ import annotations

from typing import Final

UNTARGETED: Final = {
    "whodunnet.recording.frame:pack": "writes; `unpack` reads it",
    "whodunnet.kernel.system_calls:read_names": "reads a list that is written in that module",
}
"""By module:function."""
