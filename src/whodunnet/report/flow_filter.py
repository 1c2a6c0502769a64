"""Which changes of the conntrack table somebody wants to see: address=10.2.0.0/16 port=53 protocol=udp ..."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache

from whodunnet.errors import UsageError
from whodunnet.kernel.netlink.conntrack_groups import PROTOCOLS, STATES
from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod
from whodunnet.report.protocols import NAMES

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Test = Callable[[FlowEvent], bool]

STATE_NAMES: tuple[str, ...] = tuple(dict.fromkeys(state for names in STATES.values() for state in names))
REPLY_NAMES = ("unreplied", "replied")
"""What may be asked of protocols without states, and of all others as well."""
ADDRESSES_REMEMBERED = 8192


class FlowFilter:
    """All keys have to match; of several words with one key, one has to."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        """words: as "port=53". Raises UsageError, which says what is possible."""
        wanted: dict[str, list[str]] = {}
        for word in words:
            key, value = _split(word)
            wanted.setdefault(key, []).append(value)
        self._pods = frozenset(_pod(value) for value in wanted.pop("pod", ()))
        self._tests: list[Test] = [_TESTS[key](values) for key, values in wanted.items()]

    @property
    def needs_pods(self) -> bool:
        """Whether `matches_pods` has something to say."""
        return bool(self._pods)

    def strangers(self, pods: Iterable[Pod]) -> list[str]:
        """Pods that are asked for, as NAMESPACE/NAME, and are none of these."""
        return sorted("/".join(pod) for pod in self._pods - {(pod.namespace, pod.name) for pod in pods})

    def matches(self, event: FlowEvent) -> bool:
        """What can be told by the event alone."""
        return all(test(event) for test in self._tests)

    def matches_pods(self, pods: Iterable[Pod]) -> bool:
        """pods: whoever is at one of its ends."""
        return not self._pods or any((pod.namespace, pod.name) in self._pods for pod in pods)


def _split(word: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not sign or key not in KEYS:
        possible = ", ".join(f"{name}={example}" for name, example in KEYS.items())
        raise UsageError(f"{clean(word)!r} is no filter; possible are, for example: {possible}")
    return key, value


def _addresses(values: list[str]) -> Test:
    networks = [_network(value) for value in values]

    @lru_cache(maxsize=ADDRESSES_REMEMBERED)
    def within(address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in networks)

    return lambda event: any(within(end.address) for end in event.ends if end.address is not None)


def _network(value: str) -> Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        text = "is no address and no network; write for example 10.2.3.4, 10.2.0.0/16 or fd00::1"
        raise UsageError(f"address={clean(value)}: {clean(value)!r} {text}") from None


def _ports(values: list[str]) -> Test:
    wanted = frozenset(_port(value) for value in values)
    return lambda event: any(end.port in wanted for end in event.ends)


def _port(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 5 and int(value) <= 65535):
        raise UsageError(f"port={clean(value)}: a port is a number from 0 to 65535")
    return int(value)


def _protocols(values: list[str]) -> Test:
    wanted = frozenset(_protocol(value) for value in values)
    return lambda event: event.protocol in wanted


def _protocol(value: str) -> str:
    if value in PROTOCOLS.values():
        return value
    if value in NAMES.values():
        return next(number for number, name in NAMES.items() if name == value)
    if value.isascii() and value.isdecimal() and len(value) <= 3 and int(value) <= 255:
        return PROTOCOLS.get(int(value)) or str(int(value))
    possible = ", ".join(sorted((*PROTOCOLS.values(), *NAMES.values())))
    raise UsageError(f"protocol={clean(value)}: possible are {possible}, or a protocol's number from 0 to 255")


def _states(values: list[str]) -> Test:
    for value in values:
        if value not in STATE_NAMES and value not in REPLY_NAMES:
            possible = ", ".join((*REPLY_NAMES, *STATE_NAMES))
            raise UsageError(f"state={clean(value)}: possible are {possible}")
    wanted = frozenset(values)
    return lambda event: event.state in wanted or REPLY_NAMES[event.replied] in wanted


def _pod(value: str) -> tuple[str, str]:
    namespace, _, name = value.partition("/")
    if not namespace or not name or "/" in name:
        raise UsageError(f"pod={clean(value)}: a pod is written NAMESPACE/NAME, for example payments/foo-7d9f")
    return namespace, name


_TESTS: dict[str, Callable[[list[str]], Test]] = {
    "address": _addresses, "port": _ports, "protocol": _protocols, "state": _states,
}  # fmt: skip
KEYS = {
    "address": "10.2.0.0/16", "port": "53", "protocol": "udp", "state": "syn-sent", "pod": "payments/foo-7d9f",
}  # fmt: skip
"""What can be asked for, each with an example."""
