"""Records of BPF programs, over a layout that was checked when they were built (whodunnet.kernel.bpf)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fuzz.target import Target
from whodunnet.kernel.bpf import _libbpf, connection_ends, objects, refusals, repeats, socket_records, stall_records

_FFI: Final = _libbpf.ffi
_HERTZ: Final = 250


def _of(data: bytes, kind: str) -> Any:
    """The struct at the begin of these bytes; what they are too short for is 0, as maps have a fixed size."""
    item = _FFI.new(f"{kind} *")
    room = _FFI.buffer(item)
    piece = data[: len(room)]
    room[: len(piece)] = piece
    return item


def _entry(decode: Callable[[Any, Any, Any], object], key: str, value: str) -> Callable[[bytes], object]:
    """A decoder of one entry of a map."""
    room = _FFI.sizeof(key)
    return lambda data: decode(_FFI, _of(data, key), _of(data[room:], value))


def _item(decode: Callable[[Any, Any], object], kind: str) -> Callable[[bytes], object]:
    return lambda data: decode(_FFI, _of(data, kind))


def _decode_group(ffi: Any, key: Any, value: Any) -> object:
    return socket_records.decode_group(ffi, key, value, first_pass=False)


def _decode_repeat(ffi: Any, key: Any, value: Any) -> object:
    return repeats.decode(ffi, key, value), repeats.is_worth_a_look(value), repeats.bytes_of(ffi, key[0])


def _decode_stall(data: bytes) -> object:
    found = stall_records.decode_record(_FFI, data)
    names = {stack: f"bpf_{stack % 7}" for stack in found.end.stack}
    return stall_records.summed(found, names.get, _HERTZ, 0.0)


def _stall(samples: int) -> bytes:
    stall = _FFI.new("struct stall *")
    stall.since_ns, stall.until_ns, stall.end.frames = 10, 20, 2
    for number in range(samples):
        stall.samples[number].at_ns, stall.samples[number].frames = 12 + number, 3
    size = _FFI.offsetof("struct stall", "samples") + samples * _FFI.sizeof("struct seen")
    return bytes(_FFI.buffer(stall))[:size]


_SIZES: Final = {
    kind: _FFI.sizeof(kind)
    for kind in (
        "struct end_key", "struct end", "struct destination_key", "struct destination", "struct group_key",
        "struct group", "struct stuck", "struct dropping", "struct refused_key", "struct refused_process",
    )
}  # fmt: skip


def _zeros(*kinds: str) -> tuple[bytes, ...]:
    """Nothing but zeros, and a one in each place of the first bytes."""
    size = sum(_SIZES[kind] for kind in kinds)
    return (bytes(size), b"\1" * size)


TARGETS: Final = (
    Target(name="records-ring", run=lambda data: list(objects.split_records(data)), raises=(), max_bytes=1024,
           seeds=((3).to_bytes(8, "little") + b"abc" + bytes(5) + (8).to_bytes(8, "little") + b"12345678",)),
    Target(name="records-stall", run=_decode_stall, seeds=(_stall(0), _stall(2)), max_bytes=4096),
    Target(name="records-connection-end", run=_entry(connection_ends.decode_total, "struct end_key", "struct end"),
           seeds=_zeros("struct end_key", "struct end")),
    Target(name="records-destination", run=_entry(_decode_repeat, "struct destination_key", "struct destination"),
           seeds=_zeros("struct destination_key", "struct destination")),
    Target(name="records-refused", run=_entry(refusals.decode, "struct refused_key", "struct refused_process"),
           seeds=_zeros("struct refused_key", "struct refused_process")),
    Target(name="records-group", run=_entry(_decode_group, "struct group_key", "struct group"),
           seeds=_zeros("struct group_key", "struct group")),
    Target(name="records-stuck", run=_item(socket_records.decode_stuck, "struct stuck"), seeds=_zeros("struct stuck")),
    Target(name="records-dropping", run=_item(socket_records.decode_dropping, "struct dropping"),
           seeds=_zeros("struct dropping")),
    Target(name="records-names", run=_item(socket_records.decode_names, "struct dropping"),
           seeds=_zeros("struct dropping")),
)  # fmt: skip
