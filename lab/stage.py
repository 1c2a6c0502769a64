"""What a case stands on: pods (network namespaces), processes, cgroups, files. Taken down in reverse order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import host
from lab.interpreter import inherited, with_python
from lab.look import NotThereError, wait_until
from lab.who import Who

ROOT = Path(__file__).parent.parent
NAMESPACES = Path("/run/netns")
NAMED_SECONDS = 3


@dataclass(frozen=True)
class Pod:
    """A network namespace with an interface eth0, like a pod's."""

    namespace: str
    address: str
    address6: str

    @property
    def netns(self) -> Path:
        return NAMESPACES / self.namespace

    def who(self, device: str | None = None) -> Who:
        """The namespace itself, or a device of it."""
        return Who(self.namespace, netns=self.netns.stat().st_ino, device=device)


@dataclass(frozen=True)
class Player:
    """A program on the stage; it leads a session, so its children are known."""

    comm: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def check_name(self) -> None:
        def name() -> str:
            return Path(f"/proc/{self.pid}/comm").read_text().strip()

        wait_until(lambda: name() == self.comm, NAMED_SECONDS, lambda: f"{self.comm} goes by {name()}")

    def who(self, state: str | None = None) -> Who:
        return Who(self.comm, frozenset(session(self.pid)), state)


class Stage:
    def __init__(self) -> None:
        self.label = f"lab{os.getpid()}"
        self.undo = ExitStack()
        self.players: list[Player] = []
        self.conntrack_entries: int | None = None
        self._directory: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Where files of the case belong."""
        if self._directory is None:
            temporary = self.undo.enter_context(tempfile.TemporaryDirectory(prefix=f"{self.label}-"))
            self.tell_guard(f"directory {temporary}")
            self._directory = Path(temporary)
            self._directory.chmod(0o755)
        return self._directory

    def pods(self, *names: str) -> tuple[Pod, ...]:
        """Pods on one bridge, as a CNI plugin would make them."""
        wire = f"{self.label}-wire"
        pods = tuple(Pod(f"{self.label}-{name}", f"10.77.0.{n}", f"fd77::{n}") for n, name in enumerate(names, 1))
        for namespace in (wire, *(pod.namespace for pod in pods)):
            self.namespace(namespace)
        ip("-n", wire, "link", "add", "br0", "type", "bridge")
        ip("-n", wire, "link", "set", "br0", "up")
        for number, pod in enumerate(pods, 1):
            end = f"veth{number}"
            ip("link", "add", "eth0", "netns", pod.namespace, "type", "veth", "peer", "name", end, "netns", wire)
            ip("-n", wire, "link", "set", end, "master", "br0", "up")
            ip("-n", pod.namespace, "addr", "add", f"{pod.address}/24", "dev", "eth0")
            ip("-n", pod.namespace, "addr", "add", f"{pod.address6}/64", "dev", "eth0", "nodad")
            ip("-n", pod.namespace, "link", "set", "eth0", "up")
        return pods

    def namespace(self, name: str) -> None:
        self.tell_guard(f"namespace {name}")
        with undisturbed():  # a program may have been started although the call for it was broken off
            ip("netns", "add", name)
            self.undo.callback(drop_namespace, name)
        ip("-n", name, "link", "set", "lo", "up")

    def slow(self, pod: Pod, rate: str) -> None:
        """What the pod sends leaves at this rate, with up to 400 ms of queue."""
        shape = ("tbf", "rate", rate, "burst", "32kb", "latency", "400ms")
        inside(pod, "tc", "qdisc", "add", "dev", "eth0", "root", *shape)

    def run(self, pod: Pod, comm: str, *command: str) -> Player:
        """A program in a pod. It is gone when we are, whatever becomes of us."""
        log = self.directory / f"{comm}-{len(self.players)}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["nsenter", f"--net={pod.netns}", "setpriv", "--pdeathsig", "KILL", *with_python(command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.directory,
                start_new_session=True,
                pass_fds=inherited(),
            )
        player = Player(comm, process, log)
        self.tell_guard(f"session {player.pid}")
        self.players.append(player)
        self.undo.callback(end, player)
        return player

    def play(
        self, pod: Pod, comm: str, function: Callable[..., None], *arguments: Any, under: tuple[str, ...] = ()
    ) -> Player:
        """A function of a case, in a process of its own which goes by this name. under: a command that ends by
        running another, such as nice."""
        actor = (comm, function.__module__, function.__name__, json.dumps(arguments))
        return self.run(pod, comm, *under, sys.executable, "-m", "lab.actor", *actor)

    def freezer(self) -> host.Freezer:
        self.tell_guard(f"freezer {self.label}")
        freezer = host.Freezer(self.label)
        self.undo.callback(freezer.remove)
        return freezer

    def tcp_mem(self, low: int, pressure: int, maximum: int) -> None:
        """Change the machine's TCP memory limits until the stage closes or we die."""
        self.undo.enter_context(host.changed(host.TCP_MEM, f"{low} {pressure} {maximum}"))

    def conntrack_max(self, entries: int) -> None:
        """The same for the size of the connection table: one number, with which every namespace is compared."""
        self.undo.enter_context(host.changed(host.CONNTRACK_MAX, str(entries)))
        self.conntrack_entries = entries

    def neighbours_max(self, entries: int) -> None:
        """The same for the table of IPv4 neighbours, which all namespaces share."""
        self.undo.enter_context(host.changed(host.NEIGHBOURS_MAX, str(entries)))

    def keep_conntrack_max(self) -> None:
        """It stays as it is: whoever would change it waits until the stage closes. Raises NotThereError."""
        self.undo.enter_context(host.alone(host.CONNTRACK_MAX))

    def check_undisturbed(self) -> None:
        """Whoever else changes the machine's limits meanwhile makes another case of this one."""
        self.check_alive()
        if self.conntrack_entries is not None and int(host.read(host.CONNTRACK_MAX)) != self.conntrack_entries:
            raise NotThereError(f"somebody else set nf_conntrack_max to {host.read(host.CONNTRACK_MAX)}")

    def check_alive(self) -> None:
        for player in self.players:
            if player.process.poll() is not None:
                raise NotThereError(f"{player.comm} ended with {player.process.returncode}\n{self.logs()}")

    def check_names(self) -> None:
        """What a diagnosis is asked for has to be what the kernel calls them, also where one has just been started."""
        for player in self.players:
            player.check_name()

    def logs(self) -> str:
        """The last lines each program printed."""
        tails = (f"{p.log.name}: {p.log.read_text(errors='replace')[-600:]}" for p in self.players if p.log.exists())
        return "\n".join(tails)

    def close(self) -> None:
        """Everything goes, in reverse order; what fails does not keep the rest."""
        try:
            self.undo.close()
            self.tell_guard("done")
        finally:
            self.players.clear()
            self._directory = None
            if guard := self._guard:
                self._guard = None
                guard.communicate()

    def tell_guard(self, thing: str) -> None:
        """Should we be killed, the guard takes this down; it lives in a session of its own."""
        if self._guard is None:
            self._guard = subprocess.Popen(
                with_python([sys.executable, "-P", "-m", "lab.guard"]),
                stdin=subprocess.PIPE,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
                pass_fds=inherited(),
            )
        assert self._guard.stdin
        self._guard.stdin.write(f"{thing}\n".encode())
        self._guard.stdin.flush()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def inside(pod: Pod, *command: str) -> None:
    subprocess.run(["nsenter", f"--net={pod.netns}", *command], check=True, capture_output=True, text=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A signal that would end us waits until this is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def drop_namespace(namespace: str) -> None:
    """Sockets without a process would keep it in the kernel for minutes: they go first. It need not be there."""
    if not (NAMESPACES / namespace).exists():
        return
    command = ["nsenter", f"--net={NAMESPACES / namespace}", "ss", "-tanK", "state", "all"]
    subprocess.run(command, check=False, capture_output=True)
    ip("netns", "del", namespace)


def session(leader: int) -> list[int]:
    """Every process of a session, also those whose parent has gone."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader and status(int(entry.name)) != "Z":
                    members.append(int(entry.name))
            except (ProcessLookupError, FileNotFoundError):
                continue
    return members


def status(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def end(player: Player) -> None:
    end_session(player.pid, reap=player.process.poll)
    player.process.wait()


def end_session(leader: int, reap: Callable[[], object] = lambda: None) -> None:
    """Kill a program and what it started, each by its id, until none is left."""
    deadline = time.monotonic() + 5
    while members := session(leader):
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap()
        if time.monotonic() > deadline:
            raise NotThereError(f"{members} of session {leader} cannot be ended")
        time.sleep(0.01)
