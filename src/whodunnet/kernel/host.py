"""Where we run: on the machine itself or in a container, and where in a container the machine's own files are.

Facts first: namespaces, mounts and root directories, as the kernel tells them. What the environment says, and files
that an image could bring along (a directory /host, /.dockerenv), prove nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import msgspec

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.scope import MOUNTINFO_LIMIT_BYTES, Scope, is_procfs, read_scope
from whodunnet.kernel.roots import Roots

HOST = Path("/host")
"""Where `kubectl debug node` mounts the node's root directory."""

Container = Literal["pod", "docker", "podman", "other"]

_INITIAL = {"pid": "pid:[4026531836]", "user": "user:[4026531837]", "cgroup": "cgroup:[4026531835]"}  # linux/proc_ns.h
_GUARDED = ("1", "2")  # kthreadd lives where the first process does, which a security module may guard
_OWN_FILES = {b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf", b"/dev/termination-log"}
_SOURCES: tuple[tuple[Container, re.Pattern[bytes]], ...] = (  # what a runtime mounts over a container's own files
    ("pod", re.compile(rb"/pods/[0-9a-f-]{32,36}/(?:etc-hosts|containers/)|/io\.containerd\.grpc\.v1\.cri/sandboxes/")),
    ("podman", re.compile(rb"/overlay-containers/[0-9a-f]{64}/userdata/")),
    ("docker", re.compile(rb"(?:^|/)containers/[0-9a-f]{64}/(?:hosts|hostname|resolv\.conf)$")),
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. None: the kernel does not tell us.

    own, mounted: what our /proc and that of the mounted host show. shares_root: whether our root directory is that of
    the first process in our /proc. mounted_is_root: the same of the mounted host and its own procfs. process_root: the
    root directory of the first process. initial: kinds of namespaces ("pid", "user", "cgroup") that are the machine's.
    manager: who made the container, by what it mounted. host_network: whether we are in the initial network namespace.
    filtered: whether a seccomp filter is set.
    """

    own: Scope | None
    mounted: Scope | None = None
    shares_root: bool | None = None
    mounted_is_root: bool | None = None
    process_root: Path | None = None
    initial: frozenset[str] = frozenset()
    manager: Container | None = None
    host_network: bool = False
    filtered: bool = False

    @property
    def in_container(self) -> bool:
        """Whether something of the machine is kept from us: its processes, its root directory, its cgroups."""
        if self.shares_root and (self.own is None or self.own.whole_machine):
            return False
        return self.manager is not None or self.shares_root is False or not {"pid", "cgroup"} <= self.initial


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where we run and where we look.

    container: what we are in, None for the machine itself. host: the machine's root directory, None if out of sight.
    whole_machine: whether every process is in sight. host_pids: whether we are in the machine's pid namespace.
    host_user: whether our rights are the machine's, and not those of a user namespace. filtered: by seccomp.
    """

    roots: Roots
    container: Container | None = None
    host: Path | None = Path("/")
    whole_machine: bool = True
    host_pids: bool = True
    host_user: bool = True
    host_network: bool = True
    filtered: bool = False


def find_place(own: Roots | None = None, host: Path = HOST) -> Place:
    """Look around, and decide which roots to read. Raises UnreadableError where our /proc is not to be read."""
    own = own or Roots()
    return decide(read_facts(own, host), own, host)


def find_roots() -> Roots:
    """The roots of the machine, from a container as from the machine itself. Raises UnreadableError."""
    return find_place().roots


def decide(facts: Facts, own: Roots, host: Path) -> Place:
    """Which roots are the machine's."""
    roots, root = _machine(facts, own, host)
    scope = facts.mounted if roots.proc != own.proc else facts.own
    return Place(
        roots=roots,
        container=(facts.manager or "other") if facts.in_container else None,
        host=root,
        whole_machine=scope is not None and scope.whole_machine,
        host_pids="pid" in facts.initial,
        host_user="user" in facts.initial,
        host_network=facts.host_network,
        filtered=facts.filtered,
    )


def _machine(facts: Facts, own: Roots, host: Path) -> tuple[Roots, Path | None]:
    """The roots to use, and the machine's root directory as far as it is in sight."""
    if not facts.in_container:
        return own, own.top
    if _is_host(facts):
        return _resolved(Roots.below(host)), host
    if facts.own is not None and facts.own.whole_machine and facts.process_root is not None:
        below = _resolved(Roots.below(facts.process_root))
        return msgspec.structs.replace(below, proc=own.proc, mounts=facts.process_root.parent.name), facts.process_root
    return own, None


def _is_host(facts: Facts) -> bool:
    """Whether the mounted directory is the machine: its procfs shows more than ours, or all there is."""
    mounted = facts.mounted
    if mounted is None or facts.mounted_is_root is False:
        return False
    return mounted.above > 0 or mounted.whole_machine


def _resolved(roots: Roots) -> Roots:
    """With symbolic links in the way to run-time state followed as the machine would."""
    found = {name: roots.resolve(getattr(roots, name)) for name in ("run", "var", "etc")}
    return msgspec.structs.replace(roots, **found)


def read_facts(own: Roots, host: Path) -> Facts:
    """Everything that `decide` asks for. Raises UnreadableError where our own mounts cannot be read."""
    path = own.proc / "self/mountinfo"
    mountinfo = read_bytes(path, MOUNTINFO_LIMIT_BYTES)
    pid, process_root = _process_root(own.proc)
    return Facts(
        own=read_scope(own.proc, mountinfo),
        mounted=read_scope(host / "proc", mountinfo),
        shares_root=_same(process_root, own.top) if pid else None,
        mounted_is_root=_mounted_is_root(host),
        process_root=process_root if process_root is not None and _has_procfs(process_root) else None,
        initial=frozenset(n for n, link in _INITIAL.items() if _link(own.proc / "self/ns" / n) in (link, None)),
        manager=parse_manager(mountinfo),
        host_network=_identity(own.proc / "sys/net/ipv4/tcp_mem") is not None,  # net/ipv4/sysctl_net_ipv4.c: only there
        filtered=parse_filtered(read_bytes(own.proc / "self/status")),
    )


def parse_manager(mountinfo: bytes) -> Container | None:
    """Who made the container, by where the files come from that each of them mounts (proc_pid_mountinfo(5))."""
    for line in mountinfo.split(b"\n"):
        fields = line.split(b" ")
        if len(fields) > 5 and fields[4] in _OWN_FILES:
            for manager, source in _SOURCES:
                if source.search(fields[3]):
                    return manager
    return None


def parse_filtered(status: bytes) -> bool:
    """Whether /proc/self/status tells of a seccomp filter (SECCOMP_MODE_FILTER)."""
    return any(line.split() == [b"Seccomp:", b"2"] for line in status.split(b"\n"))


def _process_root(proc: Path) -> tuple[str | None, Path | None]:
    """The pid and the root directory of the first process that lets us look (CAP_SYS_PTRACE)."""
    for pid in _GUARDED:
        root = proc / pid / "root"
        if _identity(root) is not None:
            return pid, root
    return None, None


def _mounted_is_root(host: Path) -> bool | None:
    pid, root = _process_root(host / "proc")
    return _same(root, host) if pid else None


def _has_procfs(root: Path) -> bool:
    """Whether it is a root directory in use: what an initramfs left behind has no procfs."""
    try:
        return is_procfs(root / "proc", read_bytes(root.parent / "mountinfo", MOUNTINFO_LIMIT_BYTES))
    except UnreadableError:
        return False


def _same(one: Path | None, other: Path) -> bool:
    return one is not None and _identity(one) == _identity(other)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - its text, not a path
    except OSError:
        return None
