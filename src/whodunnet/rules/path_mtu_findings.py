"""A path that is too narrow as a finding: where to, by which device, what passes, what to do."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from whodunnet.model.counter_window import CounterWindow
from whodunnet.model.finding import Confidence, Evidence, Finding, Remedy
from whodunnet.model.repeat_window import RepeatWindow
from whodunnet.model.retransmissions import Destination
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text, short_name
from whodunnet.rules.queue_evidence import counted, digest
from whodunnet.rules.repeat_parties import Ends, Owner, device_words, ends_of, parties_of, reading

RULE = "path-mtu"
PEER = "nothing of full size arrives there"
FAR = (
    "A far end that has run out of TCP memory drops full segments too, and is not seen from here: if it is a machine "
    "of yours, look there first (whodunnet diagnose --rule tcp-memory)."
)


class Hole(NamedTuple):
    """Destinations at one address, and what shows that small segments pass.

    heard: repeats during which something came from there. sacked: those where something that was sent later had
    arrived. opened: connects there that were answered after segments were seen to be stuck.
    """

    those: tuple[Destination, ...]
    confidence: Confidence
    heard: int
    sacked: int
    opened: int

    @property
    def first(self) -> Destination:
        """The one with most of it."""
        return max(self.those, key=lambda d: (d.again_full, d.key))

    @property
    def again(self) -> int:
        return sum(d.again_full for d in self.those)

    @property
    def stuck(self) -> int:
        return sum(d.stuck for d in self.those)


def compose(
    hole: Hole, window: RepeatWindow, counters: CounterWindow | None, recording: Recording, entry: Entry
) -> Finding:
    """The finding about one address."""
    d, shape, ends = hole.first, entry.shapes["black-hole"], _ends(hole, recording)
    words = _words(hole, ends)
    title = shape.title.format(**words)
    owners = int(entry.limit("listed_owners"))
    return Finding(
        id=f"{RULE}:{digest(d.netns, d.remote)}",
        rule=RULE,
        reason="PathSwallowsFullSize",
        severity="info" if hole.confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=hole.confidence,
        shape="black-hole",
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=parties_of(hole.those, ends, owners, _effect, PEER),
        evidence=tuple(_evidence(hole, window, counters, entry)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, *_remedies(d), remedies.fix(shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *(() if ends.local else (FAR,))),
    )


def _ends(hole: Hole, recording: Recording) -> Ends:
    """Of owners that were met only those whose transfers hang: others may have loss alone."""
    ends = ends_of(hole.those, recording)
    return replace(ends, owners=tuple(owner for owner in ends.owners if owner.again != 0))


def _effect(owner: Owner) -> str:
    if owner.again is None:
        return "has, or had, connections there"
    return f"its transfers hang: {owner.again:,} segments were sent again and again"


def _words(hole: Hole, ends: Ends) -> dict[str, str]:
    """For the texts of the catalogue; all are cleaned."""
    d = hole.first
    return {
        "who": short_name(ends.owners[0].workload) if ends.owners else f"network namespace {d.netns}",
        "peer": endpoint_text(Endpoint(d.remote, None)),
        "device": device_words(d),
        "mtu": f"{d.path_mtu:,}" if d.path_mtu is not None else "unknown",
        "stuck": f"{hole.stuck:,}",
    }


def _evidence(hole: Hole, window: RepeatWindow, counters: CounterWindow | None, entry: Entry) -> list[Evidence]:
    d = hole.first
    found = [
        reading(window, "Full-size segments repeated after the third time-out or a later one", hole.again, "segments",
                d, limit=entry.limit("min_again"), comparison=">="),
        reading(window, "Of all full-size segments repeated to it, those that got through", 0, "segments", d,
                limit=sum(o.full for o in hole.those), comparison="of"),
        reading(window, "Small segments repeated as often", sum(o.again_small for o in hole.those), "segments", d),
    ]  # fmt: skip
    passing = (
        ("Repeats while something that was sent later, and is smaller, had arrived (SACK)", hole.sacked, "segments"),
        ("Repeats while something came from there", hole.heard, "segments"),
        ("Connects there that were answered meanwhile", hole.opened, "connects"),
    )
    found += [reading(window, text, n, unit, d) for text, n, unit in passing if n]
    return [*found, *_sizes(d, window), *_told(d, counters)]


def _sizes(d: Destination, window: RepeatWindow) -> list[Evidence]:
    route = f"ip route get {shell_quote(d.remote)}; ip link  # in network namespace {d.netns}"
    rows = (
        ("Data in each of these segments", d.mss, "bytes"),
        ("Packets that the kernel believes the path to take", d.path_mtu, "bytes"),
        (f"Packets that {device_words(d)} may send", d.device_mtu, "bytes"),
        ("Sent out by", clean(d.device, 32) if d.device else None, "device"),
    )
    return [reading(window, text, n, unit, d, repeat=route) for text, n, unit in rows if n is not None]


def _told(d: Destination, counters: CounterWindow | None) -> list[Evidence]:
    """Whether anybody said that packets are too large."""
    if counters is None:
        return []
    v6 = ":" in d.remote
    name = "Icmp6.InPktTooBigs" if v6 else "IcmpMsg.InType3"
    what = "that packets are too big" if v6 else "that something cannot be reached, packets that are too big among it"
    text = f"Messages (ICMP) to this network namespace {what}"
    found = counted(counters, name, d.netns, text, unit="messages")
    return [found] if found.value is not None else []


def _remedies(d: Destination) -> list[Remedy]:
    address, header = shell_quote(d.remote), 48 if ":" in d.remote else 28
    size = max((d.path_mtu or 1500) - header, 1)
    netns = f"  # in network namespace {d.netns}"
    return [
        Remedy(
            action="capture",
            do="See which size passes: packets that may not be cut, from large to small",
            command=f"ping -c 3 -M do -s {size} {address}; tracepath -n {address}{netns}",
            effect="the largest size that is answered, and 28 bytes (48 with IPv6), is what the path takes",
            risk="none; who answers no pings says nothing",
        ),
        Remedy(
            action="tune",
            do="Let TCP find out by itself: smaller segments after several time-outs",
            command=f"sysctl -w net.ipv4.tcp_mtu_probing=1{netns}",
            effect="connections that hang go on after some seconds, new ones too",
            risk="each connection hangs first; mere loss makes segments smaller as well, which costs throughput",
        ),
        Remedy(
            action="tune",
            do="Tell TCP the size of the path: an mtu on this route, or on a router an MSS clamp for all that pass it",
            command=f"ip route get {address}{netns}",
            effect="the command shows the route to change (ip route change ... mtu SIZE); new connections then fit",
            risk="a wrong route cuts the destination off; a size too small costs throughput; no help for UDP",
        ),
    ]
