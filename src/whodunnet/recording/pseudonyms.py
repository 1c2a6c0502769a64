"""Pseudonyms: the same name always gets the same one within a recording, and nobody gets back without the key.

They are keyed hashes (BLAKE2b), so that trying all likely names finds nothing. IPv4 addresses are permuted, so that
two never become one. Nothing is remembered but a bounded cache.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

Kind = Literal[
    "address", "boot", "cgroup", "container", "container name", "device", "exe", "host", "image", "namespace", "path",
    "pod", "process", "release", "uid", "unit", "zone",
]  # fmt: skip

KEPT_NAMES: Final = frozenset({"", "pause"})
"""Names that are words of ours: no name, and what attribution calls the container that only holds a pod's sandbox."""
_DIGEST_BYTES: Final = 5  # 40 bits: among 10,000 names of a kind two agree once in 20,000 recordings
_CACHED: Final = 8192
_ROUNDS: Final = 6
# What stands before the digits. A comm has at most 15 bytes; a short container id is its first 12 characters.
_PREFIXES: Final[dict[Kind, str]] = {
    "process": "p-", "container": "c-", "container name": "container-", "exe": "/exe-", "cgroup": "/cgroup-",
    "path": "/path-",
}  # fmt: skip
_ID: Final = re.compile(r"[0-9a-f]{64}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_STATIC_UID: Final = re.compile(r"[0-9a-f]{32}")
_UNIT_SUFFIX: Final = re.compile(r"\.(?:service|scope|slice|socket|mount|timer)$")
_PLAIN_DEVICE: Final = re.compile(
    r"lo|(?:eth|eno|ens|enp|wlan|bond|team|dummy|docker|podman|cni-podman|cni|cbr|virbr|lxcbr|lxdbr|br|tun|tap|tunl|wg"
    r"|ib|flannel\.)[0-9]{1,4}(?:s[0-9]{1,4})?|kube-ipvs0|nodelocaldns|vxlan\.calico|cilium_(?:host|net|vxlan)|flannel-wg"
)
"""Names that are the same on many machines; kube-ipvs0 is one that is asked for."""
_RELEASE_SEPARATOR: Final = re.compile(r"([-.+~])")
_RELEASE_WORD: Final = re.compile(
    r"[0-9]*|(?:el|fc|deb|bpo|rc|amzn|uek|v)[0-9]{1,4}(?:[_u][0-9]{1,3})?|amd64|arm64|aarch64|x86_64|generic|lts|rt"
    r"|cloud|virt|default|aws|azure|gcp|gke|oracle|kvm|fc|linuxkit|microsoft|standard|WSL2|lowlatency|hwe|flatcar|talos"
)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_LINK_LOCAL_4: Final = b"\xa9\xfe"
_LINK_LOCAL_6: Final = b"\xfe\x80" + bytes(6)
_PROVIDER_6: Final = b"\xfd\x00\x0e\xc2"
"""fd00:ec2::/32, where a provider answers for names, metadata and time: the link-local addresses of its IPv6."""


class Pseudonyms:
    """All pseudonyms of one recording."""

    def __init__(self, key: bytes) -> None:
        """key: 16 random bytes, which are stored nowhere."""
        self._key = key
        self._begun: dict[tuple[str, int], blake2b] = {}
        self.name = lru_cache(_CACHED)(self._name)
        self.address = lru_cache(_CACHED)(self._address)

    def _name(self, kind: Kind, text: str) -> str:
        """The pseudonym of a name; the form that other code reads is kept (ids, uids, suffixes of units)."""
        if not text:
            return text
        match kind:
            case "container" if _ID.fullmatch(text):
                return self._digest(kind, text, 32)
            case "container name" if text in KEPT_NAMES:
                return text
            case "uid" if _STATIC_UID.fullmatch(text):
                return self._digest(kind, text, 16)
            case "uid" if _UUID.fullmatch(text):
                return self._uuid(kind, text)
            case "device":  # as behind an address
                return text if _PLAIN_DEVICE.fullmatch(text) else self.name("zone", text)
            case "boot":
                return self._uuid(kind, text)
            case "unit":
                suffix = _UNIT_SUFFIX.search(text)
                return f"unit-{self._digest(kind, text)}{suffix[0] if suffix else ''}"
            case "release":
                return "".join(self._release_word(word) for word in _RELEASE_SEPARATOR.split(text))
        return _PREFIXES.get(kind, f"{kind}-") + self._digest(kind, text)

    def _address(self, text: str) -> str:
        """The pseudonym of an address, of the same family; loopback, unspecified and multicast ones stay."""
        address, percent, zone = text.partition("%")
        packed = pack(address)
        if packed is None:
            return self.name("address", text)
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        found = socket.inet_ntop(family, self._ipv4(packed) if len(packed) == 4 else self._ipv6(packed))
        return found + percent + (zone if zone.isdecimal() else self.name("zone", zone))

    def _ipv4(self, packed: bytes) -> bytes:
        """A permutation of all addresses that are not special, and one of the link-local addresses."""
        if packed.startswith(_LINK_LOCAL_4):
            return _LINK_LOCAL_4 + self._permute(int.from_bytes(packed[2:], "big"), 16).to_bytes(2, "big")
        if _is_special(packed):
            return packed
        found = self._permute_ipv4(packed)
        # A step that leaves the set is followed by more until one is back: that permutes the set (cycle walking).
        while _is_special(found) or found.startswith(_LINK_LOCAL_4):
            found = self._permute_ipv4(found)
        return found

    def _permute_ipv4(self, packed: bytes) -> bytes:
        return self._permute(int.from_bytes(packed, "big"), 32).to_bytes(4, "big")

    def _ipv6(self, packed: bytes) -> bytes:
        """120 keyed bits in fd00::/8, 64 in fe80::/64 for a link-local one, 96 in fd00:ec2::/32."""
        if packed.startswith(_MAPPED):
            return _MAPPED + self._ipv4(packed[12:])
        if packed[0] == 0xFF or (packed[:15] == bytes(15) and packed[15] < 2):
            return packed
        if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
            return _LINK_LOCAL_6 + self._hash("ipv6", packed, 8)
        if packed.startswith(_PROVIDER_6):
            return _PROVIDER_6 + self._hash("ipv6", packed, 12)
        return b"\xfd" + self._hash("ipv6", packed, 15)

    def _permute(self, number: int, bits: int) -> int:
        """A keyed permutation of the numbers of so many bits: a balanced Feistel network."""
        half = bits // 2
        left, right = number >> half, number & (1 << half) - 1
        for turn in range(_ROUNDS):
            data = bytes((turn, right >> 8, right & 255))
            left, right = right, left ^ int.from_bytes(self._hash(f"permute {bits}", data, half // 8), "big")
        return left << half | right

    def _release_word(self, word: str) -> str:
        """Numbers, architectures and distributions stay: features hang on them. A name of one's own does not."""
        known = _RELEASE_WORD.fullmatch(word) or _RELEASE_SEPARATOR.fullmatch(word)
        return word if known else f"release-{self._digest('release', word)}"

    def _uuid(self, kind: Kind, text: str) -> str:
        digits = self._digest(kind, text, 16)
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _digest(self, kind: Kind, text: str, size: int = _DIGEST_BYTES) -> str:
        return self._hash(kind, text.encode(errors="surrogatepass"), size).hex()

    def _hash(self, kind: str, data: bytes, size: int) -> bytes:
        begun = self._begun.get((kind, size))
        if begun is None:
            begun = self._begun[kind, size] = blake2b(digest_size=size, key=self._key, person=kind.encode())
        found = begun.copy()
        found.update(data)
        return found.digest()


def pack(address: str) -> bytes | None:
    """The 4 or 16 bytes of an address, None if it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        return None


def _is_special(packed: bytes) -> bool:
    """0.0.0.0/8, loopback, multicast, reserved and broadcast (RFC 6890): they say what, not who."""
    return packed[0] in (0, 127) or packed[0] >= 224
