"""The few things of the whole machine that a case may change, and how they come back whatever happens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.look import wait_until

TCP_MEM = "/proc/sys/net/ipv4/tcp_mem"
RESTORE = 'read _; echo "$1" >/proc/sys/net/ipv4/tcp_mem'


@contextmanager
def tcp_mem(low: int, pressure: int, maximum: int) -> Iterator[None]:
    """Lower (or raise) tcp_mem. A guard in a session of its own writes the old values back when our end of its pipe
    closes: at the end of the block, or when this process dies, by whatever signal."""
    namespace = initial_netns()
    before = read_tcp_mem(namespace)
    guard = subprocess.Popen(
        ["nsenter", f"--net={namespace}", "sh", "-c", RESTORE, "guard", before],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        write_tcp_mem(namespace, f"{low} {pressure} {maximum}")
        yield
    finally:
        assert guard.stdin
        guard.stdin.close()
        guard.wait()
        if read_tcp_mem(namespace).split() != before.split():
            write_tcp_mem(namespace, before)


def initial_netns() -> Path:
    """tcp_mem exists only in the first network namespace: find a process that lives there."""
    tried: set[str] = set()
    for entry in ("self", *sorted((p.name for p in Path("/proc").iterdir() if p.name.isdigit()), key=int)):
        namespace = Path(f"/proc/{entry}/ns/net")
        try:
            name = str(namespace.readlink())
        except OSError:
            continue
        if name not in tried:
            test = ["nsenter", f"--net={namespace}", "test", "-e", TCP_MEM]
            if subprocess.run(test, check=False, capture_output=True).returncode == 0:
                return namespace
            tried.add(name)
    raise LookupError("no process in the machine's own network namespace")


def read_tcp_mem(namespace: Path | None = None) -> str:
    command = ["nsenter", f"--net={namespace or initial_netns()}", "cat", TCP_MEM]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_tcp_mem(namespace: Path, values: str) -> None:
    command = ["nsenter", f"--net={namespace}", "tee", TCP_MEM]
    subprocess.run(command, check=True, capture_output=True, input=values, text=True)


def wait_for_tcp_mem(values: str, seconds: float = 10) -> None:
    """The guard of a run that was killed works on its own time."""
    namespace = initial_netns()
    wait_until(lambda: read_tcp_mem(namespace) == values, seconds, lambda: f"tcp_mem is {read_tcp_mem(namespace)}")


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
