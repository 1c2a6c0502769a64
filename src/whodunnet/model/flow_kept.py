"""Connections that were opened within some time and are still there at its end: they have left no entry behind."""

from __future__ import annotations

from whodunnet.model.flow_sockets import Opened, keys_of, opened_by
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads


def kept_in(recording: Recording, begin: float, end: float) -> Opened:
    """At most so many of the last reading of a time: as many as its owner has more than when it had fewest meanwhile.

    begin, end: on the boot clock. Of one reading nobody knows since when they are open.
    """
    until = [reading for reading in recording.owned_sockets() if reading[0].boot_seconds <= end]
    before = [at for at, *_ in until if at.boot_seconds <= begin]
    if not until:
        return {}
    now = recording.last(Workloads) or Workloads()
    *others, newest = [_counted(sample, now, then) for _, sample, then in until[max(len(before) - 1, 0) :]]
    return {opened: n - min((count.get(opened, 0) for count in others), default=0) for opened, n in newest.items()}


def _counted(sample: Sockets, now: Workloads, then: Workloads | None) -> Opened:
    return opened_by(sample, keys_of(now.by_pid | then.by_pid if then is not None else now.by_pid), opening=False)
