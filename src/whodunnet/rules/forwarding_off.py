"""Packets for others that come to a namespace which does not forward, although it stands between networks."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, Finding, NotChecked, Party, Remedy
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.namespace_counts import cleared_of, once_of, set_to, setting_reading, settings_of
from whodunnet.rules.queue_evidence import counted, digest, tenant

RULE = "forwarding-off"
REASONS = {"off": "ForwardingOff", "device-off": "ForwardingOffAtDevice", "off-ipv6": "ForwardingOffIpv6"}
WHAT = "packets for others that were dropped"
STRAY: Final = (
    "A pod with several networks has forwarded nothing so far: the packets may as well be for an address that it no "
    "longer has, or come by a wrong route of their sender. Then its forwarding is off as it should be."
)

LISTED_DEVICES: Final = 3
SHOWN: Final = "-a -r 'net.ipv4.conf.*forwarding'"
OTHERWISE: Final = frozenset("*?[=")
"""Characters of a device's name that sysctl takes for a pattern, or for the end of the setting's name."""
ANY_OF_THEM: Final = "those of these devices from which it should; by which of them the packets came is not seen"


class Family(NamedTuple):
    """The counters and the setting of IPv4, or of IPv6."""

    version: int
    dropped: str
    forwarded: str
    setting: str


FOUR: Final = Family(4, "Ip.InAddrErrors", "Ip.ForwDatagrams", "net.ipv4.ip_forward")
INNER: Final = frozenset({"veth", "bridge"})
"""Kinds of devices that lead to namespaces of this node."""
SIX: Final = Family(6, "Ip6.InAddrErrors", "Ip6.OutForwDatagrams", "net.ipv6.conf.all.forwarding")


class Case(NamedTuple):
    """A namespace that drops packets for others. devices: that do not forward, where the namespace does.

    forwarded: packets, since it was made. networks: its devices with an address, and what kind they are of.
    inside: the only pod or container there.
    """

    netns: int
    family: Family
    packets: int
    devices: tuple[str, ...]
    forwarded: int
    networks: dict[str, str | None]
    inside: Workload | None

    @property
    def shape(self) -> str:
        if self.family is SIX:
            return "off-ipv6"
        return "device-off" if self.devices else "off"

    @property
    def inner(self) -> list[str]:
        """Devices that lead to other namespaces of this node."""
        return [device for device, kind in self.networks.items() if kind in INNER]

    @property
    def is_between(self) -> bool:
        """It is in two networks or more, of which one is of namespaces of this node."""
        return len(self.networks) > 1 and bool(self.inner)

    @property
    def may_be_stray(self) -> bool:
        """A pod with several networks, which has never been a router: most of them are none."""
        never = not self.forwarded and not self.devices
        return never and self.inside is not None and "bridge" not in self.networks.values()

    @property
    def confidence(self) -> Confidence:
        if self.may_be_stray:
            return "possible"
        return "proven" if self.forwarded and self.is_between and not self.devices else "likely"


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each namespace that is meant to route; who gets stray packets and ignores them does well."""
    window = counter_window(recording)
    if window is None:
        return [once_of(recording, RULE, WHAT, FOUR.dropped, SIX.dropped)]
    stray, cases, unsure = 0, list[Case](), list[int]()
    for family in (FOUR, SIX):
        for netns, n in window.rise(family.dropped).items():
            if n < max(entry.limit("min_packets"), entry.limit("min_rate") * window.seconds):
                continue
            off, devices = _is_off(recording, netns, family)
            if off is None:
                unsure.append(netns)
            elif off or devices:
                case = _case(netns, family, n, devices, recording, window)
                if _is_router(case):
                    cases.append(case)
                elif recording.last(Addresses) is None:
                    unsure.append(netns)
                else:
                    stray += 1
    if not cases:
        return [_nothing(window, stray, unsure, entry)]
    cases.sort(key=lambda case: (-case.packets, case.netns, case.family.version))
    return [_finding(case, recording, window, entry) for case in cases[: int(entry.limit("listed_namespaces"))]]


def _is_off(recording: Recording, netns: int, family: Family) -> tuple[bool | None, tuple[str, ...]]:
    """Whether all of it is off (None: not known), else which devices are."""
    forwards = set_to(recording, netns, family.setting)
    if forwards is None:
        return None, ()
    settings = settings_of(recording, netns)
    if forwards == 0:
        return True, ()
    if family is SIX or settings is None:
        return False, ()
    return False, tuple(name for name, device in settings.devices.items() if device.forwarding == 0)


def _case(
    netns: int, family: Family, packets: int, devices: tuple[str, ...], recording: Recording, window: CounterWindow
) -> Case:
    forwarded = window.last.value(netns, family.forwarded) or 0
    networks, inside = _networks(netns, family, recording), tenant(recording, netns)
    return Case(netns, family, packets, devices, forwarded, networks, inside)


def _is_router(case: Case) -> bool:
    """It has forwarded before, or stands between networks."""
    return case.forwarded > 0 or case.is_between


def _networks(netns: int, family: Family, recording: Recording) -> dict[str, str | None]:
    """Devices of this namespace with an address that is no link's or Service's, and their kinds."""
    known = recording.last(Addresses)
    return {
        mine.device: mine.kind
        for mine in (known.by_netns.get(netns, ()) if known is not None else ())
        if mine.up and not mine.of_service and _version(mine) == family.version and not _is_link_local(mine)
    }


def _version(address: DeviceAddress) -> int | None:
    """4 or 6; None of what is no address."""
    try:
        return ip_address(address.address).version
    except ValueError:
        return None


def _is_link_local(address: DeviceAddress) -> bool:
    return ip_address(address.address).is_link_local


def _finding(case: Case, recording: Recording, window: CounterWindow, entry: Entry) -> Finding:
    shape = entry.shapes[case.shape]
    words = {
        "place": short_name(case.inside) if case.inside is not None else f"network namespace {case.netns}",
        "packets": f"{case.packets:,}",
        "seconds": f"{window.seconds:.1f}",
        "devices": ", ".join(clean(device, 32) for device in case.devices[:LISTED_DEVICES]),
        "setting": case.family.setting,
    }
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest(case.netns, case.family.version)}",
        rule=RULE,
        reason=REASONS[case.shape],
        severity="info" if case.may_be_stray else "warning",
        claim=entry.claim,
        confidence=case.confidence,
        shape=case.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(_party(case),),
        evidence=tuple(_evidence(case, recording, window, entry)),
        would_explain=() if case.may_be_stray else entry.would_explain,
        remedies=(remedies.CAPTURE, *_remedies(case), remedies.fix(shape.fix)),
        explanation=(STRAY,) if case.may_be_stray else tuple(line.format(**words) for line in shape.explanation),
    )


def _party(case: Case) -> Party:
    """Where packets are dropped; who set it so is not seen."""
    effect = f"drops packets for others, {case.packets:,} meanwhile: it is not set to forward"
    if case.inside is None:
        return Party(role="holder", netns=case.netns, effect=effect)
    return party("holder", case.inside, effect=effect)


def _evidence(case: Case, recording: Recording, window: CounterWindow, entry: Entry) -> list[Evidence]:
    family, at = case.family, window.end
    statement = f"Packets for others that were dropped within {window.seconds:.1f} s"
    found = [counted(window, family.dropped, case.netns, statement, limit=entry.limit("min_packets"))]
    value = set_to(recording, case.netns, family.setting)
    found.append(setting_reading(at, family.setting, value, f"{family.setting} (0: what is for others is dropped)"))
    for device in case.devices[:LISTED_DEVICES]:
        text = f"forwarding of {clean(device, 32)} (0: what comes in there is not forwarded)"
        found.append(setting_reading(at, SHOWN, 0, text))
    found.append(
        Evidence(
            statement="Packets that it has forwarded since it was made", value=case.forwarded, unit="packets",
            source=f"/proc/net/{'snmp' if family is FOUR else 'snmp6'} {family.forwarded.partition('.')[2]}",
            at=at.wall, boot_seconds=at.boot_seconds,
            repeat=f"nstat -asz {family.forwarded.replace('.', '')}  # in its network namespace",
        )
    )  # fmt: skip
    kinds = ", ".join(f"{clean(device, 32)} ({kind or 'no virtual one'})" for device, kind in case.networks.items())
    if case.networks:
        found.append(
            Evidence(
                statement=f"Devices with an address there: {shorten_bytes(kinds, 160)}", value=len(case.networks),
                unit="devices", source="addresses collector", at=at.wall, boot_seconds=at.boot_seconds,
                repeat="ip -d -br address  # in its network namespace",
            )
        )  # fmt: skip
    return found


def _remedies(case: Case) -> list[Remedy]:
    do = "Let it forward, and look what set it back (a sysctl file, a tool that hardens, a restarted network service)"
    command = f"sysctl -w {case.family.setting}=1  # in that network namespace"
    if case.devices:
        do = f"Let it forward what comes in at {'that device' if len(case.devices) == 1 else ANY_OF_THEM}"
        command = _switching_on(case.devices)
    return [
        Remedy(
            action="tune", do=do, command=command, effect="packets between the networks pass again",
            risk="whoever reaches it can send through it: a firewall may have counted on it",
        )
    ]  # fmt: skip


def _switching_on(devices: Sequence[str]) -> str:
    """The command for these devices; one that only shows, where sysctl would take their names for something else."""
    named = [f"{_forwarding_of(device)}=1" for device in devices[:LISTED_DEVICES] if not OTHERWISE & set(device)]
    if not named:
        return f"sysctl {SHOWN}  # shows; in that network namespace"
    return f"sysctl -w {' '.join(map(shell_quote, named))}  # in that network namespace"


def _forwarding_of(device: str) -> str:
    """The sysctl's name, in which a dot of the device's name is a slash (sysctl(8))."""
    return f"net.ipv4.conf.{device.replace('.', '/')}.forwarding"


def _nothing(window: CounterWindow, stray: int, unsure: Sequence[int], entry: Entry) -> Cleared | NotChecked:
    if unsure:
        reason = f"{len(unsure):,} network namespaces drop packets for others, whose settings or devices were not read"
        return NotChecked(rule=RULE, code="unreadable", reason=reason)
    reach = (
        f"{entry.limit('min_packets'):.0f} or more packets for others, and {entry.limit('min_rate'):g} a second, in a "
        "namespace that has forwarded before, or is in two networks of which one is of namespaces of this node"
    )
    if stray:
        reach += f"; {stray:,} namespaces got as many, and nothing says that they should forward them"
    answer = cleared_of(window, RULE, FOUR.dropped, WHAT, reach)
    if isinstance(answer, NotChecked) or SIX.dropped not in window.last.known:
        return answer
    of_six = counted(window, SIX.dropped, None, f"In all namespaces, {WHAT}, of IPv6")
    return replace(answer, evidence=(*answer.evidence, of_six))
