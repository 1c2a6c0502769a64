"""A network device that loses packets or its line, as a finding: which, who is behind it, the readings, what to do."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from msgspec import structs

from whodunnet.model.finding import Evidence, Finding, Party, Remedy, Severity
from whodunnet.model.link_window import DeviceRise, LinkWindow
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.queue_evidence import digest, tenant

RULE = "nic-drops"
REASONS: Final = {
    "ring-full": "ReceiveRingFull",
    "queue-full": "TransmitQueueFull",
    "not-sent": "TransmitDrops",
    "damaged": "DeviceErrors",
    "flaps": "LinkFlaps",
    "renegotiated": "LinkRenegotiated",
    "queue-thins": "TransmitQueueThins",
}
ORDER: Final = tuple(REASONS)
"""Those that are a fault first."""
INFO: Final = frozenset({"queue-thins"})
"""No fault as a rule."""
LOSSES: Final = ("ring-full", "queue-full", "not-sent", "damaged")
"""Packets that somebody wanted."""
COUNTED: Final = {
    "ring-full": "Received packets for which devices had no room",
    "queue-full": "Packets for which the queue before a device had no room",
    "not-sent": "Packets that devices gave up instead of sending them",
    "damaged": "Packets with errors",
    "not-wanted": "Received packets dropped for another reason, such as a protocol that nobody here speaks",
    "flaps": "Times that a device lost its carrier",
    "queue-thins": "Packets that a queue dropped to slow senders down",
}
SOURCES: Final = {
    "ring-full": "RTM_GETLINK rx_missed, rx_fifo, rx_over; ethtool -S",
    "queue-full": "RTM_GETQDISC drops",
    "queue-thins": "RTM_GETQDISC drops",
    "not-sent": "RTM_GETLINK tx_dropped",
    "damaged": "RTM_GETLINK rx_errors, tx_errors",
    "not-wanted": "RTM_GETLINK rx_dropped",
    "flaps": "RTM_GETLINK carrier_down_count",
    "renegotiated": "ETHTOOL_GLINKSETTINGS",
}
QUEUE_NUMBER: Final = re.compile(r"(?:rx(?:_queue_)?|\[)(\d+)")


class Loss(NamedTuple):
    """One kind of loss of one device. number: packets, or times; whole: of how many packets."""

    device: DeviceRise
    shape: str
    number: int
    whole: int

    @property
    def share(self) -> float:
        return self.number / max(self.whole, 1)


class Behind(NamedTuple):
    """Who is reached through a device. netns: of a pod at its other end, or that it is in itself; None: the node."""

    netns: int | None
    workload: Workload | None


def compose(loss: Loss, recording: Recording, window: LinkWindow, entry: Entry) -> Finding:
    """The finding about one kind of loss."""
    d, shape = loss.device, entry.shapes[loss.shape]
    behind = _behind(loss.device, recording, window)
    words = {
        "device": clean(d.name, 32), "behind": _words_of(behind), "packets": f"{loss.number:,}",
        "share": f"{100 * loss.share:.3g}", "seconds": f"{d.seconds:.1f}", "queue": clean(d.last.queue or "", 32),
        "change": _change(d), "queues": _queues_text(d),
    }  # fmt: skip
    title = shape.title.format(**words)
    severity: Severity = "info" if loss.shape in INFO else "warning"
    return Finding(
        id=f"{RULE}:{digest(d.netns, d.name, d.last.number, loss.shape)}",
        rule=RULE,
        reason=REASONS[loss.shape],
        severity=severity,
        claim=entry.claim,
        confidence="proven" if loss.shape not in INFO else "likely",
        shape=loss.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(_party(loss, behind, recording),),
        evidence=tuple(_evidence(loss, entry)),
        would_explain=entry.would_explain if loss.shape in LOSSES else (),
        remedies=(remedies.CAPTURE, *_remedies(loss), remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _behind(device: DeviceRise, recording: Recording, window: LinkWindow) -> Behind:
    """Of a pair the end that is a pod's alone; of hardware, bridges and tunnels whoever uses them."""
    other = window.last.other_end(device.netns, device.name)
    for netns in (device.netns, *((other[0],) if other is not None else ())):
        inside = tenant(recording, netns)
        if inside is not None:
            return Behind(netns, inside)
    if other is None:
        return Behind(None, None)
    # The end that has fewer devices beside it is the pod's, the other one the node's.
    ends = sorted({device.netns, other[0]}, key=lambda netns: len(window.last.by_netns.get(netns, {})))
    fewer = len(ends) > 1 and len(window.last.by_netns[ends[0]]) < len(window.last.by_netns[ends[1]])
    return Behind(ends[0] if fewer else None, None)


def _words_of(behind: Behind) -> str:
    if behind.workload is not None:
        return f"the device of {short_name(behind.workload)}"
    return f"a device of network namespace {behind.netns}" if behind.netns is not None else "a device of the node"


def _party(loss: Loss, behind: Behind, recording: Recording) -> Party:
    """Who suffers: nobody is seen to cause it."""
    d = loss.device
    effect = {
        "flaps": f"its device lost its carrier {loss.number:,} times",
        "renegotiated": f"its device now runs at {_change(d)}",
    }.get(loss.shape, f"{loss.number:,} packets lost at its device")
    effect, queues = clean(effect, 160), queue_numbers(d) if loss.shape == "ring-full" else ()
    changed: dict[str, Any] = {"queues": queues} if queues else {}
    if behind.workload is not None:
        found = party("victim", behind.workload, effect=effect)
        changed["netns"] = behind.netns
    elif behind.netns is not None:
        found = Party(role="victim", netns=behind.netns, effect=effect)
    else:
        found = Party(role="victim", node=recording.node.hostname, effect=effect)
    return structs.replace(found, device=clean(d.name, 32), **changed)


def queue_numbers(device: DeviceRise) -> tuple[int, ...]:
    """Receive queues that dropped, where the driver says which; most first."""
    found = [(n, match) for name, n in device.rings.items() if (match := QUEUE_NUMBER.match(name))]
    return tuple(int(match[1]) for _, match in sorted(found, key=lambda one: -one[0]))


def _queues_text(device: DeviceRise) -> str:
    numbers = queue_numbers(device)
    if not numbers:
        return ""
    shown = ", ".join(map(str, numbers[:3]))
    return (
        f", queue {shown}" if len(numbers) == 1 else f", queues {shown}" + (" and others" if len(numbers) > 3 else "")
    )


def _change(device: DeviceRise) -> str:
    """From what to what."""
    found = []
    if device.speeds:
        found.append(f"{device.speeds[1]:,} instead of {device.speeds[0]:,} Mbit/s")
    if device.duplexes:
        found.append(f"{device.duplexes[1]} instead of {device.duplexes[0]} duplex")
    return ", ".join(found)


def _evidence(loss: Loss, entry: Entry) -> list[Evidence]:
    d = loss.device
    name, at = clean(d.name, 32), d.end
    if loss.shape == "flaps":
        least = entry.limit("min_downs") if d.is_hardware else entry.limit("min_downs_virtual")
        text = f"Times that {name} lost its carrier within {d.seconds:.1f} s"
        return [reading(at, text, loss.number, "times", shape="flaps", limit=least, device=d)]
    if loss.shape == "renegotiated":
        now, unit = (d.last.speed_mbps, "Mbit/s") if d.speeds else (d.last.duplex, "")
        return [reading(at, f"{name} runs at {_change(d)}", now or "", unit, shape=loss.shape, device=d)]
    text = f"{COUNTED[loss.shape]}: {name}, within {d.seconds:.1f} s"
    found = [reading(at, text, loss.number, "packets", shape=loss.shape, limit=entry.limit("min_dropped"), device=d)]
    share = reading(at, "As a share of its packets", round(loss.share, 6), "share", shape=loss.shape, device=d)
    found.append(share)
    for ring, n in sorted(d.rings.items(), key=lambda item: -item[1])[:3] if loss.shape == "ring-full" else ():
        found.append(reading(at, f"The driver's own {clean(ring, 32)}", n, "packets", shape=loss.shape, device=d))
    return found


def reading(
    at: Moment, statement: str, value: float | str, unit: str, *, shape: str = "not-wanted", limit: float | None = None,
    device: DeviceRise | None = None,
) -> Evidence:  # fmt: skip
    """A number of a device, or of all of them."""
    return Evidence(
        statement=statement, value=value, unit=unit, limit=limit, comparison=None if limit is None else ">=",
        source=SOURCES[shape], at=at.wall, boot_seconds=at.boot_seconds, repeat=_repeat(shape, device),
    )  # fmt: skip


def _repeat(shape: str, device: DeviceRise | None) -> str:
    name = shell_quote(device.name) if device is not None else ""
    dev = f" dev {name}" if name else ""
    command = {
        "queue-full": f"tc -s qdisc show{dev}",
        "queue-thins": f"tc -s qdisc show{dev}",
        "renegotiated": f"ethtool {name}",
        "flaps": f"ip -s -s link show{dev}  # transns: changes of its carrier, both ways",
    }.get(shape, f"ip -s -s link show{dev}")
    if device is None:
        return command
    return f"{command}{', ' if '#' in command else '  # '}in network namespace {device.netns}, twice"


def _remedies(loss: Loss) -> list[Remedy]:
    name = shell_quote(loss.device.name)
    if loss.shape == "ring-full":
        return [
            Remedy(
                action="tune", do="See how long its rings are, and may be", command=f"ethtool --show-ring {name}",
                effect="longer ones (ethtool --set-ring) take a burst", risk="the line may be down for a moment",
            )
        ]  # fmt: skip
    if loss.shape == "queue-full":
        return [
            Remedy(
                action="tune", do="See the limit and rate of its queue", command=f"tc -s -d qdisc show dev {name}",
                effect="tells a limit that somebody set from a line that is too slow", risk="none",
            )
        ]  # fmt: skip
    if loss.shape in ("flaps", "renegotiated", "damaged"):
        return [
            Remedy(
                action="capture", do="See what the driver says", command=f"dmesg | grep -F -- {name} | tail",
                effect="tells a cable from a driver and from a switch", risk="none",
            )
        ]  # fmt: skip
    return []
