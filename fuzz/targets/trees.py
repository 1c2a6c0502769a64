"""Files copied from another machine: each text by itself, and a whole tree (whodunnet.kernel.tree)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.scratch import joined, write_pieces
from fuzz.target import FIXTURES, Target, sourced, text_target
from whodunnet.collectors.tree import counted
from whodunnet.collectors.tree.reading import READERS, read_tree
from whodunnet.errors import UnreadableError, UsageError
from whodunnet.kernel.tree import link_text, log_text, machine, ps_text, ss_text, sysctls
from whodunnet.kernel.tree.files import Tree

_TREE: Final = FIXTURES / "trees/sos-4.0"
_COMMANDS: Final = "sos_commands"
_FILES: Final = (
    "etc/resolv.conf", f"{_COMMANDS}/networking/ip_-o_addr", f"{_COMMANDS}/networking/ss_-peaonmi",
    f"{_COMMANDS}/networking/tc_-s_qdisc_show", f"{_COMMANDS}/networking/ip_-s_-d_link",
    f"{_COMMANDS}/networking/ip_netns", f"{_COMMANDS}/date/date", f"{_COMMANDS}/kernel/sysctl_-a",
    f"{_COMMANDS}/kernel/dmesg", f"{_COMMANDS}/systemd/timedatectl", "proc/uptime", "proc/stat", "proc/meminfo",
    "proc/zoneinfo", "proc/net/tcp", "proc/net/sockstat", "proc/net/softnet_stat", "proc/net/nf_conntrack",
    "proc/net/stat/arp_cache", "proc/net/stat/nf_conntrack",
)  # fmt: skip
_WANTED: Final = (*READERS, "sockets", "workloads", "ports")
_LINES: Final = 4
"""So many of each file are enough to begin from."""


def _read_tree(data: bytes) -> object:
    with TemporaryDirectory() as place:
        root = Path(place)
        (root / "proc").mkdir()
        write_pieces(root, _FILES, data)
        return read_tree(root, _WANTED)


def _read_one(data: bytes) -> object:
    """One file of any content where a name of the tree comes from: its paths must not lead out of it."""
    with TemporaryDirectory() as place:
        write_pieces(Path(place), ("etc/name", "etc/content"), data)
        with Tree(Path(place)) as tree:
            name = tree.read("etc/name", 1024).decode(errors="surrogateescape")
            return tree.names(name), tree.changed(name), tree.read_end(name, 64)


def _whole() -> bytes:
    found = {path: _TREE / path for path in _FILES}
    found |= {path: _TREE / path.replace("proc/net", "proc/10672/net") for path in _FILES if "proc/net" in path}
    lines = (file.read_bytes().splitlines(keepends=True) if file.is_file() else [] for file in found.values())
    return joined(*(b"".join(each[:_LINES]) for each in lines))


TARGETS: Final = (
    Target(name="trees-links", run=link_text.parse_links, raises=(), files=("trees/*/*/networking/ip_-s_-d_link",)),
    Target(name="trees-queues", run=link_text.parse_queues, raises=(), files=("trees/*/*/networking/tc_*",)),
    Target(name="trees-addresses", run=link_text.parse_addresses, raises=(),
           files=("trees/*/*/networking/ip_-o_addr",)),
    Target(name="trees-dmesg", run=log_text.parse_dmesg, raises=(), files=("trees/*/*/kernel/dmesg",)),
    text_target("trees-date", machine.parse_date, (
        "Wed Mar  1 12:00:00 UTC 2026", "Sun Nov 22 02:29:34 AM UTC 2026"), raises=(), max_bytes=128),
    Target(name="trees-processes", run=ps_text.parse_ps, raises=(), files=("trees/*/*/process/ps_*",)),
    Target(name="trees-sockets", run=sourced(ss_text.parse_ss), files=("trees/ss-6.1.txt", "trees/*/*/*/ss_*"),
           max_bytes=8192),
    Target(name="trees-inodes", run=ss_text.parse_inodes, raises=(), files=("trees/*/proc/*/net/[tu]*",),
           live=("proc/net/tcp", "proc/net/udp6")),
    Target(name="trees-sysctls", run=sysctls.parse_printed, raises=(), files=("trees/*/*/kernel/sysctl_-a",)),
    Target(name="trees-nstat", run=counted.parse_nstat, raises=(), max_bytes=1024,
           seeds=(b"#kernel\nUdpRcvbufErrors                 7                  0.0\nTcpExtTCPTimeouts 1 0.0\n",)),
    Target(name="trees-path", run=_read_one, raises=(UnreadableError,), max_bytes=512,
           seeds=(joined(b"etc/content", b"text\n"), joined(b"../../etc/content", b"x"))),
    Target(name="trees-whole", run=_read_tree, raises=(UsageError,), seeds=(_whole(),), max_bytes=16_384,
           weight=8),
)  # fmt: skip
