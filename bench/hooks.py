"""BPF programs that return at once, and the kernel's own count of each program by name: bpf(2) without a library.

What a tracepoint costs before a program does anything is the least that any program there can cost.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.passes import BPF_CALL

PROG_LOAD, OBJ_GET_INFO_BY_FD, RAW_TRACEPOINT_OPEN = 5, 15, 17  # include/uapi/linux/bpf.h: enum bpf_cmd
RAW_TRACEPOINT = 17  # enum bpf_prog_type
RETURN_AT_ONCE: Final = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = 0; exit"""
INFO_BYTES, NAME_AT, RUN_TIME_AT = 224, 64, 192  # struct bpf_prog_info
NAME: Final = "returns_at_once"


class Runs(NamedTuple):
    """Of one program while the kernel counted."""

    nanoseconds: int
    times: int


def call(command: int, attribute: bytes) -> int:
    """bpf(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(attribute, max(len(attribute), 128))
    result = int(libc.syscall(BPF_CALL[platform.machine()], command, room, len(room)))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return result


@contextmanager
def empty_programs(tracepoints: Sequence[str]) -> Iterator[None]:
    """One on each, that does nothing."""
    code, licence = ctypes.create_string_buffer(RETURN_AT_ONCE), ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQIIQII", RAW_TRACEPOINT, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0
    )
    load += NAME.encode().ljust(16, b"\0")
    descriptors: list[int] = []
    try:
        for tracepoint in tracepoints:
            name = ctypes.create_string_buffer(tracepoint.encode())
            program = call(PROG_LOAD, load)
            descriptors.append(program)
            descriptors.append(call(RAW_TRACEPOINT_OPEN, struct.pack("=QII", ctypes.addressof(name), program, 0)))
        yield
    finally:
        for descriptor in reversed(descriptors):
            os.close(descriptor)


def count_runs() -> dict[str, Runs]:
    """Of every BPF program that this process has open, by its name, cut to 15 characters."""
    found: dict[str, Runs] = {}
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            if "\nprog_id:" not in path.read_text():
                continue
        except OSError:
            continue  # the descriptor of this very listing
        name, runs = _program(int(path.name))
        before = found.get(name, Runs(0, 0))
        found[name] = Runs(before.nanoseconds + runs.nanoseconds, before.times + runs.times)
    return found


def _program(descriptor: int) -> tuple[str, Runs]:
    info = ctypes.create_string_buffer(INFO_BYTES)
    call(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, INFO_BYTES, ctypes.addressof(info)))
    name = info.raw[NAME_AT : NAME_AT + 16].split(b"\0")[0].decode()
    return name, Runs(*struct.unpack_from("=QQ", info.raw, RUN_TIME_AT))
