"""The file itself: launcher, payload (a tar compressed with zstd), trailer. launcher_payload.c reads it."""

from __future__ import annotations

import struct
import subprocess
import tarfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
MAGIC = b"WHODUNN1"
TRAILER = struct.Struct("<QQQ8s")
LEVEL = "-9"
"""-19 gives a tenth less for twenty times the time, and unpacks slower."""


def build_launcher(target: Path) -> None:
    """Static, from launcher*.c."""
    sources = sorted(str(path) for path in TOOLS.glob("launcher*.c"))
    flags = ["-static", "-O2", "-s", "-Wall", "-Wextra", "-Werror", f"-ffile-prefix-map={TOOLS}=tools"]
    subprocess.run(["gcc", *flags, *sources, "-lzstd", "-o", str(target)], check=True)


def write_tar(tree: Path, target: Path) -> tuple[int, int]:
    """Regular files and directories in order of name, as root, without times; returns (bytes, entries)."""
    total = entries = 0
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            info = tarfile.TarInfo(str(path.relative_to(tree)))
            entries += 1
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size, info.mode = path.stat().st_size, 0o755 if path.stat().st_mode & 0o100 else 0o644
                total += info.size
                with path.open("rb") as file:
                    archive.addfile(info, file)
    return total, entries


def write_bundle(tree: Path, work: Path, target: Path) -> None:
    """work: a directory for what lies in between."""
    launcher, payload, packed = work / "launcher", work / "payload.tar", work / "payload.tar.zst"
    build_launcher(launcher)
    total, entries = write_tar(tree, payload)
    subprocess.run(["zstd", "--quiet", "--check", LEVEL, str(payload), "-o", str(packed)], check=True)
    content = packed.read_bytes()
    target.write_bytes(launcher.read_bytes() + content + TRAILER.pack(len(content), total, entries, MAGIC))
    target.chmod(0o755)
