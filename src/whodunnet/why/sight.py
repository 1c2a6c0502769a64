"""What was seen of the connection that is asked about, and what cannot be seen of it from this node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.connections import Connections, Ending
from whodunnet.model.finding import Evidence
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean
from whodunnet.why.flow import Flow, Place
from whodunnet.why.message import NAMES
from whodunnet.why.subject import Subject

SOURCE = "connections collector"
REPEAT = "whodunnet connections --for 60s --by pair"
CONNECTING = "syn-sent"
OUTCOMES: tuple[tuple[str, frozenset[Ending], bool, str], ...] = (
    ("Connects that were answered", frozenset({"opened"}), False, "connects"),
    ("Connects that were refused", frozenset({"refused"}), True, "connects"),
    ("Connects that a message rejected (ICMP)", frozenset({"rejected", "broken"}), True, "connects"),
    ("Connects that nobody answered until they were given up", frozenset({"timed-out", "given-up"}), True, "connects"),
    ("Connects that failed before the first packet (no free port)", frozenset({"not-sent"}), True, "connects"),
    ("SYNs that were sent again", frozenset({"syn-retransmitted"}), True, "SYNs"),
    ("Resets that came", frozenset({"reset-received"}), False, "resets"),
    ("Connections that the program of this end reset", frozenset({"reset-sent"}), False, "connections"),
    ("Connections that this end closed first", frozenset({"closed-here"}), False, "connections"),
    ("Connections that the other end closed first", frozenset({"closed-by-peer"}), False, "connections"),
    ("Connections that broke while they stood", frozenset({"timed-out", "broken"}), False, "connections"),
)
"""Words, endings, whether they are of connects, and the unit. Connects that stand end in another state."""


def readings(flow: Flow, recording: Recording) -> Iterator[Evidence]:
    """What became of its connections within the window; nothing where none was seen."""
    series = recording.series(Connections)
    if not series or not flow.pairs:
        return
    connecting, standing = _count(flow.pairs)
    for statement, endings, of_connects, unit in OUTCOMES:
        counted = connecting if of_connects else standing
        value = sum(counted[ending] for ending in endings)
        if value:
            yield _evidence(statement, value, unit, series[-1][0])


def not_seen(subject: Subject, flow: Flow, recording: Recording) -> Iterator[str]:
    """Sentences."""
    if subject.pod is not None and flow.pod_is_absent:
        yield f"the pod {clean(str(subject.pod))}: nothing of it was met on this node"
    if flow.is_unknown and subject.pod is None:
        yield "between whom it was: neither an address nor a name is in the text (--endpoint and --pod say it)"
    if flow.is_elsewhere:
        yield "either end: neither is on this node, and of what it only forwards little is seen"
    for place in flow.places if not flow.is_elsewhere else ():
        yield from _unseen(place, is_destination=place is flow.destination)
    if subject.message is not None and subject.message.kind in NAMES and flow.destination is None:
        yield "which name server was asked: the text does not say"
    failure = recording.failure("connections")
    if failure is not None:
        yield f"how connections began and ended: {failure.reason}"
    elif flow.pairs is None:
        last = recording.last(Connections)
        yield f"how connections began and ended: {(last and last.fallback_reason) or 'that takes BPF'}"
    elif not flow.pairs and flow.endpoints:
        yield f"a connection to it in this window of {recording.seconds:.0f} s: none began, ended or failed"


def _unseen(place: Place, *, is_destination: bool) -> Iterator[str]:
    name = clean(str(place.side))
    if place.side.is_loopback:
        yield f"in which network namespace {name} is meant: each has its own (--pod says it)"
    elif place.side.address is None and place.side.name is not None:
        yield f"where {name} leads to: names are not looked up, findings are compared by its port alone"
    elif place.here is False:
        what = "who listens there, its queues and its CPU" if is_destination else "what its program and its kernel do"
        yield f"{what}: {name} is not on this node"
    elif place.here is None and place.side.address is not None:
        yield f"whether {name} is on this node: its addresses were not read, or several have it"


def _count(pairs: Sequence[Pair]) -> tuple[Counter[str], Counter[str]]:
    """Endings of connects, and of what stood."""
    connecting: Counter[str] = Counter()
    standing: Counter[str] = Counter()
    for group in (g for pair in pairs for g in pair.seen):
        counted = connecting if group.state == CONNECTING else standing
        counted[group.ending] += group.connections
    return connecting, standing


def _evidence(statement: str, value: int, unit: str, at: Moment) -> Evidence:
    return Evidence(
        statement=statement, value=value, unit=unit, source=SOURCE, at=at.wall, boot_seconds=at.boot_seconds,
        repeat=REPEAT,
    )  # fmt: skip
