"""Packets that the provider dropped because this machine was over one of its limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.devices import Device, Devices
from whodunnet.model.finding import Answer, Cleared, Evidence, Finding, NotApplicable, NotChecked, Party, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.openers import opener_party, openers, owners_of

RULE = "provider-limits"
SHAPES = {
    "conntrack_allowance_exceeded": "connections",
    "linklocal_allowance_exceeded": "link-local",
    "pps_allowance_exceeded": "packet-rate",
    "bw_in_allowance_exceeded": "bandwidth-in",
    "bw_out_allowance_exceeded": "bandwidth-out",
}
"""Counter of the ena driver -> shape."""
AVAILABLE = "conntrack_allowance_available"
REASONS = {"connections": "ProviderConnectionLimit", "link-local": "ProviderLinkLocalLimit",
           "packet-rate": "ProviderPacketLimit", "bandwidth-in": "ProviderBandwidthLimit",
           "bandwidth-out": "ProviderBandwidthLimit"}  # fmt: skip
LOCAL_SERVICES = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fd00:ec2::/32")))
"""Where a provider answers for names, metadata and time."""


class Rise(msgspec.Struct, frozen=True, kw_only=True):
    """One counter of all devices. by_device: device, rise within the window, total."""

    counter: str
    by_device: tuple[tuple[str, int, int], ...]

    @property
    def packets(self) -> int:
        """Rise of all devices together."""
        return sum(risen for _, risen, _ in self.by_device)


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each limit that was exceeded within the window."""
    series = recording.series(Devices)
    assert series  # the collector is required
    (begin, _), (at, last) = series[0], series[-1]
    counting = {name: d for _, sample in series for name, d in sample.by_name.items() if d.allowances}
    if not counting:
        return [_none_here(last)]
    seconds = at.boot_seconds - begin.boot_seconds
    rises = [_rise(counter, [sample for _, sample in series]) for counter in SHAPES]
    if len(series) < 2:
        return [_one_reading(at, rises)]
    found = [r for r in rises if r.packets >= _floor(r.counter, entry)]
    if not found:
        few, many = entry.limit("min_dropped"), entry.limit("min_shaped")
        reach = (
            f"{few:.0f} packets over the limits of connections and local services, {many:.0f} over rate or bandwidth"
        )
        unread = f"; {last.unread} more did not say what they count" if last.unread else ""
        return [_cleared(at, rises, f"{reach}, within {seconds:.1f} s, of {len(counting)} devices{unread}")]
    return [_finding(rise, recording, (at, seconds, counting), entry) for rise in found]


def _none_here(devices: Devices) -> Answer:
    if devices.unread:
        return NotChecked(
            rule=RULE, code="unreadable", reason=f"{devices.unread} devices did not say what they count"
        )  # fmt: skip
    if devices.by_name:
        return NotChecked(
            rule=RULE, code="unsupported", reason="this version of the ena driver does not count the provider's limits"
        )  # fmt: skip
    return NotApplicable(rule=RULE, reason="no network device here counts limits of a provider (the ena driver does)")


def _floor(counter: str, entry: Entry) -> float:
    dropped = SHAPES[counter] in ("connections", "link-local")
    return entry.limit("min_dropped" if dropped else "min_shaped")


def _rise(counter: str, series: Sequence[Devices]) -> Rise:
    """From reading to reading of a device, also if it is gone since; one that was reset between two begins anew."""
    found = []
    for name in dict.fromkeys(name for d in series for name in d.by_name):
        readings = [d.by_name[name].allowances.get(counter) for d in series if name in d.by_name]
        totals = [total for total in readings if total is not None]
        if totals:
            risen = sum(max(then - before, 0) for before, then in pairwise(totals))
            found.append((name, risen, totals[-1]))
    return Rise(counter=counter, by_device=tuple(found))


def _one_reading(at: Moment, rises: Sequence[Rise]) -> Answer:
    """No rise can be seen; nothing ever is an answer all the same."""
    total = sum(total for rise in rises for _, _, total in rise.by_device)
    if total == 0:
        return _cleared(at, rises, "any packet over a limit since the devices were last reset")
    reason = f"one reading cannot show a rise ({total:,} packets over a limit since the devices were last reset)"
    return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")


def _finding(
    rise: Rise, recording: Recording, reading: tuple[Moment, float, dict[str, Device]], entry: Entry
) -> Finding:
    at, seconds, counting = reading
    name = SHAPES[rise.counter]
    shape = entry.shapes[name]
    title = shape.title.format(packets=rise.packets)
    victim = Party(role="victim", node=recording.node.hostname, effect=f"{rise.packets:,} packets over the limit")
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {name}",
        rule=RULE,
        reason=REASONS[name],
        severity="warning",
        claim=entry.claim,
        confidence="proven",
        shape=name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=(*_holders(name, recording, entry), victim),
        evidence=tuple(_evidence(rise, at, seconds, counting, entry)),
        would_explain=entry.would_explain if name == "connections" else (),
        remedies=(remedies.CAPTURE, *_remedies(name, shape.fix)),
        explanation=shape.explanation,
    )


def _holders(name: str, recording: Recording, entry: Entry) -> list[Party]:
    """Who has most of what is limited, where that can be told: it is accounting, and accuses nobody."""
    wanted: dict[str, Callable[[FlowGroup], bool]] = {"connections": lambda _: True, "link-local": _to_provider}
    table = recording.last(Conntrack)
    if name not in wanted or table is None:
        return []
    groups = [g for g in table.groups if wanted[name](g)]
    total = sum(g.entries for g in groups)
    what = "tracked connections" if name == "connections" else "entries to the provider's local services"
    return [
        opener_party("holder", owner, recording.node.hostname, f"has opened {n:,} of {total:,} {what}")
        for owner, n in openers(owners_of(recording), groups)[: int(entry.limit("listed_openers"))]
    ]


def _to_provider(g: FlowGroup) -> bool:
    """Also behind a translation (a name server of the node that asks on)."""
    ends = (g.destination, g.answered_by)
    return any(end is not None and end.address is not None and _is_local_service(end.address) for end in ends)


def _is_local_service(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in LOCAL_SERVICES)


def _evidence(rise: Rise, at: Moment, seconds: float, counting: dict[str, Device], entry: Entry) -> list[Evidence]:
    floor = int(_floor(rise.counter, entry))
    found = [
        _reading(at, name, rise.counter, f"rose within {seconds:.1f} s (since the last reset: {total:,})", risen, floor)
        for name, risen, total in rise.by_device
        if risen
    ]
    if SHAPES[rise.counter] == "connections":
        for name, device in counting.items():
            left = device.allowances.get(AVAILABLE)
            if left is not None:
                text = "connections that the provider would still track"
                found.append(_reading(at, name, AVAILABLE, text, left, None, unit="connections"))
    return found


def _reading(
    at: Moment, device: str, counter: str, text: str, value: int, limit: int | None, *, unit: str = "packets"
) -> Evidence:
    return Evidence(
        statement=f"{clean(device)}: {counter}, {text}",
        value=value,
        unit=unit,
        limit=limit,
        comparison=None if limit is None else ">=" if value >= limit else "<",
        source="statistics of the ena driver",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=f"ethtool -S {shell_quote(device)} | grep allowance  # twice",
    )


def _cleared(at: Moment, rises: Sequence[Rise], reach: str) -> Cleared:
    """Every counter that there is, with its rise; the total is context."""
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=tuple(
            _reading(at, name, rise.counter, f"rise in this window (since the last reset: {total:,})", risen, None)
            for rise in rises
            for name, risen, total in rise.by_device
        )
        or (_nothing_counted(at),),
    )


def _nothing_counted(at: Moment) -> Evidence:
    return Evidence(
        statement="Counters of exceeded limits that the driver has", value=0, unit="counters",
        source="statistics of the ena driver", at=at.wall, boot_seconds=at.boot_seconds,
        repeat="ethtool -S DEVICE | grep allowance",
    )  # fmt: skip


def _remedies(name: str, fix: str) -> list[Remedy]:
    larger = Remedy(
        action="resize",
        do="Take a larger machine, or one with a better network: the limits are those of its size",
        command=None,
        effect="higher limits",
        risk="costs more, and what runs here has to move",
    )
    spread = Remedy(
        action="spread",
        do="Spread what talks most over more machines",
        command=None,
        effect="each machine has limits of its own",
        risk="more machines, more connections between them",
    )
    return [remedies.fix(fix), spread] if name == "link-local" else [spread, larger, remedies.fix(fix)]
