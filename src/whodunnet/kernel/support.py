"""What this kernel and our rights allow: facts, read once, never a version compared."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.cpus import read_possible
from whodunnet.kernel.procfs.files import integer, read_bytes, read_head, shown
from whodunnet.kernel.procfs.scope import shows_whole_machine
from whodunnet.kernel.roots import Roots
from whodunnet.model.snapshot import Node
from whodunnet.model.text import clean

CgroupLayout = Literal["v1", "v2", "hybrid"]

# By bit number: include/uapi/linux/capability.h, capabilities(7).
# fmt: off
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)
# fmt: on
_INITIAL_UTS_NAMESPACE = "uts:[4026531838]"  # PROC_UTS_INIT_INO (linux/proc_ns.h)
_HOSTNAME_BYTES = 4096
_CPUINFO_BYTES = 16384  # the first CPU is enough: flags are the same on all


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What /proc/self/status says of our rights and place (proc_pid_status(5))."""

    euid: int
    capabilities: frozenset[str]
    pid_namespace_depth: int


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that collectors choose their method by. None: the machine does not say.

    capabilities: effective ones, as "CAP_NET_ADMIN". lockdown: "none", "integrity" or "confidentiality".
    pid_namespace_depth: pid namespaces between the one procfs shows and ours, 0 if they are the same.
    initial_pid_namespace: whether ours is the one that has every process of the machine.
    whole_machine: whether procfs shows every process of the machine, which it may do beyond our own namespace.
    """

    capabilities: frozenset[str]
    euid: int
    kernel: str
    hostname: str
    boot_id: str
    page_size_bytes: int
    possible_cpus: int
    btf: bool
    lockdown: str | None
    virtual_machine: bool | None
    pid_namespace_depth: int
    initial_pid_namespace: bool = True
    whole_machine: bool = True
    cgroup_layout: CgroupLayout | None


def read_support(roots: Roots) -> Support:
    """Look around. Raises UnreadableError only where /proc itself is not to be read."""
    status = read_status(roots)
    return Support(
        capabilities=status.capabilities,
        euid=status.euid,
        kernel=_word(roots, "osrelease"),
        hostname=read_hostname(roots),
        boot_id=_word(roots, "random/boot_id"),
        page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
        possible_cpus=count_possible_cpus(roots),
        btf=(roots.sys / "kernel/btf/vmlinux").exists(),
        lockdown=read_lockdown(roots),
        virtual_machine=read_virtual_machine(roots),
        pid_namespace_depth=status.pid_namespace_depth,
        initial_pid_namespace=read_initial_pid_namespace(roots),
        whole_machine=shows_whole_machine(roots.proc),
        cgroup_layout=read_cgroup_layout(roots),
    )


def node(support: Support) -> Node:
    """The machine as a recording names it, with names fit to be printed."""
    return Node(
        hostname=clean(support.hostname),
        kernel=clean(support.kernel),
        boot_id=clean(support.boot_id),
        virtual_machine=support.virtual_machine,
    )


def parse_status(data: bytes, source: str) -> TaskStatus:
    """Parse /proc/self/status. Raises MalformedError naming source and line."""
    lines = dict(line.split(b":", 1) for line in data.split(b"\n") if b":" in line)
    uids, mask = lines.get(b"Uid", b"").split(), lines.get(b"CapEff", b"").strip()
    if len(uids) != 4 or re.fullmatch(rb"[0-9a-fA-F]{1,16}", mask) is None:
        raise MalformedError(f"{source}: Uid should be four numbers, CapEff hexadecimal: {shown(mask)}")
    return TaskStatus(
        euid=integer(uids[1], source, "Uid"),
        capabilities=_capabilities(int(mask, 16)),
        pid_namespace_depth=max(0, len(lines.get(b"NSpid", b"").split()) - 1),
    )


def parse_lockdown(data: bytes, source: str) -> str:
    """The chosen word of "none [integrity] confidentiality" (security/lockdown). Raises MalformedError."""
    found = re.search(rb"\[([a-z]{1,32})\]", data)
    if found is None:
        raise MalformedError(f"{source}: no word is in brackets: {shown(data)}")
    return found[1].decode()


def parse_virtual_machine(data: bytes) -> bool | None:
    """Whether the first CPU has the flag of a hypervisor; None where cpuinfo has no flags (not x86)."""
    for line in data.split(b"\n"):
        name, _, flags = line.partition(b":")
        if name.strip() == b"flags":
            return b"hypervisor" in flags.split()
    return None


def read_status(roots: Roots) -> TaskStatus:
    """Our rights. Raises UnreadableError."""
    path = roots.proc / "self/status"
    return parse_status(read_bytes(path), str(path))


def read_initial_pid_namespace(roots: Roots) -> bool:
    """Whether our pid namespace is the first one, which has a fixed number (PROC_PID_INIT_INO, linux/proc_ns.h)."""
    try:
        return (roots.proc / "self/ns/pid").readlink().name == "pid:[4026531836]"
    except OSError:
        return False


def read_hostname(roots: Roots) -> str:
    """The machine's name; in a container, whose own name procfs gives, what the host's configuration says.

    Raises UnreadableError if there is no name at all.
    """
    own = _word(roots, "hostname")
    if roots.top == Path("/"):
        return own
    try:
        if (roots.proc / "self/ns/uts").readlink().name == _INITIAL_UTS_NAMESPACE:
            return own
        lines = read_head(roots.resolve(roots.etc / "hostname"), _HOSTNAME_BYTES).decode(errors="replace").split("\n")
    except (OSError, UnreadableError):
        return own
    names = (line.strip() for line in lines if not line.startswith("#"))  # hostname(5)
    return next(filter(None, names), own)


def count_possible_cpus(roots: Roots) -> int:
    """CPUs this kernel could ever bring up: what its per-CPU data is sized by. Raises MalformedError."""
    try:
        return len(read_possible(roots))
    except MalformedError:
        raise
    except UnreadableError:  # sysfs is not mounted
        return os.cpu_count() or 1


def read_lockdown(roots: Roots) -> str | None:
    """The lockdown mode, None where securityfs is not mounted or the kernel has none. Raises MalformedError."""
    path = roots.sys / "kernel/security/lockdown"
    try:
        return parse_lockdown(read_bytes(path), str(path))
    except MalformedError:
        raise
    except UnreadableError:
        return None


def read_virtual_machine(roots: Roots) -> bool | None:
    """Whether this is a virtual machine, None if unknown."""
    try:
        return parse_virtual_machine(read_head(roots.proc / "cpuinfo", _CPUINFO_BYTES))
    except UnreadableError:
        return None


def read_cgroup_layout(roots: Roots) -> CgroupLayout | None:
    """Which cgroup hierarchies are mounted (cgroups(7)), None if none is."""
    if (roots.cgroup / "cgroup.controllers").exists():
        return "v2"
    if (roots.cgroup / "unified/cgroup.controllers").exists():
        return "hybrid"
    return "v1" if any((roots.cgroup / name / "tasks").exists() for name in ("memory", "pids", "cpu")) else None


def _word(roots: Roots, name: str) -> str:
    return read_bytes(roots.proc / "sys/kernel" / name).decode(errors="replace").strip()


def _capabilities(mask: int) -> frozenset[str]:
    """Names of the bits; one beyond the table has no name here and no meaning for us."""
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)
