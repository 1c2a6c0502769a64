"""Files of procfs (whodunnet.kernel.procfs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fuzz.target import Target, sourced, text_target
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs import (
    cgroups,
    conntrack,
    conntrack_entries,
    cpu_times,
    descriptors,
    files,
    kallsyms,
    kernel_threads,
    ksoftirqd,
    meminfo,
    neighbours,
    net_counters,
    net_settings,
    netstat,
    open_files,
    pressure,
    process,
    process_times,
    protocols,
    run_queue,
    scope,
    sockstat,
    softirqs,
    softnet_stat,
    tcp_mem,
)

_STATS: Final = (b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 0 0 0\n",)
_CHOSEN: Final = {"Tcp": ("RetransSegs", "InErrs"), "Udp": ("InErrors",), "TcpExt": ("TCPTimeouts",), "Udp6": ("x",)}
_PRESSURE: Final = (
    b"some avg10=47.45 avg60=1.00 avg300=0.12 total=18446744073709551615\n"
    b"full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
    b"full avg10=0.05 avg60=0.00 avg300=0.12 total=12\n",
)
_DEVICES: Final = (b"26 20 0:5 / /proc rw,relatime shared:5 - proc proc rw\n27 20 0:6 / /sys rw - sysfs sysfs rw\n",)


def _parse_stat(data: bytes) -> None:
    _each(data, process.parse_stat, process_times.parse_times)
    ksoftirqd.parse_ksoftirqd(data)


def _parse_system_stat(data: bytes) -> None:
    _each(data, cpu_times.parse_cpu_times, process.parse_boot_time, run_queue.parse_runnable)


def _parse_status(data: bytes) -> None:
    _each(data, process.parse_effective_uid, scope.parse_depth)


def _each(data: bytes, *parsers: Callable[[bytes, str], object]) -> None:
    """All of them. Raises MalformedError if no one takes the bytes."""
    problems: list[MalformedError] = []
    for parse in parsers:
        try:
            parse(data, "source")
        except MalformedError as error:
            problems.append(error)
    if len(problems) == len(parsers):
        raise problems[0]


def _pick_lines(data: bytes) -> object:
    chosen = net_counters.Chosen(_CHOSEN)
    return chosen.of_lines(data, "source"), chosen.of_lines(data, "source")


TARGETS: Final = (
    Target(
        name="procfs-cgroups", run=sourced(cgroups.parse_cgroups), files=("proc/*/proc/cgroups",),
        live=("proc/cgroups",),
    ),
    Target(
        name="procfs-conntrack-statistics", run=sourced(conntrack.parse_statistics),
        files=("trees/*/proc/*/net/stat/nf_conntrack",),
    ),
    Target(
        name="procfs-number", seeds=(b"262144\n", b"-1\n"),
        run=lambda data: _each(data, conntrack.parse_number, tcp_mem.parse_number),
        files=("proc/*/proc/sys/net/ipv4/tcp_max_*",), max_bytes=64,
    ),
    Target(
        name="procfs-integer", run=lambda data: files.integer(data, "source", "number"), max_bytes=64,
        seeds=(b"18446744073709551615", b"-9223372036854775808", b"0"),
    ),
    Target(
        name="procfs-conntrack-entries", run=sourced(conntrack_entries.parse_entries),
        files=("netlink/conntrack/*[!k].txt", "trees/*/proc/*/net/nf_conntrack"),
    ),
    Target(
        name="procfs-conntrack-entry", max_bytes=1024,
        run=lambda data: conntrack_entries.parse_entry(data, "source"),
        seeds=(
            b"ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.3 "
            b"dst=10.0.0.1 sport=8080 dport=40000 [ASSURED] mark=0 zone=7 use=2",
            b"ipv6     10 unknown  253 599 src=fd00::1 dst=fd00::2 [UNREPLIED] src=fd00::2 dst=fd00::1 mark=0 use=2",
        ),
    ),
    Target(name="procfs-system-stat", run=_parse_system_stat, files=("proc/softnet*/proc/stat", "trees/*/proc/stat"),
           seeds=(b"cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nbtime 1700000000\nprocs_running 4\n",),
           live=("proc/stat",)),
    text_target("procfs-socket-link", descriptors.parse_socket_link, ("socket:[123]", "pipe:[9]"), max_bytes=64),
    Target(name="procfs-kallsyms", run=sourced(kallsyms.parse_symbols), raises=(UnreadableError,),
           live=("proc/kallsyms",),
           seeds=(b"ffffffff81000000 T _stext\nffffffff81000010 t one\t[module]\nffffffff81000020 D data\n",)),
    Target(name="procfs-kernel-thread", run=kernel_threads.is_kernel_thread, raises=(), max_bytes=1024,
           seeds=(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0\n", b"9 (napi/eth0-7) S 2 0 0 0 -1 2129984 0 0\n")),
    Target(name="procfs-schedstat", run=sourced(ksoftirqd.parse_schedstat), seeds=(b"12345678 9012 345\n",),
           files=("proc/*/proc/*/schedstat",), max_bytes=256),
    Target(name="procfs-meminfo", run=sourced(meminfo.parse_meminfo), files=("*/*/proc/meminfo",),
           live=("proc/meminfo",)),
    Target(name="procfs-neighbours", run=sourced(neighbours.parse_statistics),
           files=("trees/*/proc/*/net/stat/arp_cache",), live=("proc/net/stat/*_cache",)),
    Target(name="procfs-counters-in-lines", run=_pick_lines,
           files=("*/*/proc/*/net/netstat", "trees/*/proc/*/net/snmp"), live=("proc/net/snmp", "proc/net/netstat")),
    Target(name="procfs-counters-in-pairs", run=lambda data: net_counters.Chosen(_CHOSEN).of_pairs(data, "source"),
           files=("trees/*/proc/*/net/snmp6",), live=("proc/net/snmp6",)),
    Target(name="procfs-numbers", run=sourced(net_settings.parse_numbers), seeds=(b"4096\t131072\t6291456\n", b"-1\n"),
           max_bytes=256),
    Target(name="procfs-reserved-ports", run=sourced(net_settings.parse_ports), seeds=(b"8080,9000-9100\n", b"\n"),
           max_bytes=1024),
    Target(name="procfs-netstat", run=sourced(netstat.parse_netstat), files=("*/*/proc/*/net/netstat",),
           live=("proc/net/netstat",)),
    Target(name="procfs-file-use", run=sourced(open_files.parse_file_nr), seeds=(b"1024\t0\t9223372036854775807\n",),
           max_bytes=256),
    Target(name="procfs-pressure", seeds=_PRESSURE, live=("proc/pressure/cpu", "proc/pressure/irq"), max_bytes=1024,
           run=lambda data: _each(data, pressure.parse_irq_pressure, pressure.parse_some_pressure)),
    Target(name="procfs-process-stat", run=_parse_stat, files=("*/*/proc/[0-9]*/stat",), seeds=_STATS,
           live=("proc/[0-9]/stat", "proc/self/stat"), max_bytes=1024),
    Target(name="procfs-process-cgroup", run=sourced(process.parse_cgroup), files=("nodes/*/proc/[0-9]*/cgroup",),
           live=("proc/self/cgroup",)),
    Target(name="procfs-process-limits", run=sourced(process.parse_descriptor_limit), files=("nodes/*/proc/1/limits",),
           seeds=(b"Max open files            unlimited            unlimited            files\n",)),
    Target(name="procfs-process-status", run=_parse_status, files=("*/*/proc/*/status",), live=("proc/self/status",)),
    Target(name="procfs-protocols", run=sourced(protocols.parse_protocols), files=("*/*/proc/*/net/protocols",),
           live=("proc/net/protocols",)),
    Target(name="procfs-load", run=sourced(run_queue.parse_load), seeds=(b"4.73 3.35 2.51 4/163 25364\n",),
           max_bytes=256),
    Target(name="procfs-sched-debug", run=sourced(run_queue.parse_delay_ns), seeds=_STATS),
    Target(name="procfs-mounts", run=scope.parse_procfs_devices, raises=(), seeds=_DEVICES,
           files=("*/*/proc/self/mountinfo",), live=("proc/self/mountinfo",)),
    Target(name="procfs-sockstat", run=sourced(sockstat.parse_sockstat), files=("*/*/proc/*/net/sockstat",),
           live=("proc/net/sockstat",)),
    Target(name="procfs-sockstat6", run=sourced(sockstat.parse_sockstat6), files=("*/*/proc/*/net/sockstat6",),
           live=("proc/net/sockstat6",)),
    Target(name="procfs-softirqs", run=sourced(softirqs.parse_softirqs), files=("*/*/proc/softirqs",),
           live=("proc/softirqs",)),
    Target(name="procfs-softnet-stat", run=sourced(softnet_stat.parse_softnet_stat),
           files=("*/*/proc/*/net/softnet_stat",), live=("proc/net/softnet_stat",)),
    Target(name="procfs-tcp-mem", run=sourced(tcp_mem.parse_tcp_mem), files=("proc/*/proc/sys/net/ipv4/tcp_mem",),
           max_bytes=256),
)  # fmt: skip
