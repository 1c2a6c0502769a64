"""Files of the kernel and of the machine that no one module of procfs has (whodunnet.kernel)."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from fuzz.scratch import SEPARATOR, joined, write_pieces
from fuzz.sockets import Given
from fuzz.target import Target, sourced, text_target
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import (
    cgroupfs,
    clock,
    cpu_quota,
    cpus,
    ethtool,
    host,
    journal,
    kmsg,
    logfiles,
    memory_cgroups,
    name_query,
    namespaces,
    receive_queues,
    resolv_conf,
    support,
)
from whodunnet.kernel.ethtool import Ethtool
from whodunnet.kernel.roots import Roots

_ROOTS: Final = Roots()
_MOUNTS: Final = (
    b"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    b"36 24 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
    b"46 42 0:4 net:[4026532178] /run/netns/a\\040b rw shared:5 - nsfs nsfs rw\n",
    b"700 650 8:1 /var/lib/docker/containers/" + b"c0ffee00" * 8 + b"/hosts /etc/hosts rw - ext4 /dev/vda1 rw\n",
)
_NAMES: Final = struct.pack("=III", 0x1B, 1, 2) + b"rx_drops".ljust(32, b"\0") + b"tx_drops".ljust(32, b"\0")
_VALUES: Final = struct.pack("=II2Q", 0x1D, 2, 7, 2**64 - 1)
_LINE: Final = struct.pack("=IIBBBBBBBbBBBB28x", 0x4C, 10_000, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0)
_WORDS: Final = _LINE.replace(b"\2", b"\xfe")  # it has two words of modes, and was not asked for so many
_NUMBER: Final = struct.pack("=IIQI", 0x37, 0, 1 << 1, 2)
_QUESTION: Final = 0x1234
_LOGS: Final = (
    b"Nov 21 01:21:33 node-1 kernel: [    0.000000] Linux version 6.1.0\n"
    b"2024-05-01T12:00:00.123456+02:00 node-1 kernel: [   12.345678] TCP: out of memory -- consider tuning tcp_mem\n"
    b"2024-05-01T12:00:00.5+00:00 node-1 kernel: TCP: too many orphaned sockets\n",
    b"0001-01-01T00:00:00+23:00 h kernel: a\n9999-12-31T23:59:59-23:00 h kernel: a\n",
)
_SUPPORT_FILES: Final = (
    "proc/self/status", "proc/sys/kernel/hostname", "proc/sys/kernel/osrelease", "proc/sys/kernel/random/boot_id",
    "proc/cpuinfo", "sys/kernel/security/lockdown", "sys/devices/system/cpu/possible", "etc/hostname",
)  # fmt: skip
_QUEUE_FILES: Final = (
    "proc/irq/7/effective_affinity_list", "sys/class/net/eth0/queues/rx-0/rps_cpus", "sys/class/net/eth0/threaded",
    "sys/class/net/eth0/statistics/rx_packets", "sys/kernel/irq/7/actions", "sys/kernel/irq/7/per_cpu_count",
    "sys/class/net/eth0/device/msi_irqs/7",
)  # fmt: skip


def _parse_mounts(data: bytes) -> None:
    cgroupfs.parse_mountinfo(data, _ROOTS)
    host.parse_manager(data)
    namespaces.parse_mountinfo(data, "source")


def _parse_statistics(data: bytes) -> object:
    """The first two bytes say how many there should be, and where the names end."""
    number, end = data[0] if data else 0, 2 + 4 * (data[1] if len(data) > 1 else 0)
    return ethtool.parse_statistics(data[2:end], data[end:], number, "eth0")


def _parse_answer(data: bytes) -> None:
    ethtool.parse_name(data[:32], "eth0")
    ethtool.parse_line(data)


class _Answered(Ethtool):
    """A kernel that answers each question with the next of these, in place of its begin; one that is empty: with no."""

    def __init__(self, data: bytes) -> None:
        self._answers = data.split(SEPARATOR)[::-1]

    def _ask(self, device: str, request: bytes) -> bytes | None:  # noqa: ARG002 - all are of one device
        answer = self._answers.pop()[: len(request)] if self._answers else b""
        return answer + request[len(answer) :] if answer else None


def _ask_driver(data: bytes) -> None:
    answered = _Answered(data)
    with suppress(MalformedError):
        answered.line("eth0")
    answered.statistics("eth0")
    answered.driver("eth0")


def _look_for_answer(data: bytes) -> None:
    name_query.rcode_of(data, _QUESTION)
    query = name_query.NameQuery.__new__(name_query.NameQuery)
    query.rcode, query.refused, query._number = None, False, _QUESTION
    query._socket = cast("socket.socket", Given(data))
    query.look()


def _decode_timex(data: bytes) -> object:
    """The kernel writes into a buffer of ours, which always has its length."""
    return clock.decode_timex(data[:512].ljust(512, b"\0"))


def _read_log(data: bytes) -> object:
    with TemporaryDirectory() as place:
        path = Path(place) / "kern.log"
        path.write_bytes(data)
        return logfiles.LogFile(path).read(), logfiles.of_last_boot(logfiles.parse_lines(data, "source"))


def _parse_status(data: bytes) -> None:
    host.parse_filtered(data)
    support.parse_virtual_machine(data)
    support.parse_status(data, "source")


def _read_support(data: bytes) -> None:
    with TemporaryDirectory() as place:
        write_pieces(Path(place), _SUPPORT_FILES, data)
        support.node(support.read_support(Roots.below(Path(place))))


def _read_queues(data: bytes) -> None:
    with TemporaryDirectory() as place:
        write_pieces(Path(place), _QUEUE_FILES, data)
        receive_queues.read_receiving_devices(Roots.below(Path(place)))


TARGETS: Final = (
    Target(name="machine-mounts", run=_parse_mounts, seeds=_MOUNTS, files=("*/*/proc/self/mountinfo",),
           live=("proc/self/mountinfo",)),
    Target(name="machine-clock", run=_decode_timex, raises=(), max_bytes=64,
           seeds=(struct.pack("@I4li3l", 0, 5, 6, 7, 0, 0x2040, 2, 1, 32_768_000),)),
    Target(name="machine-cpu-stat", run=sourced(cpu_quota.parse_cpu_stat), max_bytes=1024,
           seeds=(b"nr_periods 152\nnr_throttled 61\nthrottled_time 4913042277\n",
                  b"usage_usec 5100\nnr_periods 152\nnr_throttled 61\nthrottled_usec 4913042\nnr_bursts 0\n"),
           live=("sys/fs/cgroup/*/cpu.stat",)),
    Target(name="machine-cpu-max", run=sourced(cpu_quota.parse_cpu_max), seeds=(b"max 100000\n", b"50000 100000\n"),
           max_bytes=64),
    Target(name="machine-cpu-list", run=sourced(cpus.parse_list), seeds=(b"0-3,8\n", b"\n", b"0-8191"), max_bytes=256,
           live=("sys/devices/system/cpu/online",)),
    Target(name="machine-cpu-mask", run=sourced(cpus.parse_mask), seeds=(b"ff\n", b"00000003,ffffffff\n")),
    Target(name="machine-driver-statistics", run=_parse_statistics,
           seeds=(bytes([2, len(_NAMES) // 4]) + _NAMES + _VALUES,)),
    Target(name="machine-driver-asked", run=_ask_driver,
           seeds=(joined(_WORDS, _LINE, _NUMBER, _NAMES, _VALUES, b"\3\0\0\0ena"), joined(b"", _NUMBER, b""))),
    Target(name="machine-driver-answer", run=_parse_answer, seeds=(_LINE,), max_bytes=512),
    Target(name="machine-journal-field", run=lambda data: journal.parse_field(data, "MESSAGE"),
           seeds=(b"MESSAGE=TCP: out of memory",), max_bytes=512),
    Target(name="machine-kmsg", run=sourced(kmsg.parse_record), max_bytes=2048,
           seeds=(b"5,342,1297165,-;random: crng reseeded\\x0a\n SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n",)),
    Target(name="machine-log", run=_read_log, raises=(MalformedError,), seeds=_LOGS),
    Target(name="machine-memory-cgroup", run=sourced(memory_cgroups.parse_cgroup_stat), max_bytes=1024,
           seeds=(b"nr_descendants 20\nnr_subsys_memory 21\nnr_dying_descendants 0\nnr_dying_subsys_memory 7\n",)),
    Target(name="machine-name-answer", run=_look_for_answer, raises=(), max_bytes=512,
           seeds=(struct.pack(">6H", _QUESTION, 0x8185, 1, 0, 0, 0) + b"\0\0\2\0\1",)),
    Target(name="machine-namespace-link", run=sourced(namespaces.parse_link), seeds=(b"net:[4026531840]",),
           max_bytes=64),
    Target(name="machine-interrupts", run=sourced(receive_queues.parse_counts), seeds=(b"0,43113,17\n",),
           max_bytes=1024),
    Target(name="machine-receive-queues", run=_read_queues, raises=(UnreadableError,), max_bytes=512,
           seeds=(joined(b"0\n", b"ff\n", b"1\n", b"9223372036854775808\n", b"eth0-rx\n", b"0,43113\n", b"msix\n"),)),
    Target(name="machine-resolv-conf", run=resolv_conf.parse_resolv_conf, raises=(), files=("trees/*/etc/resolv.conf",),
           live=("etc/resolv.conf",),
           seeds=(b"search a.b c\nnameserver ::ffff:10.0.0.1\nnameserver fe80::1%eth0\noptions ndots:5 attempts:2\n",)),
    text_target("machine-address", resolv_conf.canonical, ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0"), raises=(),
                max_bytes=128),
    Target(name="machine-status", run=_parse_status, files=("proc/*/proc/self/status", "proc/*/proc/cpuinfo"),
           live=("proc/self/status",)),
    Target(name="machine-lockdown", run=sourced(support.parse_lockdown), max_bytes=128,
           seeds=(b"none [integrity] confidentiality\n",)),
    Target(name="machine-support", run=_read_support, raises=(UnreadableError,), max_bytes=2048,
           seeds=(joined(b"Uid:\t0\t0\t0\t0\nCapEff:\tffffffffffffffff\nNSpid:\t1\t2\n", b"node-1\n", b"6.1.0\n",
                         b"0b5c1f64\n", b"flags\t: fpu hypervisor\n", b"[none] integrity\n", b"0-3\n", b"#\nnode\n"),)),
)  # fmt: skip
