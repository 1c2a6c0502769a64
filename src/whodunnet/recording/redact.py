"""Redaction: names, addresses and paths of a recording become pseudonyms; numbers, times and our own words stay.

Two tables say what happens to every text of a sample. A field that is in neither stops the recording before it starts,
so that what a later sample adds cannot slip through. docs/redaction.md is for the user.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, inspect

from whodunnet.errors import RecordingError
from whodunnet.model.addresses import DeviceAddress
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.counters import Counters
from whodunnet.model.cpu_pressure import Consumer
from whodunnet.model.cpu_quota import LimitedCgroup, QuotaUser
from whodunnet.model.descriptors import DescriptorUse, RefusedFiles
from whodunnet.model.devices import Device, Devices
from whodunnet.model.kernel_log import KernelLog, LogLine, RepeatedLine
from whodunnet.model.links import LinkCounters, NamespaceLinks
from whodunnet.model.memory_cgroups import DyingBelow
from whodunnet.model.neighbours import DeviceNeighbours
from whodunnet.model.ports import NamespacePorts, PortUse, SourcePorts
from whodunnet.model.resolvers import Lookup, ResolvConf
from whodunnet.model.retransmissions import Destination
from whodunnet.model.sample import Failure
from whodunnet.model.settings import NamespaceSettings
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.softnet import Interrupt, Softnet
from whodunnet.model.stalls import Holder, Stack, Stalls, Task
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload
from whodunnet.recording.pseudonyms import Kind, Pseudonyms, pack

How = Kind | Literal["text"]
T = TypeVar("T", bound=Struct)

REPLACED: Final[dict[type[Struct], dict[str, How]]] = {
    Node: {"hostname": "host", "kernel": "release", "boot_id": "boot"},
    Process: {"comm": "process", "exe": "exe"},
    Container: {"id": "container", "name": "container name", "cgroup": "cgroup", "image": "image"},
    Pod: {"namespace": "namespace", "name": "pod", "uid": "uid"},
    Workload: {"unit": "unit"},
    Endpoint: {"address": "address"},
    FlowGroup: {"source": "address", "source_as": "address"},
    ConnectionGroup: {"client": "address", "comm": "process"},
    Connections: {"fallback_reason": "text"},
    Task: {"comm": "process", "thread": "process"},
    Stalls: {"sampling_reason": "text", "symbols_reason": "text"},
    DeviceAddress: {"address": "address", "device": "device"},
    Destination: {"remote": "address", "device": "device"},
    Devices: {"by_name": "device"},
    Softnet: {"devices": "device"},
    Interrupt: {"name": "text"},
    NamespaceSettings: {"devices": "device"},
    PortUse: {"source": "address"},
    SourcePorts: {"source": "address"},
    NamespacePorts: {"unread": "text"},
    DyingBelow: {"path": "cgroup"},
    LimitedCgroup: {"path": "cgroup"},
    QuotaUser: {"comm": "process"},
    Sockets: {"not_seen": "text", "fallback_reason": "text"},
    KernelLog: {"source": "text"},
    LogLine: {"text": "text"},
    RepeatedLine: {"text": "text"},
    ResolvConf: {"servers": "address", "search": "zone"},
    Lookup: {"server": "address"},
    Consumer: {"comm": "process"},
    DescriptorUse: {"comm": "process"},
    RefusedFiles: {"comm": "process"},
    DeviceNeighbours: {"device": "device", "asked": "address"},
    NamespaceLinks: {"devices": "device"},
    Failure: {"reason": "text"},
}
"""Field -> what kind of name it holds. "text": a sentence of ours, in which there may be names."""

KEPT: Final[dict[type[Struct], dict[str, str]]] = {
    Snapshot: {"samples": "names of collectors"},
    Process: {"state": "our word for the kernel's letter"},
    Container: {"runtime": "our word"},
    SocketGroup: {"state": "the kernel's name of a TCP state"},
    Sockets: {"missing_capability": "the kernel's name of a right"},
    TcpMemory: {"counters": "the kernel's names of counters"},
    Counters: {"known": "the kernel's names of counters", "by_netns": "the kernel's names of counters"},
    NamespaceSettings: {"values": "the kernel's names of settings"},
    Conntrack: {"statistics": "the kernel's names of counters", "timeouts": "the kernel's names of timeouts"},
    FlowGroup: {"protocol": "name or number of a protocol", "state": "the kernel's name of a state"},
    ConnectionGroup: {"state": "the kernel's name of a TCP state"},
    Connections: {"counters": "the kernel's names of counters", "missing_capability": "the kernel's name of a right"},
    Stack: {"functions": "the kernel's names of its functions and modules"},
    Holder: {"system_call": "the kernel's name of a system call", "softirq": "the kernel's name of a softirq"},
    DeviceAddress: {"kind": "the kernel's name of a kind of device"},
    LinkCounters: {
        "kind": "the kernel's name of a kind of device",
        "queue": "the kernel's name of a kind of queue",
        "rings": "the driver's names of counters",
    },
    Device: {"driver": "the kernel's name of a driver", "allowances": "the driver's names of counters"},
    KernelLog: {"counts": "our names of messages"},
    LogLine: {"kind": "our name of a message"},
    Failure: {"missing_capability": "the kernel's name of a right"},
}
"""Field -> why its text, or the text of its keys, is no name of this machine."""

_PLAIN: Final = (
    inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType, inspect.DateTimeType, inspect.LiteralType,
)  # fmt: skip

# A path may hold spaces, so it ends only where a sentence of ours goes on.
_PATH: Final = r"[^\s'\"(]*/.*?(?=\s(?:cannot|does|is|has|should|was|holds)\b|[:;,)]+(?:\s|$)|$)"
_ADDRESS: Final = r"(?:[0-9A-Fa-f]{0,4}:){2,8}(?:[0-9.]{7,15}|[0-9A-Fa-f]{1,4})?(?:%\w+)?|(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_QUOTED: Final = r"(?<!\w)(?:'(?:\\.|[^'\\])*(?:'|\\?$)|\"(?:\\.|[^\"\\])*(?:\"|\\?$))"
_IN_TEXT: Final = (
    rf"(?P<quoted>{_QUOTED})|(?P<path>{_PATH})|(?P<uid>[0-9a-f]{{8}}(?:[-_][0-9a-f]{{4}}){{3}}[-_][0-9a-f]{{12}})"
    rf"|(?P<container>(?<!\w)(?![0-9]+(?!\w))[0-9a-f]{{12,}}(?!\w))|(?P<address>{_ADDRESS})"
)
_GENERIC: Final = re.compile(
    r"(?:/(?:[0-9]+|host|proc|sys|dev|run|var|log|etc|self|thread-self|task|net|ns|pid|fs|cgroup|stat|status|limits|fd"
    r"|exe|mounts|mountinfo|netstat|snmp|sockstat6?|protocols|meminfo|cpuinfo|ipv4|tcp_mem|tcp_max_orphans"
    r"|tcp_max_tw_buckets|kernel|osrelease|hostname|random|boot_id|devices|system|cpu|possible|security|lockdown|btf"
    r"|vmlinux|kmsg|journal|kern\.log|syslog|messages|netns))+/?"
)
"""A path of words that are the same on every machine."""


class Redactor:
    """Redacts one recording: one key, hence one set of pseudonyms, for as long as it lives."""

    def __init__(self, key: bytes | None = None) -> None:
        """key: for tests. Raises RecordingError if a text of a sample is in neither table."""
        self._pseudonyms = Pseudonyms(os.urandom(16) if key is None else key)
        self._plans = plans()
        self._of_node: dict[str, str] | None = None
        self._met: dict[str, str] = {}

    def node(self, node: Node) -> Node:
        """The node without its names: it comes before its snapshots, whose texts are searched for them too."""
        self._met = {}
        found = self._struct(node)
        self._met.setdefault(node.hostname.partition(".")[0].lower(), found.hostname)
        self._of_node = self._met
        return found

    def snapshot(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot without names. Raises RecordingError for a sample of an unknown type, or before the node."""
        if self._of_node is None:
            raise RecordingError("a snapshot cannot be redacted before the names of its node are known")
        self._met = dict(self._of_node)
        samples = {name: self._struct(sample) for name, sample in snapshot.samples.items()}
        # Sentences come last: by then the names of all samples are known, and searched for.
        samples = {name: self._struct(sample, sentences=True) for name, sample in samples.items()}
        return msgspec.structs.replace(snapshot, samples=samples)

    def _struct(self, value: T, *, sentences: bool = False) -> T:
        """Either its names are replaced, or what is in its sentences."""
        plan = self._plans.get(type(value))
        if plan is None:
            raise RecordingError(f"{type(value).__name__} cannot be redacted: nothing is known of its fields")
        fields = plan.sentences if sentences else plan.names
        changed = {name: self._value(getattr(value, name), how, sentences) for name, how in fields}
        return msgspec.structs.replace(value, **changed) if changed else value

    def _value(self, value: Any, how: How | None, sentences: bool) -> Any:
        """how: None for what only leads to other structs, or is kept."""
        if isinstance(value, str):
            return value if how is None else self._replaced(value, how)
        if isinstance(value, Struct):
            return self._struct(value, sentences=sentences)
        if isinstance(value, dict):
            return {self._value(k, how, sentences): self._value(v, how, sentences) for k, v in value.items()}
        if isinstance(value, tuple):
            return tuple(self._value(item, how, sentences) for item in value)
        return value

    def _replaced(self, text: str, how: How) -> str:
        if how == "text":
            return self._scrubbed(text)
        if how == "address":
            return self._pseudonyms.address(text)
        found = self._pseudonyms.name(how, text)
        # Both forms: lower case is not one to one in every script.
        self._met.setdefault(text, found)
        self._met.setdefault(text.lower(), found)
        return found

    def _scrubbed(self, text: str) -> str:
        """A sentence without names that were met in this snapshot, quotations, paths, ids and addresses."""
        lowered = text.lower()
        names = sorted(
            (name for name in self._met if len(name) > 1 and (name in text or name in lowered)), key=len, reverse=True
        )
        return _searched(tuple(names)).sub(self._in_text, text)

    def _in_text(self, match: re.Match[str]) -> str:
        found, kind = match[0], match.lastgroup
        if kind == "quoted":
            return "'(redacted)'"
        met = self._met.get(found) or self._met.get(found.lower())
        if met is not None:
            return met
        if kind == "path":
            return found if _GENERIC.fullmatch(found) else self._pseudonyms.name("path", found)
        if kind == "uid":
            return self._pseudonyms.name("uid", found.replace("_", "-"))
        return self._pseudonyms.name("container", found) if kind == "container" else self._address_in_text(found)

    def _address_in_text(self, found: str) -> str:
        """Colons beside an address belong to the sentence; numbers with colons may be a time."""
        for cut in (found, found.rstrip(":"), found.lstrip(":"), found.strip(":")):
            if pack(cut.partition("%")[0]) is not None:
                return found.replace(cut, self._pseudonyms.address(cut), 1)
        return found if re.fullmatch(r"[0-9:.]*", found) else self._pseudonyms.name("address", found)


class Plan(NamedTuple):
    """The fields of a type to visit, and how: for names in it or below it, and for sentences."""

    names: tuple[tuple[str, How | None], ...]
    sentences: tuple[tuple[str, How | None], ...]


@cache
def plans() -> dict[type[Struct], Plan]:
    """For each type in a snapshot or node what is to be done. Raises RecordingError."""
    found: dict[type[Struct], Plan] = {}
    for top in (Node, Snapshot):
        for struct in _structs(inspect.type_info(top)):
            found[struct.cls] = _plan(struct)
    return found


def _plan(struct: inspect.StructType) -> Plan:
    replaced, kept = REPLACED.get(struct.cls, {}), KEPT.get(struct.cls, {})
    names, sentences = [], []
    for field in struct.fields:
        parts, how = list(_parts(field.type)), replaced.get(field.name)
        texts = [part for part in parts if not isinstance(part, (*_PLAIN, inspect.StructType))]
        if texts and field.name not in replaced and field.name not in kept:
            raise RecordingError(f"{struct.cls.__name__}.{field.name} cannot be redacted: nobody said what it holds")
        below = [inner.cls for part in parts if isinstance(part, inspect.StructType) for inner in _structs(part)]
        kinds = {kind for inner in below for kind in REPLACED.get(inner, {}).values()}
        if how not in (None, "text") or kinds - {"text"}:
            names.append((field.name, how))
        if how == "text" or "text" in kinds:
            sentences.append((field.name, how if how == "text" else None))
    return Plan(tuple(names), tuple(sentences))


def _structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """All structs that a value of this type may hold, itself among them."""
    for part in _parts(kind):
        if isinstance(part, inspect.StructType):
            yield part
            for field in part.fields:
                yield from _structs(field.type)


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    """What is left of a type without unions and containers; the keys of a dictionary are parts too."""
    match kind:
        case inspect.UnionType():
            inner = kind.types
        case inspect.DictType():
            inner = (kind.key_type, kind.value_type)
        case inspect.VarTupleType():
            inner = (kind.item_type,)
        case _:
            yield kind
            return
    for part in inner:
        yield from _parts(part)


@lru_cache(64)
def _searched(names: tuple[str, ...]) -> re.Pattern[str]:
    """What is looked for in a sentence: these names as whole words, and what is always replaced."""
    words = (
        ("" if not w[0].isalnum() else r"(?<!\w)") + re.escape(w) + ("" if not w[-1].isalnum() else r"(?!\w)")
        for w in names
    )
    named = f"(?P<name>{'|'.join(words)})|" if names else ""
    return re.compile(named + _IN_TEXT, re.IGNORECASE | re.DOTALL)
