"""What was repeated, and how much was sent, within a recording: differences between readings of retransmissions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from whodunnet.model.retransmissions import Destination, RepeatOwner, Retransmissions
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording

GROWING = (
    "fast", "timeouts", "probes", "closed", "full", "sent", "duplicates", "sockets", "again_full", "again_small",
    "heard", "refused", "sacked", "stuck", "passed",
)  # fmt: skip


class RepeatWindow(msgspec.Struct, frozen=True, kw_only=True):
    """From the first reading of the newest run of the collector to its last one.

    destinations: those with a repeat or a segment within it, as differences; what is no sum is as it was at the end.
    parts: for each interval between readings what was repeated, by key of the destination. elsewhere, inside, other:
    segments within it, see Retransmissions. whole: nothing was lost of it.
    """

    begin: Moment
    end: Moment
    destinations: tuple[Destination, ...]
    parts: tuple[dict[tuple[int, str, int, bool], int], ...]
    elsewhere: int
    inside: int
    other: int
    whole: bool

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end.boot_seconds - self.begin.boot_seconds

    @property
    def repeated(self) -> int:
        """Segments repeated to all destinations that are known."""
        return sum(d.repeated for d in self.destinations)

    def lasting(self, d: Destination) -> float:
        """The share of the window from its first repeat to its last one; 0 if most parts of the window had none."""
        with_any = sum(d.key in part for part in self.parts)
        if 2 * with_any < len(self.parts):
            return 0.0
        since = max(d.first_seconds, self.begin.boot_seconds)
        return max(d.last_seconds - since, 0.0) / max(self.seconds, 0.001)


def repeat_window(recording: Recording) -> RepeatWindow | None:
    """None without two readings of one run: one cannot show what was repeated since when."""
    series = recording.series(Retransmissions)
    if not series:
        return None
    run = [(at, sample) for at, sample in series if sample.started_seconds == series[-1][1].started_seconds]
    if len(run) < 2:
        return None
    (begin, first), (end, last) = run[0], run[-1]
    steps = [_rises(before, then) for (_, before), (_, then) in pairwise(run)]
    lost = (last.other - first.other, last.untracked - first.untracked, last.missed - first.missed)
    return RepeatWindow(
        begin=begin,
        end=end,
        destinations=_joined(steps),
        parts=tuple({d.key: d.repeated for d in step if d.repeated} for step in steps),
        elsewhere=max(last.elsewhere - first.elsewhere, 0),
        inside=max(last.inside - first.inside, 0),
        other=max(lost[0], 0),
        whole=not any(lost),
    )


def _rises(before: Retransmissions, then: Retransmissions) -> list[Destination]:
    known = {d.key: d for d in before.destinations}
    return [_rise(known.get(d.key), d) for d in then.destinations]


def _rise(before: Destination | None, then: Destination) -> Destination:
    """One that was forgotten meanwhile began at 0 again."""
    if before is None or any(getattr(then, name) < getattr(before, name) for name in GROWING):
        return then
    owners = _owners_risen(before.owners, then.owners)
    return replace(then, owners=owners, **{name: getattr(then, name) - getattr(before, name) for name in GROWING})


def _owners_risen(before: Sequence[RepeatOwner], then: Sequence[RepeatOwner]) -> tuple[RepeatOwner, ...]:
    known = {owner.pid: owner for owner in before}
    found = []
    for now in then:
        old = known.get(now.pid)
        if old is None or old.repeated > now.repeated or old.again_full > now.again_full:
            old = RepeatOwner(now.pid, 0)
        found.append(RepeatOwner(now.pid, now.repeated - old.repeated, now.again_full - old.again_full))
    return tuple(owner for owner in found if owner.repeated)


def _owners_joined(one: Sequence[RepeatOwner], other: Sequence[RepeatOwner]) -> tuple[RepeatOwner, ...]:
    found = {owner.pid: owner for owner in one}
    for owner in other:
        before = found.get(owner.pid, RepeatOwner(owner.pid, 0))
        repeated, again = before.repeated + owner.repeated, before.again_full + owner.again_full
        found[owner.pid] = RepeatOwner(owner.pid, repeated, again)
    return tuple(owner for _, owner in sorted(found.items()))


def _added(one: Destination, other: Destination) -> Destination:
    sums = {name: getattr(one, name) + getattr(other, name) for name in GROWING}
    return replace(other, owners=_owners_joined(one.owners, other.owners), **sums)


def _joined(steps: Sequence[Sequence[Destination]]) -> tuple[Destination, ...]:
    """The sums of all steps, in the order of their keys."""
    found: dict[tuple[int, str, int, bool], Destination] = {}
    for step in steps:
        for d in step:
            one = found.get(d.key)
            found[d.key] = d if one is None else _added(one, d)
    return tuple(d for _, d in sorted(found.items()) if d.repeated or d.sent or d.closed)
