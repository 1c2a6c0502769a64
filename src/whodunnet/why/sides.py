"""The two ends that a text names: addresses, names and ports, as programs write them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.why.forms import compiled, forms

PORT_MAX = 65_535
FURTHER = 8
LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_HOST_AND_PORT = re.compile(r"(?P<host>.*)(?::| port:? |#)(?P<port>\d{1,5})", re.IGNORECASE | re.ASCII)
_NUMBERED = compiled(r"(?P<end>\[[0-9a-f:.]{2,45}(?:%[\w.-]{1,15})?\]:{port}|{number}:{port})")
_BARE = compiled("{number}")


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One end as a text has it. name: where that is no address; nobody looked it up. Neither: any address."""

    address: str | None = None
    name: str | None = None
    port: int | None = None

    @property
    def is_loopback(self) -> bool:
        """Every network namespace has one of its own."""
        if self.address is None:
            return self.name in LOCAL_NAMES
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def addresses(self) -> tuple[str, ...]:
        """By which it may be met; of names only those that mean the same everywhere."""
        if self.address is not None:
            return (self.address,)
        return ("127.0.0.1", "::1") if self.name in LOCAL_NAMES else ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(address, self.port) for address in self.addresses)

    def __str__(self) -> str:
        host = self.address or self.name
        if host is None:
            return f"port {self.port}"
        if self.port is None:
            return host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a text names. also: further destinations in the same words: every address of a name was tried."""

    source: Side | None = None
    destination: Side | None = None
    also: tuple[Side, ...] = ()
    name: str | None = None
    server: Side | None = None


def find(text: str, line: str) -> Found:
    """Who a text names. line: the one that says what failed, where bare addresses count."""
    sides: dict[str, Side] = {}
    also: tuple[Side, ...] = ()
    name: str | None = None
    for pattern in forms().places:
        match = pattern.search(text)
        if match is None:
            continue
        said = match.groupdict()
        name = name or said.pop("name", None)
        port = said.pop("port", None)
        for group, words in said.items():
            role, _, bare = group.partition("_")
            own = port if role == "destination" else None
            side = (parse_bare(words, own) if bare else parse(words, own)) if words else None
            if side is not None and role not in sides:
                sides[role] = side
                also = _further(pattern, text, group, side) if role == "destination" else also
    for pattern in forms().names if name is None else ():
        match = pattern.search(text)
        name = name or (match["name"] if match else None)
    if "destination" not in sides and "server" not in sides:
        sides.update(_numbers(line, known=sides.values()))
    sides.pop("other", None)
    return Found(**sides, also=also, name=_name(name) if name else None)


def _further(pattern: re.Pattern[str], text: str, group: str, first: Side) -> tuple[Side, ...]:
    """What else the same words name in the same role, up to FURTHER."""
    found = {first: None}
    for match in islice(pattern.finditer(text), FURTHER):
        words, port = match[group], match.groupdict().get("port")
        side = (parse_bare(words, port) if "_" in group else parse(words, port)) if words else None
        if side is not None:
            found[side] = None
    return tuple(found)[1:]


def parse(words: str, port: str | None = None) -> Side | None:
    """An end from "10.0.0.1:80", "[::1]:80", "::1:80", "a.example port 80", ":80", "80" or a host; None if it is none.

    port: said elsewhere.
    """
    words = words.replace("%5B", "[").replace("%5D", "]")
    if port is None and words.isdecimal():
        return parse_bare("", words)
    match = _HOST_AND_PORT.fullmatch(words) if port is None else None
    return parse_bare(match["host"], match["port"]) if match else parse_bare(words, port)


def parse_bare(host: str, port: str | None = None) -> Side | None:
    """An end from an address or host alone."""
    number = int(port) if port else None
    if number is not None and not 0 < number <= PORT_MAX:
        number = None
    address = address_of(host)
    if address is not None and ipaddress.ip_address(address).is_unspecified:
        return Side(port=number) if number else None
    if address is not None:
        return Side(address=address, port=number)
    name = _name(host)
    return Side(name=name, port=number) if name or number else None


def address_of(text: str) -> str | None:
    """An address as the kernel's side writes it, without brackets and scope; None for what is none."""
    try:
        parsed = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return socket.inet_ntop(socket.AF_INET if parsed.version == 4 else socket.AF_INET6, parsed.packed)


def _name(host: str) -> str | None:
    """A host name in lower case, without the dot at its end; None for what cannot be one."""
    host = clean(host.strip("[]").rstrip(".").lower())
    return host if host and not host.isdecimal() and ":" not in host and host[0] != "-" else None


def _numbers(line: str, known: Iterable[Side]) -> Iterator[tuple[str, Side]]:
    """The first end in numbers that is not known by another role, with a port if any has one."""
    taken = set(known)
    ends = [parse(m["end"]) for m in _NUMBERED.finditer(line)] or [parse_bare(m.group()) for m in _BARE.finditer(line)]
    for side in ends:
        if side is not None and side.address is not None and side not in taken:
            yield "destination", side
            return
