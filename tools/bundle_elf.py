"""Which shared libraries programs and extensions need, found as the loader of this machine finds them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

SEARCHED_BY_PATH = ("DT_RPATH", "DT_RUNPATH")


class MissingLibraryError(Exception):
    """A needed library is nowhere on this machine; the text names it and who needs it."""


@dataclass(frozen=True)
class Elf:
    """What the loader reads of a file. interpreter: of a program, None for a library."""

    needed: tuple[str, ...]
    paths: tuple[str, ...]
    interpreter: str | None


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def read(path: Path) -> Elf:
    """Raises ELFError."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        tags = [t for s in elf.iter_sections() if isinstance(s, DynamicSection) for t in s.iter_tags()]
        interpreter = next((s.get_interp_name() for s in elf.iter_segments() if isinstance(s, InterpSegment)), None)
        needed = tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED")
        raw = [t.rpath if t.entry.d_tag == "DT_RPATH" else t.runpath for t in tags if t.entry.d_tag in SEARCHED_BY_PATH]
        return Elf(needed, tuple(p for text in raw for p in text.split(":")), interpreter)


def loader_cache() -> dict[str, Path]:
    """Library names and files by ldconfig(8); of several the first, which the loader would take."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    cache: dict[str, Path] = {}
    for name, path in re.findall(r"^\t(\S+) \(libc6,[^)]*\) => (\S+)$", listed, re.MULTILINE):
        cache.setdefault(name, Path(path))
    return cache


def libraries(roots: Iterable[Path], names: Iterable[str] = ()) -> dict[str, Path]:
    """Every library the files need, the further ones by name, and what those need, by the name it is asked for.

    Raises MissingLibraryError.
    """
    cache, queue = loader_cache(), list(roots)
    found = {name: resolve(name, Path("Python"), (), cache) for name in names}
    queue += found.values()
    while queue:
        path = queue.pop()
        elf = read(path)
        for name in elf.needed:
            if name not in found:
                found[name] = resolve(name, path, elf.paths, cache)
                queue.append(found[name])
    return found


def resolve(name: str, asked_by: Path, paths: Iterable[str], cache: dict[str, Path]) -> Path:
    origin = str(asked_by.resolve().parent)
    for directory in paths:
        candidate = Path(directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin), name)
        if candidate.exists():
            return candidate
    if name not in cache:
        raise MissingLibraryError(f"{asked_by} needs {name}, which is not installed here")
    return cache[name]


__all__ = ["ELFError", "Elf", "MissingLibraryError", "is_elf", "libraries", "read"]
