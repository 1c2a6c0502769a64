"""Which machine a tree was copied from, and when: all of it by files of the tree."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from whodunnet.errors import UnreadableError
from whodunnet.kernel.cpus import parse_list
from whodunnet.kernel.procfs.cpu_times import parse_cpu_times
from whodunnet.kernel.procfs.meminfo import parse_meminfo
from whodunnet.kernel.support import parse_virtual_machine
from whodunnet.kernel.tree.files import Tree
from whodunnet.kernel.tree.sysctls import Sysctls
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Node
from whodunnet.model.text import clean

STAT_LIMIT_BYTES: Final = 8 << 20
MARKS: Final = ("proc", "sos_commands")
"""What a tree has at least one of."""
_DATES: Final = ("sos_commands/date/date_--utc", "sos_commands/date/date", "date")
_AGES: Final = (*_DATES, "version.txt", "sos_commands", "proc/uptime", "proc/net/sockstat", "proc/stat", "proc")
_DATE: Final = re.compile(
    r"(?:[A-Z][a-z]{2} )?(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<time>\d\d:\d\d:\d\d)(?P<half> [AP]M)? "
    r"(?:UTC|GMT) (?P<year>\d{4})"
)
_UNAME: Final = re.compile(r"Linux (\S{1,255}) (\S{1,255}) .* (\S{1,32}) GNU/Linux")
_VERSION: Final = re.compile(r"Linux version (\S{1,255}) ")
_UPTIME: Final = re.compile(rb"(\d{1,9}\.\d{2}) ")
_BOOTED: Final = re.compile(rb"^btime (\d{1,12})$", re.MULTILINE)
_MANAGED: Final = re.compile(rb"^ +managed +(\d{1,16})$", re.MULTILINE)
_PAGES: Final = {4096, 16384, 65536}
_TEXT_BYTES: Final = 4096
_YEARS: Final = range(1980, 8999)
"""Whose times can be computed with."""
_SMALL_PAGES: Final = {"x86_64", "i686", "i586", "s390x", "armv7l"}


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree says of its machine. page_size_bytes: None where it cannot be told. notes: what is uncertain."""

    node: Node
    at: Moment
    page_size_bytes: int | None
    cpus: int
    notes: tuple[str, ...] = ()


def read_machine(tree: Tree, sysctls: Sysctls) -> Machine:
    """Never fails: what the tree does not tell is unknown, and said."""
    uname = _UNAME.search(_text(tree, "sos_commands/kernel/uname_-a", "uname"))
    wall, by_file = _wall(tree)
    boot = _boot_seconds(tree, wall)
    notes = [f"the tree has no date: its time is that of {by_file}"] if by_file else []
    notes += ["the tree does not say when its machine started"] if boot is None else []
    return Machine(
        node=Node(
            hostname=_name(tree, sysctls, uname),
            kernel=_kernel(tree, sysctls, uname),
            boot_id=clean(sysctls.text("kernel.random.boot_id") or ""),
            virtual_machine=_virtual_machine(tree),
        ),
        at=Moment(wall=wall, boot_seconds=boot or 0.0),
        page_size_bytes=_page_size(tree, uname[3] if uname else ""),
        cpus=_cpus(tree),
        notes=tuple(notes),
    )


def parse_date(text: str) -> datetime | None:
    """What `date` prints for C and for English, in UTC only: names of other zones have no one meaning."""
    match = _DATE.search(text)
    if match is None:
        return None
    form = "%b %d %I:%M:%S %p %Y" if match["half"] else "%b %d %H:%M:%S %Y"
    words = f"{match['month']} {match['day']} {match['time']}{match['half'] or ''} {match['year']}"
    try:
        return datetime.strptime(words, form).replace(tzinfo=UTC)
    except ValueError:
        return None


def _wall(tree: Tree) -> tuple[datetime, str | None]:
    """The time of the tree, and by which file's own time if none says it."""
    for path in _DATES:
        found = parse_date(_text(tree, path))
        if found is not None and found.year in _YEARS:
            return found, None
    for path in _AGES:
        changed = tree.changed(path)
        if changed is not None and changed.year in _YEARS:
            return changed, path
    return datetime.fromtimestamp(0, UTC), "nothing"


def _boot_seconds(tree: Tree, wall: datetime) -> float | None:
    match = _UPTIME.match(_bytes(tree, "proc/uptime"))
    if match is not None:
        return float(match[1])
    booted = _BOOTED.search(_bytes(tree, "proc/stat"))
    if booted is None:
        return None
    seconds = (wall - datetime.fromtimestamp(0, UTC)) / timedelta(seconds=1) - int(booted[1])
    return seconds if seconds >= 0 else None


def _name(tree: Tree, sysctls: Sysctls, uname: re.Match[str] | None) -> str:
    texts = (
        sysctls.text("kernel.hostname"), _text(tree, "sos_commands/host/hostname", "hostname"),
        uname[1] if uname else None, _text(tree, "etc/hostname"),
    )  # fmt: skip
    names = [line.strip() for text in texts if text for line in text.split("\n") if not line.startswith("#")]
    return clean(next(filter(None, names), "unknown"))


def _kernel(tree: Tree, sysctls: Sysctls, uname: re.Match[str] | None) -> str:
    version = _VERSION.match(_text(tree, "proc/version"))
    told = sysctls.text("kernel.osrelease") or (uname[2] if uname else None) or (version[1] if version else None)
    return clean(told or "unknown")


def _virtual_machine(tree: Tree) -> bool | None:
    return parse_virtual_machine(_bytes(tree, "proc/cpuinfo"))


def _page_size(tree: Tree, architecture: str) -> int | None:
    """By the memory in bytes and in pages, which must be one of the sizes there are; else by the architecture."""
    pages = sum(map(int, _MANAGED.findall(_bytes(tree, "proc/zoneinfo"))))
    try:
        total = parse_meminfo(_bytes(tree, "proc/meminfo"), "proc/meminfo").total_bytes
    except UnreadableError:
        total = 0
    if pages and total:
        nearest = min(_PAGES, key=lambda size: abs(total / pages - size))
        if abs(total / pages / nearest - 1) < 0.1:
            return nearest
    return 4096 if architecture in _SMALL_PAGES else None


def _cpus(tree: Tree) -> int:
    try:
        path, data = tree.first("sys/devices/system/cpu/possible")
        return max(len(parse_list(data, path)), 1)
    except UnreadableError:
        pass
    try:
        return len(parse_cpu_times(_bytes(tree, "proc/stat"), "proc/stat"))
    except UnreadableError:
        return 1


def _bytes(tree: Tree, path: str) -> bytes:
    try:
        return tree.read(path, STAT_LIMIT_BYTES)
    except UnreadableError:
        return b""


def _text(tree: Tree, *paths: str) -> str:
    """The first of these files that is there, or nothing."""
    try:
        return tree.first(*paths)[1][:_TEXT_BYTES].decode(errors="replace").strip()
    except UnreadableError:
        return ""
