"""No example of a property is timed: another program's load must not decide whether a test passes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
