"""Connections that were opened within some time and are still there at its end: they have left no entry behind."""

from __future__ import annotations

from whodunnet.model.flow_sockets import Opened, keys_of, opened_by
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads


def kept_in(recording: Recording, begin: float, end: float, latest: float) -> Opened | None:
    """At most so many: as many as the owner has more when that time was over than when it had fewest since it began.

    begin, end: on the boot clock; the reading of sockets that counts for the beginning may be before, that for the end
    after, but not after latest: None where there is none. Of one reading nobody knows since when they are open.
    """
    readings = recording.owned_sockets()
    since = readings[max((n for n, (at, *_) in enumerate(readings) if at.boot_seconds <= begin), default=0) :]
    last = next((n for n, (at, *_) in enumerate(since) if at.boot_seconds >= end), None)
    if last is None or since[last][0].boot_seconds > latest:
        return None
    now = recording.last(Workloads) or Workloads()
    *others, newest = [_counted(sample, now, then) for _, sample, then in since[: last + 1]]
    return {opened: n - min((count.get(opened, 0) for count in others), default=0) for opened, n in newest.items()}


def _counted(sample: Sockets, now: Workloads, then: Workloads | None) -> Opened:
    return opened_by(sample, keys_of(now.by_pid | then.by_pid if then is not None else now.by_pid), opening=False)
