"""What a runtime noted of one container: the shape that the readers of all runtimes share. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod

PAUSE: Final = "pause"
STATIC_SOURCES: Final = {"file", "http"}  # kubernetes: pkg/kubelet/types/pod_update.go
_Form = TypeVar("_Form")


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """Names are cleaned. name: "pause" for a pod's sandbox. started: of the container's first process.

    first_pid: that process, None where nothing is noted; what else is in the container is in that process's cgroup.
    """

    name: str | None = None
    image: str | None = None
    pod: Pod | None = None
    is_sandbox: bool = False
    started: datetime | None = None
    first_pid: int | None = None


def decode(data: bytes, form: type[_Form], source: str, what: str) -> _Form:
    """JSON of that form. Raises MalformedError, which says that `source` should be `what`."""
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{source}: should be {what}: {clean(str(error))}") from error


def name_or_none(value: str | None) -> str | None:
    """A noted name, cleaned; None for an empty one."""
    return clean(value) if value else None


def is_static_uid(uid: str | None) -> bool:
    """Whether the kubelet made this uid: an MD5 sum for a pod from its own disk, where the API server gives a UUID.

    Source: kubernetes pkg/kubelet/config/common.go, applyDefaults.
    """
    return uid is not None and len(uid) == 32


def parse_pid(data: bytes, source: str) -> int:
    """The process id that is all of a file. Raises MalformedError."""
    text = data.strip()
    if not text.isdigit() or len(text) > 10:
        raise MalformedError(f"{source}: should be a process id")
    return int(text)


def parse_time(text: str | None) -> datetime | None:
    """A moment in RFC 3339; None for Go's zero time and for anything else."""
    try:
        moment = datetime.fromisoformat(text) if text else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None and moment.year > 1 else None
    except (ValueError, OverflowError):
        return None
