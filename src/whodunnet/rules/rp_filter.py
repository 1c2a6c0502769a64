"""Packets that the kernel drops because the way back to their sender is by another device (rp_filter)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.settings import LOOSE, STRICT, NamespaceSettings
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.namespace_counts import cleared_of, once_of, setting_reading, settings_of
from whodunnet.rules.queue_evidence import counted, digest, tenant

RULE = "rp-filter"
DROPPED: Final = "TcpExt.IPReversePathFilter"
ALL: Final = "net.ipv4.conf.all.rp_filter"
REASONS = {"strict": "ReversePathStrict", "loose": "ReversePathLoose", "unknown": "ReversePathDrops"}
WHAT = "packets dropped by the check of the way back"


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each namespace."""
    window = counter_window(recording)
    if window is None:
        return [once_of(recording, RULE, WHAT, DROPPED)]
    least, rate = entry.limit("min_packets"), entry.limit("min_rate")
    enough = max(least, rate * window.seconds)
    found = sorted(
        ((netns, n) for netns, n in window.rise(DROPPED).items() if n >= enough), key=lambda one: (-one[1], one[0])
    )
    if not found:
        reach = f"{least:.0f} or more packets, and {rate:g} a second, that the check of the way back drops"
        return [cleared_of(window, RULE, DROPPED, WHAT, reach)]
    listed = found[: int(entry.limit("listed_namespaces"))]
    return [_finding(netns, n, recording, window, entry) for netns, n in listed]


def _at(settings: NamespaceSettings, mode: int) -> list[str]:
    """Devices whose setting in force is this one."""
    return [device for device in settings.devices if settings.rp_filter(device) == mode]


def _shape(settings: NamespaceSettings | None) -> tuple[str, list[str], Confidence]:
    """How strict, and at which devices; surer where no device is set in another way that drops as well."""
    if settings is None or settings.devices_left_out:
        return "unknown", [], "likely"
    strict, loose = _at(settings, STRICT), _at(settings, LOOSE)
    if strict:
        return "strict", strict, "likely" if loose else "proven"
    return ("loose", loose, "proven") if loose else ("unknown", [], "likely")


def _finding(netns: int, packets: int, recording: Recording, window: CounterWindow, entry: Entry) -> Finding:
    settings, inside = settings_of(recording, netns), tenant(recording, netns)
    name, devices, confidence = _shape(settings)
    shape = entry.shapes[name]
    words = {
        "place": short_name(inside) if inside is not None else f"network namespace {netns}",
        "packets": f"{packets:,}",
        "seconds": f"{window.seconds:.1f}",
        "devices": _named(devices, entry),
    }
    title = shape.title.format(**words)
    effect = f"{packets:,} packets were dropped there; whose they were was not seen"
    victim = Party(role="victim", netns=netns, effect=effect)
    return Finding(
        id=f"{RULE}:{digest(netns)}",
        rule=RULE,
        reason=REASONS[name],
        severity="warning",
        claim=entry.claim,
        confidence=confidence,
        shape=name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(victim if inside is None else party("victim", inside, effect=effect),),
        evidence=tuple(_evidence(netns, settings, devices, window, entry)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, *_remedies(devices), remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _named(devices: Sequence[str], entry: Entry) -> str:
    most = int(entry.limit("listed_devices"))
    shown = ", ".join(clean(device, 32) for device in devices[:most])
    if not devices:
        return "a device that is not known"
    return shown if len(devices) <= most else f"{shown} and {len(devices) - most:,} more devices"


def _evidence(
    netns: int, settings: NamespaceSettings | None, devices: Sequence[str], window: CounterWindow, entry: Entry
) -> list[Evidence]:
    statement = f"Packets dropped within {window.seconds:.1f} s because the way back is another"
    found = [counted(window, DROPPED, netns, statement, limit=entry.limit("min_packets"))]
    common = settings.number(ALL) if settings is not None else None
    if settings is None or common is None:
        return found
    found.append(setting_reading(window.end, ALL, common, "rp_filter of all devices (1 strict, 2 loose, 0 off)"))
    for device in devices[: int(entry.limit("listed_devices"))]:
        text = f"rp_filter in force at {clean(device, 32)}, the larger of its own and that of all"
        name = shell_quote(f"net/ipv4/conf/{device}/rp_filter")
        found.append(setting_reading(window.end, name, settings.rp_filter(device), text))
    return found


def _remedies(devices: Sequence[str]) -> list[Remedy]:
    steps = [
        Remedy(
            action="capture", do="Let the kernel log which packets these are: sender, destination and device",
            command="sysctl -w net.ipv4.conf.all.log_martians=1; dmesg -w | grep -i martian  # there; then set it back",
            effect="says whose packets are dropped, and where they came in",
            risk="lines in the log, limited by the kernel; only the first namespace's show on some kernels",
        )
    ]  # fmt: skip
    if len(devices) == 1:
        name = shell_quote(f"net/ipv4/conf/{devices[0]}/rp_filter")
        steps.append(
            Remedy(
                action="tune", do="Make the check loose at that device, if the senders are meant to come that way",
                command=f"sysctl -w {name}=2",
                effect="packets from any address that there is a route to are taken",
                risk="somebody in that network may send with addresses of others",
            )
        )  # fmt: skip
    return steps
