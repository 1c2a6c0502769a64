"""The few things of the whole machine that a case may change, and how they come back whatever happens."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from lab.look import sockstat, wait_until

TCP_MEM = Path("/proc/sys/net/ipv4/tcp_mem")
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
BUCKETS = Path("/proc/sys/net/netfilter/nf_conntrack_buckets")
FILE_MAX = Path("/proc/sys/fs/file-max")
NEIGHBOURS_MAX = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
NEIGHBOURS = Path("/proc/net/stat/arp_cache")
RESTORE = 'read _; echo "$2" >"$1"'
LOCKS = Path("/run/lock")
LOCK_SECONDS = 600
"""Longer than one case of the lab or one size of the bench is meant to take."""


def short_of_tcp_memory() -> bool:
    """By the kernel's own numbers: a leak that a large machine hardly feels may take all of a small one."""
    return sockstat()["mem"] > int(read(TCP_MEM).split()[1])


@contextmanager
def alone(setting: Path, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """No other process of lab or bench changes this setting meanwhile. Gives the descriptor that holds the lock: who
    inherits it holds it too. Raises NotThereError when another has it for so long."""
    path = (LOCKS if LOCKS.is_dir() else Path(gettempdir())) / f"whodunnet-lab-{setting.name}.lock"
    busy = f"the lock of {setting.name}: another run of lab or bench changes it; `lslocks` shows {path}"
    with path.open("a") as file:
        wait_until(lambda: taken(file.fileno()), seconds, lambda: busy)
        yield file.fileno()


def taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def changed(setting: Path, value: str) -> Iterator[None]:
    """Another value of a setting that is the whole machine's. A guard in a session of its own writes the old one back
    when our end of its pipe closes: at the end of the block, or when this process dies, by whatever signal. Until then
    it holds the lock. Raises NotThereError where another run has the setting for too long."""
    with alone(setting) as lock, guarded(setting, value, lock):
        yield


@contextmanager
def guarded(setting: Path, value: str, lock: int) -> Iterator[None]:
    namespace = initial_netns()
    before = read(setting, namespace)
    guard = subprocess.Popen(
        ["nsenter", f"--net={namespace}", "sh", "-c", RESTORE, "guard", str(setting), before],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=(lock,),
    )
    try:
        write(setting, value, namespace)
        yield
    finally:
        assert guard.stdin
        guard.stdin.close()
        guard.wait()
        if read(setting, namespace) != before:
            write(setting, before, namespace)


def initial_netns() -> Path:
    """Such settings can be written only in the first network namespace: find a process that lives there."""
    tried: set[str] = set()
    for entry in ("self", *sorted((p.name for p in Path("/proc").iterdir() if p.name.isdigit()), key=int)):
        namespace = Path(f"/proc/{entry}/ns/net")
        try:
            name = str(namespace.readlink())
        except OSError:
            continue
        if name not in tried:
            if exists(TCP_MEM, namespace):
                return namespace
            tried.add(name)
    raise LookupError("no process in the machine's own network namespace")


def exists(setting: Path, namespace: Path) -> bool:
    command = ["nsenter", f"--net={namespace}", "test", "-e", str(setting)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def read(setting: Path, namespace: Path | None = None) -> str:
    """Its numbers, one space between them."""
    command = ["nsenter", f"--net={namespace or initial_netns()}", "cat", str(setting)]
    return " ".join(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def write(setting: Path, value: str, namespace: Path) -> None:
    command = ["nsenter", f"--net={namespace}", "tee", str(setting)]
    subprocess.run(command, check=True, capture_output=True, input=value, text=True)


def wait_for(setting: Path, value: str, seconds: float = 10) -> None:
    """The guard of a run that was killed works on its own time."""
    namespace = initial_netns()
    wait_until(lambda: read(setting, namespace) == value, seconds, lambda: f"{setting} is {read(setting, namespace)}")


class Freezer:
    """A cgroup whose processes can be frozen: the v1 freezer where there is one, else cgroup v2."""

    def __init__(self, name: str) -> None:
        old = Path("/sys/fs/cgroup/freezer")
        self.old = old.is_dir()
        self.directory = (old if self.old else Path("/sys/fs/cgroup")) / name
        self.directory.mkdir(exist_ok=True)

    def freeze(self, pid: int) -> None:
        (self.directory / "cgroup.procs").write_text(str(pid))
        self.write(frozen=True)
        wait_until(self.frozen, 10, lambda: f"{self.directory} does not freeze")

    def write(self, *, frozen: bool) -> None:
        if self.old:
            (self.directory / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        else:
            (self.directory / "cgroup.freeze").write_text("1" if frozen else "0")

    def frozen(self) -> bool:
        if self.old:
            return (self.directory / "freezer.state").read_text().strip() == "FROZEN"
        return "frozen 1" in (self.directory / "cgroup.events").read_text()

    def remove(self) -> None:
        """Its processes go back to the parent, awake."""
        self.write(frozen=False)
        for pid in (self.directory / "cgroup.procs").read_text().split():
            (self.directory.parent / "cgroup.procs").write_text(pid)
        self.directory.rmdir()
