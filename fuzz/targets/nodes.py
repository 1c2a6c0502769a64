"""Files of a node that are read together, or decoded where they are read: cgroups, threads, namespaces, settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.scratch import joined, write_pieces
from fuzz.target import FIXTURES, Target
from whodunnet.collectors import resolvers
from whodunnet.collectors.cpu_pressure import own_pid
from whodunnet.collectors.stalls import FunctionNames
from whodunnet.errors import UnreadableError
from whodunnet.kernel import cgroupfs, clock, cpu_quota, host, memory_cgroups, namespaces, napi_threads
from whodunnet.kernel.procfs import conntrack, descriptors, net_counters, net_settings, open_files, process_times, scope
from whodunnet.kernel.procfs.process import parse_cgroup
from whodunnet.kernel.roots import Roots

_V2: Final = FIXTURES / "nodes/containerd-systemd-v2"
_V1: Final = FIXTURES / "nodes/containerd-elsewhere"
_NETNS: Final = FIXTURES / "proc/linux-6.18/proc"
_TREE: Final = FIXTURES / "trees/sos-4.0/proc/10672"
_CGROUP: Final = "/system.slice/ssh.service"
_STAT: Final = b"nr_descendants 20\nnr_subsys_memory 21\nnr_dying_descendants 9\nnr_dying_subsys_memory 7\n"
_KTHREADD: Final = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 0 0 0\n"
_NAPI: Final = b"7 (napi/eth0-7) S 2 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 0 0 0\n"
_KALLSYMS: Final = b"ffffffff81000000 T _stext\nffffffff81000010 t one\t[module]\nffffffff81000020 D data\n"
_MODULES: Final = b"module 16384 1 - Live 0xffffffffc0000000\nother 4096 0 - Live 0x0000000000000000 (OE)\n"
_NSFS: Final = b"46 42 0:4 net:[4026532178] /run/netns/a\\040b rw shared:5 - nsfs nsfs rw\n"
_POD_FILE: Final = b"700 650 8:1 /pods/" + b"c0ffee00" * 4 + b"/etc-hosts /etc/hosts rw - ext4 /dev/vda1 rw\n"

_CGROUP_FILES: Final = (
    "proc/self/mountinfo", "proc/7/cgroup", "sys/fs/cgroup/cgroup.controllers",
    f"sys/fs/cgroup{_CGROUP}/cgroup.events", f"sys/fs/cgroup{_CGROUP}/cgroup.procs",
    f"sys/fs/cgroup/freezer{_CGROUP}/freezer.state", "sys/fs/cgroup/unified/cgroup.controllers",
)  # fmt: skip
_MEMORY_FILES: Final = (
    "cgroup.controllers", "cgroup.stat", "memory.stat", "system.slice/cgroup.stat", "user.slice/cgroup.stat",
    "system.slice/ssh.service/cgroup.stat", "cgroup.type",
)  # fmt: skip
_QUOTA_FILES: Final = ("cpu.max", "cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us")
_NAPI_FILES: Final = ("proc/7/comm", "proc/7/stat", "proc/2/task/2/children")
_SCOPE_FILES: Final = ("1/stat", "2/stat", "self/ns/pid")
_NAMESPACE_FILES: Final = (
    "proc/self/mountinfo", "proc/1/mountinfo", "proc/self/ns/mnt@", "proc/1/ns/mnt@", "proc/thread-self/ns/net@",
    "proc/1/ns/net@", "proc/7/ns/net@", "proc/7/ns/mnt@", "other/self@",
)  # fmt: skip
_PLACE_FILES: Final = (
    "proc/self/mountinfo", "proc/self/status", "proc/1/mountinfo", "proc/self/ns/pid@", "host/proc/self/status",
    "run@", "proc/1/root/name",
)  # fmt: skip
_PROCESS_FILES: Final = (
    "proc/7/stat", "proc/7/schedstat", "proc/7/task/7/schedstat", "proc/7/task/8/schedstat", "proc/9/stat",
    "proc/9/schedstat", "proc/self/task/1/schedstat",
)  # fmt: skip
_COUNTER_FILES: Final = ("proc/7/net/netstat", "proc/7/net/snmp", "proc/7/net/snmp6")
_SETTING_FILES: Final = (
    "proc/sys/net/ipv4/tcp_rmem", "proc/sys/net/ipv4/ip_local_reserved_ports",
    "proc/sys/net/ipv4/conf/eth0.100/rp_filter", "proc/sys/net/netfilter/nf_conntrack_count",
    "proc/sys/net/netfilter/nf_conntrack_max", "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
)  # fmt: skip
_CHOSEN: Final = {"Tcp": ("RetransSegs", "InErrs"), "Udp": ("InErrors",), "TcpExt": ("TCPTimeouts",), "Udp6": ("x",)}
_ADDRESSES: Final = (0, 0xFFFFFFFF81000018, 2**64 - 1)


def _below(read: Callable[[Path], object], paths: tuple[str, ...]) -> Callable[[bytes], object]:
    """The reader of a directory gets one with these files in it."""

    def run(data: bytes) -> object:
        with TemporaryDirectory() as place:
            write_pieces(Path(place), paths, data)
            return read(Path(place))

    return run


def _all(*reads: Callable[[], object]) -> None:
    """Each of them, whatever those before it raise. Raises UnreadableError if all do."""
    problems: list[UnreadableError] = []
    for read in reads:
        try:
            read()
        except UnreadableError as error:
            problems.append(error)
    if len(problems) == len(reads):
        raise problems[0]


def _read_cgroup(top: Path) -> None:
    """What is said of the cgroup of one process, in v1 and v2."""
    roots = Roots.below(top)
    found = cgroupfs.read_hierarchies(roots)
    path = top / "proc/7/cgroup"
    lines = parse_cgroup(path.read_bytes(), "source") if path.exists() else ()
    cgroupfs.is_frozen(found, lines)
    if (unified := found.unified) is not None:
        for line in lines:
            cgroupfs.first_process(unified, line.path)
            if (directory := unified.directory(line.path)) is not None:
                cgroupfs.processes_in(directory, 2)
        cgroupfs.find_paths(unified, (unified.point.stat().st_ino if unified.point.exists() else 1, 2))
        _all(lambda: memory_cgroups.has_memory(unified), lambda: cpu_quota.has_cpu(unified))


def _read_memory(top: Path) -> None:
    hierarchy = cgroupfs.Hierarchy(top, "/")
    memory_cgroups.is_root(hierarchy)
    memory_cgroups.count_directories(top)
    _all(
        lambda: memory_cgroups.read_cgroup_stat(top),
        lambda: memory_cgroups.dying_below(hierarchy, "nr_dying_subsys_memory"),
        lambda: memory_cgroups.time_memory_stat(top),
    )


def _read_quota(directory: Path) -> None:
    _all(
        lambda: cpu_quota.read_quota(directory, "v2"),
        lambda: cpu_quota.read_quota(directory, "v1"),
        lambda: cpu_quota.read_cpu_stat(directory),
    )


def _read_namespaces(top: Path) -> None:
    roots = Roots.below(top)
    own_pid(Roots(proc=top / "other"))
    _all(
        lambda: namespaces.find(roots),
        lambda: namespaces.elsewhere(roots),
        lambda: namespaces.of_process(roots, 7),
        lambda: resolvers._places(roots),
    )


def _read_processes(top: Path) -> None:
    roots = Roots.below(top)
    process_times.read_own_wait_ns(roots)
    process_times.read_every_process(roots, is_busy=lambda times: times.pid == 9)


def _read_settings(top: Path) -> None:
    roots = Roots.below(top)
    _all(
        lambda: net_settings.read_numbers(roots, "net.ipv4.tcp_rmem"),
        lambda: net_settings.read_reserved_ports(roots),
        lambda: net_settings.read_of_devices(roots, net_settings.read_device_names(roots), "rp_filter"),
        lambda: conntrack.read_size(roots),
        lambda: conntrack.read_timeouts(roots),
    )


def _name_functions(top: Path) -> list[str | None]:
    """Of two stalls: the second asks whether the modules are the same."""
    names = FunctionNames(Roots.below(top))
    names.refresh()
    names.refresh()
    return [names.name(address) for address in _ADDRESSES]


def _look_at_descriptors(data: bytes) -> object:
    """A process whose descriptors are links to what the lines say."""
    with TemporaryDirectory() as place:
        proc = Path(place)
        lines = data.split(b"\n")[:16]
        write_pieces(proc, [f"7/fd/{number}@" for number in range(len(lines))], joined(*lines))
        open_files.count_open_files(proc)
        return open_files.read_kinds(proc, 7, 8), descriptors.read_socket_holders(proc).pids


def _one(path: Path) -> bytes:
    return path.read_bytes()


def _frozen(state: bytes) -> tuple[bytes, ...]:
    """Recorded nodes, of v2 and of both, with another cgroup in v1."""
    v2 = _V2 / f"sys/fs/cgroup{_CGROUP}"
    controllers = _one(_V2 / "sys/fs/cgroup/cgroup.controllers")
    return (
        joined(_one(_V2 / "proc/self/mountinfo"), _one(_V2 / "proc/900/cgroup"), controllers,
               _one(v2 / "cgroup.events"), _one(v2 / "cgroup.procs")),
        joined(_one(_V1 / "proc/self/mountinfo"), f"6:freezer:{_CGROUP}\n0::{_CGROUP}\n".encode(), b"", b"", b"",
               state, _one(FIXTURES / "proc/linux-6.18/sys/fs/cgroup/unified/cgroup.controllers")),
    )  # fmt: skip


def _namespaces(theirs: bytes) -> bytes:
    """A recorded machine, whose first process sees that as well."""
    ours, others = (os.fsencode((_NETNS / f"{task}/ns/net").readlink()) for task in ("self", "42"))
    mounts = _one(_NETNS / "self/mountinfo")
    return joined(mounts, mounts + theirs, b"mnt:[1]", b"mnt:[2]", ours, ours, others, b"mnt:[1]", b"4711")


TARGETS: Final = (
    Target(name="nodes-cgroup", run=_below(_read_cgroup, _CGROUP_FILES), raises=(UnreadableError,), max_bytes=2048,
           seeds=(*_frozen(b"FROZEN\n"), _frozen(b"THAWED\n")[1].replace(b"cgroup/freezer", b"cgroup/\\000"))),
    Target(name="nodes-memory-cgroups", run=_below(_read_memory, _MEMORY_FILES), raises=(UnreadableError,),
           max_bytes=1024,
           seeds=(joined(_one(_V2 / "sys/fs/cgroup/cgroup.controllers"), _STAT, b"anon 4096\n", _STAT, b"", _STAT),)),
    Target(name="nodes-cpu-quota", run=_below(_read_quota, _QUOTA_FILES), raises=(UnreadableError,), max_bytes=512,
           seeds=(joined(b"50000 100000\n", b"usage_usec 5100\n"), joined(b"", b"", b"-1\n", b"100000\n"),
                  joined(b"", b"nr_periods 1\nnr_throttled 1\nthrottled_time 9\n", b"50000\n", b"100000\n"))),
    Target(name="nodes-napi-threads", run=_below(lambda top: napi_threads.read_napi_threads(Roots.below(top)),
                                                 _NAPI_FILES), raises=(UnreadableError,), max_bytes=8192,
           seeds=(joined(b"napi/eth0-7\n", _NAPI, b"3 4 7 \n"), joined(b"backlog_napi/1\n", _NAPI),
                  joined(b"napi/eth0-7\n", _NAPI, b"9" * 5000))),
    Target(name="nodes-scope", run=_below(scope.shows_whole_machine, _SCOPE_FILES), raises=(), max_bytes=512,
           seeds=(joined(b"1 (systemd)", _KTHREADD), joined(b"1 (sh)", b"2 (x) S 0 0 0 0 -1 x 0\n"))),
    Target(name="nodes-place", raises=(UnreadableError,), max_bytes=2048,
           run=_below(lambda top: host.find_place(Roots.below(top), top / "host"), _PLACE_FILES),
           seeds=(joined(_one(_V1 / "proc/self/mountinfo"), b"Seccomp:\t2\nNSpid:\t7\n", _POD_FILE, b"pid:[4026531836]",
                         b"NSpid:\t7\t1\n", b"/var/run", b"x"),
                  joined(_POD_FILE, b"Seccomp:\t0\n"))),
    Target(name="nodes-namespaces", run=_below(_read_namespaces, _NAMESPACE_FILES), raises=(UnreadableError,),
           max_bytes=2048, seeds=(_namespaces(_NSFS), _namespaces(_NSFS.replace(b" /run", b" run")))),
    Target(name="nodes-processes", run=_below(_read_processes, _PROCESS_FILES), raises=(UnreadableError,),
           max_bytes=1024,
           seeds=(joined(_NAPI, b"12345678 9012 345\n", b"1 2 3\n", b"", _KTHREADD.replace(b"2 (", b"9 ("),
                         b"12345678 9012 345\n", b"4 5 6\n"),)),
    Target(name="nodes-descriptors", run=_look_at_descriptors, raises=(UnreadableError,), max_bytes=512,
           seeds=(b"socket:[123]\n/var/log/x\nanon_inode:[eventpoll]\npipe:[9]\nsocket:[x]\n/dev/null (deleted)\n",)),
    Target(name="nodes-counters", raises=(UnreadableError,), max_bytes=8192,
           run=_below(lambda top: net_counters.read_net_counters(Roots.below(top), net_counters.Chosen(_CHOSEN), "7"),
                      _COUNTER_FILES),
           seeds=(joined(*(_one(_TREE / f"net/{name}") for name in ("netstat", "snmp", "snmp6"))),)),
    Target(name="nodes-settings", run=_below(_read_settings, _SETTING_FILES), raises=(UnreadableError,), max_bytes=512,
           seeds=(joined(b"4096\t131072\t6291456\n", b"8080,9000-9100\n", b"2\n", b"7\n", b"262144\n", b"432000\n"),)),
    Target(name="nodes-hardware-clock", raises=(UnreadableError,), max_bytes=64,
           run=_below(lambda top: clock.read_hardware_ahead(Roots(sys=top)), ("class/rtc/rtc0/since_epoch",)),
           seeds=(b"1795353953\n", b"0\n")),
    Target(name="nodes-function-names", run=_below(_name_functions, ("proc/kallsyms", "proc/modules")),
           raises=(), max_bytes=1024, seeds=(joined(_KALLSYMS, _MODULES), _KALLSYMS)),
)  # fmt: skip
