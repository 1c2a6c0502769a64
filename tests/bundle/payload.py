"""The bundle's payload, read and written by other means than those of tools/."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
from pathlib import Path

TRAILER = struct.Struct("<QQQ8s")


def split(bundle: bytes) -> tuple[bytes, bytes, bytes]:
    """Launcher, packed payload, trailer."""
    trailer = bundle[-TRAILER.size :]
    packed = TRAILER.unpack(trailer)[0]
    begin = len(bundle) - TRAILER.size - packed
    return bundle[:begin], bundle[begin : -TRAILER.size], trailer


def unpack(bundle: Path, target: Path) -> None:
    packed = split(bundle.read_bytes())[1]
    plain = subprocess.run(["zstd", "-dcq"], input=packed, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        archive.extractall(target, filter="data")


def with_entry(bundle: Path, entry: tarfile.TarInfo) -> bytes:
    """The same launcher with a payload of this one empty entry."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(entry)
    packed = subprocess.run(["zstd", "-cq"], input=plain.getvalue(), stdout=subprocess.PIPE, check=True).stdout
    return split(bundle.read_bytes())[0] + packed + TRAILER.pack(len(packed), 0, 1, b"WHODUNN1")
