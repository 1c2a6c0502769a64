"""Network devices that lose packets, their line, or what their line can carry."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.finding import Answer, Cleared, Evidence, NotApplicable, NotChecked
from whodunnet.model.link_window import DeviceRise, LinkWindow, link_window
from whodunnet.model.links import Links
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.nic_findings import COUNTED, ORDER, RULE, Loss, compose, reading
from whodunnet.rules.queue_evidence import out_of_reach

THINNING = frozenset({"codel", "fq_codel", "cake", "pie", "fq_pie", "red", "gred", "choke", "sfb"})
"""Queues that drop on purpose, so that senders slow down before there is a long wait."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each device and kind of loss, of a kind at most so many."""
    series = recording.series(Links)
    assert series  # the collector is required
    window = link_window(series)
    if window is None:
        return [_one_reading(*series[0])]
    if not window.devices:
        return [_no_device(window.last)]
    losses = [loss for device in window.devices for loss in _losses(device, entry)]
    most = int(entry.limit("listed_devices"))
    found = []
    for shape in ORDER:
        same = sorted((loss for loss in losses if loss.shape == shape), key=_order)
        found += [compose(loss, recording, window, entry) for loss in same[:most]]
    hidden = min(window.first.netns_unread, window.last.netns_unread)
    return found or [out_of_reach(RULE, hidden) or _cleared(window, entry)]


def _order(loss: Loss) -> tuple[bool, int]:
    """Most first; a line that is lost takes down with it whatever is on that device."""
    return loss.shape == "flaps" and not loss.device.is_hardware, -loss.number


def _losses(device: DeviceRise, entry: Entry) -> list[Loss]:
    """What is wrong with it."""
    d, floor, share = device, entry.limit("min_dropped"), entry.limit("min_share")
    found = []

    def add(shape: str, number: int, whole: int, least: float = share) -> None:
        if number >= floor and number >= least * max(whole, 1):
            found.append(Loss(d, shape, number, whole))

    rings = max(d.rx_missed, ring_sum(d.rings))
    add("ring-full", rings, d.received + rings)
    add("damaged", d.rx_errors + d.tx_errors, d.received + d.sent + d.rx_errors + d.tx_errors)
    thins = THINNING & set((d.last.queue or "").split())
    least = entry.limit("min_queue_share")
    add("queue-thins" if thins else "queue-full", d.queue_drops, d.queued + d.queue_drops, least)
    # Without a line, as a bridge without members, all that is flooded is dropped (noop_enqueue): nobody misses it.
    if d.last.up and d.last.carrier is not False:
        add("not-sent", d.tx_dropped, d.sent + d.tx_dropped)
    lost = downs(d) or 0
    # A bridge has a line while one of its members has: the last container that ends takes it down.
    if d.last.kind != "bridge" and lost >= entry.limit("min_downs" if d.is_hardware else "min_downs_virtual"):
        found.append(Loss(d, "flaps", lost, 0))
    if d.is_hardware and (d.speeds or d.duplexes):
        found.append(Loss(d, "renegotiated", d.speeds[1] if d.speeds else d.last.speed_mbps or 0, 0))
    return found


def downs(device: DeviceRise) -> int | None:
    """How often the carrier was lost; without that count, half of its changes."""
    return device.downs if device.downs is not None else device.changes // 2 if device.changes is not None else None


def ring_sum(rings: dict[str, int]) -> int:
    """Drops of all queues; a driver that counts both by queue and in sum counts each packet twice."""
    by_queue = sum(n for name, n in rings.items() if any(c.isdigit() for c in name))
    return by_queue or sum(rings.values())


def _one_reading(at: Moment, sample: Links) -> Answer:
    """No rise can be seen; nothing ever is an answer all the same."""
    every = [d for devices in sample.by_netns.values() for d in devices.values()]
    if not every:
        return _no_device(sample)
    if unreached := out_of_reach(RULE, sample.netns_unread):
        return unreached
    total = sum(d.rx_missed + d.rx_errors + d.tx_errors + d.tx_dropped + d.queue_drops for d in every)
    total += sum(ring_sum(d.rings) for d in every)
    if total == 0:
        text = f"Packets that {len(every):,} devices lost since they were made"
        return Cleared(
            rule=RULE,
            sensitivity=f"any packet lost by one of {len(every):,} devices since it was made; one reading does not "
            "show whether a line came and went",
            evidence=(reading(at, text, 0, "packets"),),
        )
    reason = f"one reading cannot show a rise ({total:,} packets lost by {len(every):,} devices since they were made)"
    return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")


def _no_device(newest: Links) -> NotApplicable | NotChecked:
    """No device could be compared, of which there may be some."""
    there = sum(len(devices) for devices in newest.by_netns.values()) + newest.left_out
    if not there and not newest.netns_unread:
        return NotApplicable(rule=RULE, reason="there is no network device but loopback")
    reason = f"no device could be compared: {there:,} are new, {newest.netns_unread:,} network namespaces were not read"
    return NotChecked(rule=RULE, code="not-collected", reason=reason)


def _cleared(window: LinkWindow, entry: Entry) -> Cleared:
    devices = window.devices
    few, share = entry.limit("min_dropped"), 100 * entry.limit("min_share")
    reach = (
        f"{few:.0f} packets that a device lost, if they are {share:g} % "
        f"of its packets, and any lost line of hardware, within {window.seconds:.1f} s, of {len(devices):,} devices"
    )
    unread, left_out = window.last.netns_unread, window.last.left_out
    if window.fresh:
        reach += f"; {window.fresh:,} devices were new"
    if unread or left_out:
        reach += f"; those of {unread:,} network namespaces, and {left_out:,} more, were not read"
    return Cleared(rule=RULE, sensitivity=reach, evidence=tuple(_sums(window, devices)))


def _sums(window: LinkWindow, devices: Sequence[DeviceRise]) -> list[Evidence]:
    """What all devices counted together."""
    sums = {
        "ring-full": sum(max(d.rx_missed, ring_sum(d.rings)) for d in devices),
        "damaged": sum(d.rx_errors + d.tx_errors for d in devices),
        "queue-full": sum(d.queue_drops for d in devices),
        "not-sent": sum(d.tx_dropped for d in devices),
        "not-wanted": sum(d.rx_dropped for d in devices),
    }
    counted = [reading(window.end, COUNTED[shape], n, "packets", shape=shape) for shape, n in sums.items()]
    lost = sum(downs(d) or 0 for d in devices)
    return [*counted, reading(window.end, COUNTED["flaps"], lost, "times", shape="flaps")]
