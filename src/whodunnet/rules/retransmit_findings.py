"""Repeated segments as a finding: where to, who has the connections, the readings, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from whodunnet.model.finding import Confidence, Evidence, Finding, Remedy
from whodunnet.model.repeat_window import RepeatWindow
from whodunnet.model.retransmissions import Destination
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import short_name
from whodunnet.rules.queue_evidence import digest
from whodunnet.rules.repeat_parties import Ends, Owner, device_words, endpoint_words, ends_of, parties_of, reading

RULE = "retransmits"
REASONS = {
    "lost": "SegmentsLost",
    "timeouts": "SegmentsLostTimeouts",
    "needless": "SegmentsRepeatedNeedlessly",
    "silent": "PeerSilent",
    "everywhere": "SegmentsLostEverywhere",
}
EFFECTS = {
    "lost": "segments are lost on the way there, or on the way of its answers",
    "timeouts": "segments are lost on the way there, and only time-outs find it",
    "needless": "had most of the repeated segments already",
    "silent": "acknowledges nothing",
    "everywhere": "one of several to which segments are lost alike",
}
BESIDE = "To most others this node sends with far less of it: it is this destination, or the way to it."
LAST_MILE = (
    "It is a client out on the Internet, which has a last mile of its own (radio, a full line at home): alone it is "
    "no fault of this node's network."
)
ALONE = "Hardly anything was sent to anybody else, so nothing says whether it is this destination or this node."
LASTING_PARTS = 3
"""Of the window, between two readings each, with repeats: in fewer, short moments of loss look like one that lasts."""
FEW_PARTS = (
    "Repeats were seen in {seen} of {n} parts of the window, which does not tell whether segments were lost all the "
    "time or at short moments."
)
MORE = "{n:,} more destinations are as bad, and not listed."


class Lossy(NamedTuple):
    """others: the share repeated to most others, of others_sent segments; None: too few to compare with."""

    destination: Destination
    shape: str
    others: float | None
    others_sent: int
    left_out: int


def compose(one: Lossy, window: RepeatWindow, recording: Recording, entry: Entry) -> Finding:
    """The finding about one destination."""
    d, shape, ends = one.destination, entry.shapes[one.shape], ends_of([one.destination], recording)
    words = words_of(d, ends)
    title = shape.title.format(**words)
    seen = sum(d.key in part for part in window.parts)
    lasts = one.shape == "silent" or seen >= LASTING_PARTS
    confidence: Confidence = "proven" if one.others is not None and window.whole and lasts else "likely"
    extra = [ALONE] if one.others is None else [BESIDE] if one.shape in ("lost", "timeouts") else []
    extra += [] if lasts else [FEW_PARTS.format(seen=seen, n=len(window.parts))]
    extra += [LAST_MILE] if _is_far_client(d) else []
    extra += [MORE.format(n=one.left_out)] if one.left_out else []
    return Finding(
        id=f"{RULE}:{digest(*d.key)}",
        rule=RULE,
        reason=REASONS[one.shape],
        severity="info" if one.shape == "needless" or _is_far_client(d) else "warning",
        claim=entry.claim,
        confidence=confidence,
        shape=one.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=parties_of([d], ends, int(entry.limit("listed_owners")), _effect, EFFECTS[one.shape]),
        evidence=tuple(_evidence(one, window, entry)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, *_remedies(d, one.shape), remedies.fix(shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *extra),
    )


def _is_far_client(d: Destination) -> bool:
    """Whether it is a client of a server here, out on the Internet."""
    try:
        return d.accepted and ip_address(d.remote).is_global
    except ValueError:
        return False


def words_of(d: Destination, ends: Ends) -> dict[str, str]:
    """For the texts of the catalogue; all are cleaned."""
    who = short_name(ends.owners[0].workload) if ends.owners else f"network namespace {d.netns}"
    more = len(ends.owners) - 1
    return {
        "who": f"{who} and {more:,} more" if more > 0 else who,
        "peer": endpoint_words(d),
        "repeated": f"{d.repeated:,}",
        "sockets": "1 connection" if d.sockets == 1 else f"{d.sockets:,} connections",
        "sent": f"{max(d.sent, d.repeated):,}",
        "percent": f"{100 * d.repeated / max(d.sent, d.repeated, 1):.2g} %",
        "device": device_words(d),
    }


def _effect(owner: Owner) -> str:
    if owner.repeated is None:
        return "has, or had, connections there"
    return f"{owner.repeated:,} segments of its connections were sent again"


def _evidence(one: Lossy, window: RepeatWindow, entry: Entry) -> list[Evidence]:
    d = one.destination
    share = d.repeated / max(d.sent, d.repeated, 1)
    found = [
        reading(window, "Segments sent again to it, SYNs not counted", d.repeated, "segments", d,
                limit=entry.limit("min_repeated"), comparison=">="),
        reading(window, f"Their share of the segments sent to it in {window.seconds:.1f} s", round(share, 4), "share",
                d, limit=entry.limit("min_share"), comparison=">="),
    ]  # fmt: skip
    if one.others is not None:
        text = f"The share to most others: of {one.others_sent:,} segments more than half went where it is no larger"
        limit = round(share / entry.limit("others_ratio"), 4)
        found.append(reading(window, text, round(one.others, 4), "share", limit=limit, comparison="<="))
    return [*found, *_kinds(d, window)]


def _kinds(d: Destination, window: RepeatWindow) -> list[Evidence]:
    """How the kernel came to repeat them."""
    rows = (
        ("Of those because the receiver told of a gap (fast retransmit)", d.fast, "segments"),
        ("Of those after a time-out", d.timeouts, "segments"),
        ("Of those the last ones, sent again before the time-out (tail loss probe)", d.probes, "segments"),
        ("Of those which the receiver said it had twice (DSACK)", d.duplicates, "segments"),
        ("Repeated into a closed window, which is no loss and not counted", d.closed, "segments"),
    )
    found = [reading(window, text, n, unit, d) for text, n, unit in rows if n]
    if d.sockets:
        found.append(reading(window, "Connections that began to repeat segments", d.sockets, "connections", d))
    if d.device:
        command = f"ip -s link show dev {shell_quote(d.device)}  # in network namespace {d.netns}"
        found.append(reading(window, "Sent out by", clean(d.device, 32), "device", d, repeat=command))
    return found


def compose_everywhere(
    those: Sequence[Destination], window: RepeatWindow, recording: Recording, entry: Entry
) -> Finding:
    """All, or nearly all, that anything is sent to are as bad: no destination is to blame."""
    shape, most = entry.shapes["everywhere"], int(entry.limit("listed_destinations"))
    repeated, sent = sum(d.repeated for d in those), sum(max(d.sent, d.repeated) for d in those)
    devices = sorted({(d.netns, d.device or "") for d in those})
    words = {
        "destinations": f"{len(those):,}",
        "percent": f"{100 * repeated / max(sent, 1):.2g} %",
        "device": device_words(those[0]) if len(devices) == 1 else f"{len(devices):,} devices",
    }
    title = shape.title.format(**words)
    parties = [
        p
        for d in those[:most]
        for p in parties_of([d], ends_of([d], recording), 1, _effect, EFFECTS["everywhere"])
    ]  # fmt: skip
    text = f"Segments sent again to {len(those):,} destinations, of {sent:,} sent to them"
    worst = [
        reading(window, f"Of those to {endpoint_words(d)}, of {max(d.sent, d.repeated):,}", d.repeated, "segments", d)
        for d in those[:most]
    ]
    return Finding(
        id=f"{RULE}:{digest('everywhere', *devices)}",
        rule=RULE,
        reason=REASONS["everywhere"],
        severity="info",
        claim=entry.claim,
        confidence="possible",
        shape="everywhere",
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=tuple(dict.fromkeys(parties)),
        evidence=(reading(window, text, repeated, "segments"), *worst),
        remedies=(remedies.CAPTURE, *_remedies(those[0], "everywhere"), remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _remedies(d: Destination, shape: str) -> list[Remedy]:
    address = shell_quote(d.remote)
    look = Remedy(
        action="capture",
        do="See at which hop packets are lost; a hop that answers less is no proof if those behind it answer",
        command=f"mtr --report --report-cycles 50 --tcp --port {d.port} {address}" if not d.accepted
        else f"mtr --report --report-cycles 50 {address}",
        effect="tells the network here from the far end",
        risk="none",
    )  # fmt: skip
    drops = Remedy(
        action="capture",
        do="See what this node itself drops: devices, queues, filters",
        command="ip -s -s link; tc -s qdisc; nstat -asz | grep -Ei 'drop|prune|discard'",
        effect="tells this node from the network",
        risk="none",
    )
    return [drops, look] if shape == "everywhere" else [look, drops]
