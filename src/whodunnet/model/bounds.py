"""What a number of a sample can be at all: wider than any kernel counts, narrow enough to compute with.

Recordings come from strangers; msgspec refuses what is out of bounds when it decodes one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1

Count = Annotated[int, Meta(ge=0, le=INT64_MAX)]
"""How many, how large, or the number of a process, namespace or cgroup."""

Signed = Annotated[int, Meta(ge=-INT64_MAX, le=INT64_MAX)]
"""What the kernel keeps as a signed number, which may be below zero for a moment or by somebody's wish."""

UnsignedLong = Annotated[int, Meta(ge=0)]
"""Up to UINT64_MAX, which msgspec cannot express: whoever decodes one checks it."""

PageSize = Annotated[int, Meta(ge=512, le=2**20)]
Cpus = Annotated[int, Meta(ge=1, le=2**20)]
Port = Annotated[int, Meta(ge=0, le=65_535)]

Ages = Annotated[tuple[Count, ...], Meta(max_length=12)]
"""One number for each of model.sockets.AGE_BOUNDS_SECONDS, and one for everything older."""

Seconds = Annotated[float, Meta(ge=-1e10, le=1e10)]
"""Three hundred years; below zero where a clock was set back."""

Instant = Annotated[datetime, Meta(tz=True)]
