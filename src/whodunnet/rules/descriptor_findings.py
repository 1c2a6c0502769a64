"""Descriptors of a process used up, as a finding: whose, what they are, and what to do."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from whodunnet.model.descriptors import DescriptorUse
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import shorten_bytes
from whodunnet.model.workload import Process, Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.queue_evidence import digest

RULE = "descriptor-limit"
REASONS = {
    "exhausted": "NoFreeDescriptor",
    "near": "FewDescriptorsLeft",
    "node-exhausted": "NoFreeFile",
    "node-refused": "FilesRefused",
    "node-near": "FewFilesLeft",
}
CLOSE_WAIT = (
    "Most of them are connections that the other end has closed, and this program has not (CLOSE_WAIT): they are of no "
    "more use, and only it can give them up."
)
CLOSE = (
    "Close each connection that the other end has closed, also after an error (a response's body, a client that is "
    "made anew for each request); a higher limit or a restart only lasts until as many are forgotten again"
)


class Closed(NamedTuple):
    """Sockets of a process that their other end has closed and it has not (CLOSE_WAIT), of so many that it has.

    endpoint: of most of them, None if they have none in common; there: how many.
    """

    sockets: int
    total: int
    endpoint: Endpoint | None
    there: int


class Full(NamedTuple):
    """A process near its limit. readings: of it, oldest first; full: in how many nothing, or next to nothing, was left.

    others: processes of the same owner that are near theirs. waiting: connections that wait to be accepted by it, the
    fewest in any reading. closed: where most of what it has open is in CLOSE_WAIT.
    """

    use: DescriptorUse
    owner: Workload | None
    at: Moment
    readings: tuple[DescriptorUse, ...]
    full: int
    others: int
    waiting: int
    closed: Closed | None = None

    @property
    def shape(self) -> str:
        """Exhausted if it was so in at least half of its readings."""
        return "exhausted" if self.full and 2 * self.full >= len(self.readings) else "near"


def compose(case: Full, readings: int, entry: Entry) -> Finding:
    """The finding about one owner. readings: of the collector, in some of which the process may be missing."""
    shape, who = entry.shapes[case.shape], _who(case)
    confidence = _confidence(case, readings)
    words = {
        "who": short_name(who, case.use.pid), "open": f"{case.use.open:,}", "limit": f"{case.use.limit:,}",
        "left": _left(case.use.left), "kinds": _kinds(case),
    }  # fmt: skip
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest(case.use.pid, case.use.started_seconds)}",
        rule=RULE,
        reason=REASONS[case.shape],
        severity="info" if confidence == "possible" else "warning",
        claim="answers-not" if _is_seen_failing(case, confidence) else entry.claim,
        confidence=confidence,
        shape=case.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=case.at.wall,
        parties=(_party(case, who, confidence),),
        evidence=tuple(_evidence(case, entry)),
        would_explain=entry.would_explain if case.shape == "exhausted" else (),
        remedies=tuple(_remedies(case, who, shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *((CLOSE_WAIT,) if case.closed else ())),
    )


def _confidence(case: Full, readings: int) -> Confidence:
    """That it has them is seen at once; that it lasts, and what it does, takes two readings."""
    if readings < 2 or len(case.readings) < 2:
        return "possible"
    spent = case.full > 1 and any(one.left == 0 for one in case.readings)
    return "proven" if case.shape == "exhausted" and spent and case.waiting else "likely"


def _is_seen_failing(case: Full, confidence: Confidence) -> bool:
    """It has nothing left, and in each reading somebody waits to be accepted."""
    return case.shape == "exhausted" and confidence == "proven"


def _left(number: int) -> str:
    return "no descriptor" if number == 0 else f"{number:,} descriptor{'s' if number > 1 else ''}"


def _who(case: Full) -> Workload:
    """As attributed; else by the name that was read with the number."""
    if case.owner is not None and case.owner.process is not None:
        return case.owner
    return Workload(process=Process(pid=case.use.pid, comm=case.use.comm))


def kinds(use: DescriptorUse) -> str:
    """What most of them are, in words."""
    if not use.looked_at:
        return "of what kind was not seen"
    named = {"sockets": use.sockets, "files": use.files, "pipes, timers and the like": use.other}
    kind, most = max(named.items(), key=lambda item: item[1])
    if 2 * most < use.looked_at:
        return "sockets, files and others"
    return f"{'all' if most == use.looked_at else 'mostly'} {kind}"


def _kinds(case: Full) -> str:
    return kinds(case.use) + (f", {case.closed.sockets:,} in CLOSE_WAIT" if case.closed else "")


def _party(case: Full, who: Workload, confidence: Confidence) -> Party:
    more = f", and {case.others:,} more of its processes are near theirs" if case.others else ""
    if _is_seen_failing(case, confidence):
        effect = f"can open nothing more, and {case.waiting:,} connections wait to be accepted{more}"
        return party("culprit", who, effect=effect)
    effect = f"{case.use.left:,} of {case.use.limit:,} descriptors are left, {_kinds(case)}{more}"
    return party("holder", who, effect=effect)


def _evidence(case: Full, entry: Entry) -> list[Evidence]:
    use, at = case.use, case.at
    count = Evidence(
        statement=f"Descriptors that pid {use.pid} has open", value=use.open, unit="descriptors", limit=use.limit,
        comparison="of", source="/proc/<pid>/fd, /proc/<pid>/limits", at=at.wall, boot_seconds=at.boot_seconds,
        repeat=f"ls /proc/{use.pid}/fd | wc -l; grep 'open files' /proc/{use.pid}/limits",
    )  # fmt: skip
    found = [count]
    if len(case.readings) > 1:
        text = f"Readings in which fewer than {entry.limit('few_left'):.0f} were left"
        found.append(replace(count, statement=text, value=case.full, unit="readings", limit=len(case.readings)))
        found.append(replace(count, statement="At the first reading it had", value=case.readings[0].open))
    if use.looked_at:
        text = "Sockets among the descriptors that were looked at"
        repeat = f"ls -l /proc/{use.pid}/fd | grep -c socket:"
        found.append(replace(count, statement=text, value=use.sockets, limit=use.looked_at, repeat=repeat))
    found += _of_closed(case.closed, count) if case.closed else []
    if case.waiting:
        text = "Connections that wait for it to accept them, the fewest in any reading"
        found.append(
            replace(
                count, statement=text, value=case.waiting, unit="connections", limit=None, comparison=None,
                source="sockets collector", repeat="ss -ltnp  # Recv-Q",
            )
        )  # fmt: skip
    return found


def _of_closed(closed: Closed, count: Evidence) -> list[Evidence]:
    """count: the process's descriptors as evidence, of the same moment."""
    text = "Its TCP sockets in CLOSE_WAIT: the other end has closed, and it has not"
    all_of_them = replace(
        count, statement=text, value=closed.sockets, unit="sockets", limit=closed.total, source="sockets collector",
        repeat="ss -Htnp state close-wait  # in its network namespace",
    )  # fmt: skip
    if closed.endpoint is None:
        return [all_of_them]
    column = 3 if closed.endpoint.address is None else 4
    peers = f"ss -Htn state close-wait | awk '{{print ${column}}}' | sort | uniq -c | sort -n | tail  # there"
    text = f"Of those of one endpoint, {endpoint_text(closed.endpoint)}"
    return [all_of_them, replace(all_of_them, statement=text, value=closed.there, limit=closed.sockets, repeat=peers)]


def _remedies(case: Full, who: Workload, fix: str) -> list[Remedy]:
    use, steps = case.use, [remedies.CAPTURE]
    steps.append(
        Remedy(
            action="capture", do="See what they are, and to whom", effect="tells a leak from many clients", risk="none",
            command=f"ls -l /proc/{use.pid}/fd | awk '{{print $NF}}' | sort | uniq -c | sort -n | tail",
        )
    )  # fmt: skip
    # More room is filled as well by what is never closed: that comes first.
    steps += [remedies.fix(CLOSE)] if case.closed else []
    if who.process is not None and use.pid != 1:
        steps.append(
            Remedy(
                action="tune", do="Give the running process a higher limit, to gain time",
                command=f"prlimit --pid {use.pid} --nofile={2 * use.limit}:",
                effect="it can open as many again, at once; its hard limit stays, above which this is refused",
                risk="if it leaks, it only takes longer; a program that uses select() breaks above 1,024",
            )
        )  # fmt: skip
    restart = remedies.restart(case.owner, "its descriptors are closed", "it fills them again if it leaks")
    steps += [restart] if restart else []
    return steps if case.closed else [*steps, remedies.fix(fix)]
