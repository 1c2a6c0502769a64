"""TCP memory, counters and settings of a tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from whodunnet.collectors.counters import ALSO, KEPT
from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.collectors.tcp_memory import COUNTERS
from whodunnet.collectors.tree.place import OWN, Named, Place
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.meminfo import parse_meminfo
from whodunnet.kernel.procfs.net_counters import Chosen
from whodunnet.kernel.procfs.net_settings import parse_numbers, parse_ports
from whodunnet.kernel.procfs.protocols import parse_protocols
from whodunnet.kernel.procfs.sockstat import parse_sockstat, parse_sockstat6
from whodunnet.kernel.procfs.tcp_mem import TcpMemLimits, parse_tcp_mem
from whodunnet.kernel.tree.sysctls import Sysctls
from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.counters import NAMES, Counters
from whodunnet.model.settings import NAMES as SETTINGS
from whodunnet.model.settings import DeviceSettings, NamespaceSettings, Settings
from whodunnet.model.tcp_memory import TcpMemory

T = TypeVar("T")
DEVICES_LIMIT: Final = 256
_WANTED: Final = NAMES | ALSO | {"TcpExt": tuple(dict.fromkeys((*NAMES["TcpExt"], *COUNTERS)))}
_BY_PRINTED: Final = {f"{section}{name}": f"{section}.{name}" for section, names in _WANTED.items() for name in names}
_NSTAT: Final = re.compile(r"([A-Za-z0-9]{1,64}) +(\d{1,20}) +\S+ *")
_CONF: Final = "net.ipv4.conf."
_NO_DEVICES: Final = ("all", "default", "lo")

Values = dict[str, int]


def read_tcp_memory(place: Place) -> TcpMemory:
    """Raises UnreadableError."""
    page = place.machine.page_size_bytes
    if page is None:
        raise UnreadableError("the tree does not say how large a page of its machine is")
    path, data = place.tree.first(*place.net("sockstat"))
    sockstat = parse_sockstat(data, path)
    limits = _limits(place.sysctls)
    counters, _ = _counters(place)
    return TcpMemory(
        page_size_bytes=page,
        cpus=place.machine.cpus,
        low_pages=limits.low_pages if limits else None,
        pressure_pages=limits.pressure_pages if limits else None,
        max_pages=limits.max_pages if limits else None,
        used_pages=sockstat.tcp_mem_pages,
        under_pressure=unless_unreadable(lambda: _pressure(place)),
        orphans=max(sockstat.tcp_orphan, 0),
        alloc_sockets=max(sockstat.tcp_alloc, 0),
        inuse_sockets=max(sockstat.tcp_inuse, 0),
        inuse6_sockets=unless_unreadable(lambda: _inuse6(place)),
        time_wait_sockets=sockstat.tcp_tw,
        max_orphans=number(place.sysctls, "net.ipv4.tcp_max_orphans"),
        max_time_wait=number(place.sysctls, "net.ipv4.tcp_max_tw_buckets"),
        memory_total_bytes=unless_unreadable(lambda: _memory_total(place)),
        counters={netns: _of_memory(values) for netns, values in counters.items()},
        netns_read=len(counters),
        netns_unread=place.unread(len(counters)),
    )


def read_counters(place: Place) -> Counters:
    """Raises UnreadableError if there are none of the machine's own namespace."""
    found, known = _counters(place)
    if OWN not in found:
        place.tree.first(*place.net("netstat"))  # says what is missing
        place.tree.first(*place.net("snmp"))
        raise UnreadableError("the tree has only a part of the machine's own counters")
    return Counters(
        known=tuple(sorted(KEPT & known)),
        by_netns={netns: {n: v for n, v in values.items() if n in KEPT} for netns, values in found.items()},
        netns_read=len(found),
        netns_unread=place.unread(len(found)),
    )


def read_settings(place: Place) -> Settings:
    """Raises UnreadableError if there are none of the machine's own namespace."""
    own = settings_of(place.sysctls)
    if not own.values:
        raise UnreadableError(f"neither proc/sys/net nor the output of sysctl -a is in the tree ({_PRINTED})")
    found = {OWN: own}
    for named in place.named:
        settings = settings_of(Sysctls(place.tree, named.printed("sysctl_-a"), files=False))
        if settings.values:
            found[named.number] = settings
    return Settings(by_netns=found, netns_unread=place.unread(len(found)))


_PRINTED: Final = "sos_commands/kernel/sysctl_-a"


def number(sysctls: Sysctls, name: str) -> int | None:
    """The last number of a setting, None where the tree does not tell or it is none."""
    found = _numbers(sysctls, name)
    return found[-1] if found else None


def settings_of(sysctls: Sysctls) -> NamespaceSettings:
    """Those of one namespace, as far as they are there."""
    values = {name: numbers for name in SETTINGS if (numbers := _numbers(sysctls, name)) is not None}
    devices = _devices(sysctls)
    return NamespaceSettings(
        values=values,
        ports_reserved=_reserved(sysctls, values.get("net.ipv4.ip_local_port_range", ())),
        devices={device: _device(sysctls, device, values) for device in devices[:DEVICES_LIMIT]},
        devices_left_out=max(len(devices) - DEVICES_LIMIT, 0),
    )


def parse_nstat(data: bytes) -> Values:
    """What `nstat -zas` prints, by the names of the counters sample; lines of other form are passed over."""
    matches = (_NSTAT.fullmatch(line) for line in data.decode(errors="replace").split("\n"))
    return {
        _BY_PRINTED[match[1]]: min(int(match[2]), INT64_MAX) for match in matches if match and match[1] in _BY_PRINTED
    }


def _counters(place: Place) -> tuple[dict[int, Values], set[str]]:
    """By namespace, and which this kernel has. Raises MalformedError."""
    chosen = Chosen(_WANTED)
    own = unless_unreadable(lambda: _own(place, chosen))
    found = {} if own is None else {OWN: own}
    for named in place.named:
        values = unless_unreadable(lambda named=named: _of_named(place, named))  # type: ignore[misc]
        if values is not None:
            found[named.number] = values
    return found, chosen.known


def _own(place: Place, chosen: Chosen) -> Values:
    """Raises UnreadableError."""
    values: Values = {}
    for name in ("netstat", "snmp"):
        path, data = place.tree.first(*place.net(name))
        values |= chosen.of_lines(data, path)
    six = unless_unreadable(lambda: place.tree.first(*place.net("snmp6")))
    return values | chosen.of_pairs(six[1], six[0]) if six else values


def _of_named(place: Place, named: Named) -> Values:
    """Raises UnreadableError."""
    path, data = place.tree.first(*named.printed("nstat_-zas"))
    found = parse_nstat(data)
    if not found:
        raise UnreadableError(f"{path} has no counters")
    return found


def _of_memory(values: Values) -> Values:
    return {name: values[f"TcpExt.{name}"] for name in COUNTERS if f"TcpExt.{name}" in values}


def _limits(sysctls: Sysctls) -> TcpMemLimits | None:
    text = sysctls.text("net.ipv4.tcp_mem")
    return parse_tcp_mem(text.encode(), "net.ipv4.tcp_mem of the tree") if text else None


def _pressure(place: Place) -> bool | None:
    path, data = place.tree.first(*place.net("protocols"))
    row = parse_protocols(data, path).get("TCP")
    return row.pressure if row else None


def _inuse6(place: Place) -> int:
    path, data = place.tree.first(*place.net("sockstat6"))
    return max(parse_sockstat6(data, path).tcp6_inuse, 0)


def _memory_total(place: Place) -> int:
    return parse_meminfo(place.tree.read("proc/meminfo"), "proc/meminfo").total_bytes


def _numbers(sysctls: Sysctls, name: str) -> tuple[int, ...] | None:
    text = sysctls.text(name)
    try:
        return parse_numbers(text.encode(), f"{name} of the tree") if text else None
    except UnreadableError:
        return None


def _reserved(sysctls: Sysctls, ports: tuple[int, ...]) -> int:
    """How many ports of the range are reserved."""
    text = sysctls.text("net.ipv4.ip_local_reserved_ports")
    found = unless_unreadable(lambda: parse_ports((text or "").encode(), "ip_local_reserved_ports of the tree")) or ()
    if len(ports) != 2:
        return 0
    return sum(max(min(end, ports[1]) - max(begin, ports[0]) + 1, 0) for begin, end in found)


def _devices(sysctls: Sysctls) -> list[str]:
    """As sysctl has their names, with a slash for a dot."""
    ends = (".rp_filter", ".forwarding")
    names = {
        name[len(_CONF) : -len(end)] for name in sysctls.names(_CONF) for end in ends if name.endswith(end)
    }  # fmt: skip
    return sorted(names - set(_NO_DEVICES))


def _device(sysctls: Sysctls, device: str, values: dict[str, tuple[int, ...]]) -> DeviceSettings:
    """What is not as usual."""
    usual: tuple[tuple[str, Callable[[], int]], ...] = (
        ("rp_filter", lambda: values.get("net.ipv4.conf.default.rp_filter", (0,))[-1]),
        ("forwarding", lambda: values.get("net.ipv4.ip_forward", (0,))[-1]),
    )
    own = {name: (number(sysctls, f"{_CONF}{device}.{name}"), theirs()) for name, theirs in usual}
    return DeviceSettings(**{name: mine if mine != theirs else None for name, (mine, theirs) in own.items()})
