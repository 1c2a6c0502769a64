"""Every network namespace that can be reached from here, and how (network_namespaces(7), setns(2)).

Found are namespaces of processes and of nsfs bind mounts (ip netns, docker, CNI). Not found are those that only a
thread other than the first one, an open descriptor or a socket keeps alive.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes, shown, unreadable
from whodunnet.kernel.procfs.pids import list_pids
from whodunnet.kernel.roots import Roots

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_CLONE_NEWCGROUP = 0x02000000
_MOUNTINFO_LIMIT_BYTES = 32 << 20
_LINK = re.compile(rb"net:\[([0-9]{1,20})\]")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Way(msgspec.Struct, frozen=True):
    """How to reach a namespace: by the lowest pid in it, by an nsfs mount, or both."""

    pid: int | None = None
    mount: Path | None = None


class Namespaces(msgspec.Struct, frozen=True, kw_only=True):
    """ways: by inode number of the namespace, in order of the lowest pid, then of mount.

    vanished, denied: processes that ended meanwhile, and those whose namespace we may not learn (CAP_SYS_PTRACE).
    unidentified: further namespaces that exist for sure among the denied processes, their inode numbers unknown.
    """

    ways: dict[int, Way]
    vanished: int = 0
    denied: int = 0
    unidentified: int = 0


def find(roots: Roots) -> Namespaces:
    """All network namespaces reachable from here, about 2 µs per process. Raises UnreadableError."""
    pids, denied, vanished = _scan(roots.proc)
    ways = {inum: Way(pid=pid) for inum, pid in pids.items()}
    for inum, mount in _mounts(roots.proc).items():
        ways[inum] = Way(pid=pids.get(inum), mount=mount)
    unidentified = _unidentified(roots.proc, denied, pids.values()) if denied else 0
    return Namespaces(ways=ways, vanished=vanished, denied=len(denied), unidentified=unidentified)


def of_process(roots: Roots, pid: int) -> int:
    """Inode number of the network namespace a process is in now. Raises UnreadableError."""
    path = f"{roots.proc}/{pid}/ns/net"
    try:
        return parse_link(os.fsencode(os.readlink(path)), path)  # noqa: PTH115 - as in _scan
    except OSError as error:
        raise unreadable(path, error, "CAP_SYS_PTRACE") from error


def own(roots: Roots) -> int:
    """Inode number of the network namespace the calling thread is in. Raises UnreadableError."""
    path = roots.proc / "thread-self/ns/net"
    try:
        return parse_link(os.fsencode(path.readlink()), str(path))
    except OSError as error:
        raise unreadable(str(path), error) from error


def elsewhere(roots: Roots) -> Path | None:
    """The network namespace of the first process, if we are in a container and in another one; None: ours will do.

    On the machine itself whoever starts us in a namespace means that one. Raises UnreadableError.
    """
    if roots.top == Path("/"):
        return None
    ours = own(roots)
    for pid in (1, 2):  # kthreadd where a security module guards the first process
        try:
            inum = of_process(roots, pid)
        except MalformedError:
            raise
        except UnreadableError:
            continue
        return None if inum == ours else roots.proc / str(pid) / "ns/net"
    return None


class Visitor:
    """A thread of its own that goes from one network namespace to the next; the threads that ask never leave theirs.

    Started when it is first needed, ended by leaving the `with` block. Needs CAP_SYS_ADMIN.
    """

    def __enter__(self) -> Visitor:
        self._thread: ThreadPoolExecutor | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def inside(self, path: Path, inum: int | None, call: Callable[[], T]) -> T:
        """Run `call` in the network namespace of `path` (an nsfs mount or /proc/<pid>/ns/net) and return its answer.

        Within `call`, "thread-self" in procfs is the visiting thread, "self" is not. inum: which namespace `path` has
        to be, None for any. Raises UnreadableError, missing-capability without CAP_SYS_ADMIN, and what `call` raises.
        """

        def visit() -> T:
            _enter(path, inum)
            return call()

        try:
            return self._started().submit(visit).result()
        except RuntimeError as error:
            if "start new thread" not in str(error):  # which says that the pids cgroup or RLIMIT_NPROC is exhausted
                raise
            raise UnreadableError(f"no thread could be started to enter {path}: {error}") from error

    def _started(self) -> ThreadPoolExecutor:
        if self._thread is None:
            # Imported here: 13 ms that only a namespace without process costs.
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(max_workers=1)
        return self._thread


def inside(path: Path, inum: int | None, call: Callable[[], T]) -> T:
    """Run `call` in one network namespace: Visitor.inside for a single visit."""
    with Visitor() as visitor:
        return visitor.inside(path, inum, call)


def join_cgroups(roots: Roots) -> bool:
    """Move this thread, and those it starts, to the cgroup namespace of the first process; False if that is refused.

    Only there the paths in /proc/<pid>/cgroup and in mountinfo begin at the top (cgroup_namespaces(7)). Needs
    CAP_SYS_ADMIN.
    """
    for pid in ("1", "2"):  # kthreadd where a security module guards the first process
        try:
            _set_namespace(roots.proc / pid / "ns/cgroup", None, _CLONE_NEWCGROUP)
        except OSError:
            continue
        return True
    return False


def parse_link(data: bytes, source: str) -> int:
    """The inode number in a link such as "net:[4026531840]". Raises MalformedError naming source."""
    found = _LINK.fullmatch(data)
    if found is None:
        raise MalformedError(f"{source}: should be net:[number] and is {shown(data)}")
    return int(found[1])


def parse_mountinfo(data: bytes, source: str) -> dict[int, Path]:
    """Mount points of network namespaces by inode number (proc_pid_mountinfo(5)). Raises MalformedError."""
    mounts: dict[int, Path] = {}
    for line in data.split(b"\n"):  # not splitlines(): a mount point may hold a carriage return
        if b" - nsfs " not in line:
            continue
        words = line.split(b" ")
        if len(words) < 5:
            raise MalformedError(f"{source}: a line has {len(words)} fields: {shown(line)}")
        if _LINK.fullmatch(words[3]):
            point = _ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), words[4])
            if not point.startswith(b"/") or b"\0" in point:
                raise MalformedError(f"{source}: a mount point should be a path and is {shown(words[4])}")
            mounts.setdefault(parse_link(words[3], source), Path(os.fsdecode(point)))
    return mounts


def _scan(proc: Path) -> tuple[dict[int, int], list[int], int]:
    """Lowest pid by namespace, pids that may not be looked at, number of vanished ones."""
    pids: dict[str, int] = {}
    denied: list[int] = []
    vanished = 0
    root = str(proc)
    for pid in list_pids(proc):
        try:
            # The link's text holds the inode number: three times as fast as stat of what it points to.
            pids.setdefault(os.readlink(f"{root}/{pid}/ns/net"), pid)  # noqa: PTH115 - Path costs 3 µs a process
        except PermissionError:
            denied.append(pid)
        except OSError:
            vanished += 1
    return {parse_link(os.fsencode(link), f"{root}/{pid}/ns/net"): pid for link, pid in pids.items()}, denied, vanished


def _mounts(proc: Path) -> dict[int, Path]:
    """nsfs mounts as we see them, and those only the first process sees: ours may be hidden, or a container's view."""
    path = proc / "self/mountinfo"
    mounts = parse_mountinfo(read_bytes(path, _MOUNTINFO_LIMIT_BYTES), str(path))
    first = proc / "1/mountinfo"
    try:
        if (proc / "1/ns/mnt").readlink() == (proc / "self/ns/mnt").readlink():
            return mounts
        for inum, point in parse_mountinfo(read_bytes(first, _MOUNTINFO_LIMIT_BYTES), str(first)).items():
            if inum not in mounts or not _is_in_sight(mounts[inum], inum):
                mounts[inum] = proc / "1/root" / point.relative_to("/")
    except (OSError, UnreadableError):
        return mounts  # its view is an extra: without CAP_SYS_PTRACE, or without pid 1, there is none
    return mounts


def _is_in_sight(mount: Path, inum: int) -> bool:
    """Whether the path leads to the namespace, not to what was mounted over it later."""
    try:
        return mount.stat().st_ino == inum
    except OSError:
        return False


def _unidentified(proc: Path, denied: list[int], known: Iterable[int]) -> int:
    """Namespaces of `denied` processes that hold no `known` one.

    Each namespace has its own directory behind <pid>/net, whose inodes anybody may look at (fs/proc/proc_net.c).
    """
    seen = {_net_inode(proc, pid) for pid in known}
    return len({_net_inode(proc, pid) for pid in denied} - seen - {None})


def _net_inode(proc: Path, pid: int) -> int | None:
    try:
        return (proc / str(pid) / "net/netstat").stat().st_ino
    except OSError:
        return None


def _enter(path: Path, inum: int | None) -> None:
    """Move the calling thread to a network namespace. Raises UnreadableError."""
    try:
        _set_namespace(path, inum, _CLONE_NEWNET)
    except OSError as error:
        raise unreadable(f"network namespace {path}", error, "CAP_SYS_ADMIN") from error


def _set_namespace(path: Path, inum: int | None, kind: int) -> None:
    """setns(2) for the calling thread. Raises OSError, UnreadableError if the namespace is not number `inum`."""
    import ctypes  # os.setns came with Python 3.12; 5 ms that only a namespace without process costs

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if inum not in (None, os.fstat(descriptor).st_ino):
            raise UnreadableError(f"{path} is no longer network namespace {inum}", code="vanished")
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, kind):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
