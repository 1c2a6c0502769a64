"""How long received packets wait for a CPU that does something else: softirqs from raised to begun, as traced.

A process on another CPU sends small packets to itself, which RPS (Documentation/networking/scaling.rst) has this CPU
receive. Tracing is done in an instance of its own (Documentation/trace/ftrace.rst), on that CPU only.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
NET_RX = 3  # include/linux/interrupt.h
BUFFER_KIB = 8192
PACKETS_APART_SECONDS = 50e-6
EVENTS = ("softirq_raise", "softirq_entry")
LINE = re.compile(rf"-(\d+) +\[\d+\] ..(.)\S* +(\d+)\.(\d{{6}}): (softirq_raise|softirq_entry): vec={NET_RX} ")
IN_SOFTIRQ = frozenset("sHZ")
"""How the trace marks a CPU that is in a softirq: what is raised then may be left to ksoftirqd, and so to the load."""
RECEIVED_HERE = (
    'mount -t sysfs none /sys && ip link set lo up && echo "$1" >/sys/class/net/lo/queues/rx-0/rps_cpus && shift && '
    'exec "$@"'
)
"""Of the shell, in a mount namespace of its own. $1: mask of the CPUs that receive what lo sends."""


class Delays(NamedTuple):
    """raised: softirqs that interrupted the task in question, not another softirq, and were begun.

    longest_seconds: of these, from the first raise to the begin.
    """

    raised: int
    longest_seconds: float


def longest_delays(call: Callable[[], object], times: int, *, everybody: bool = False) -> list[Delays]:
    """Delays of received packets while the calling thread does something on one CPU, for each time it does it.

    everybody: whichever task of that CPU the packets interrupt, as those that `call` starts; else only the calling
    thread. Raises ValueError where there is no second CPU to send from, CalledProcessError and OSError where the kernel
    has no tracefs or no RPS.
    """
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        raise ValueError("no second CPU to send packets from")
    cpu, sender = sorted(allowed)[:2]
    os.sched_setaffinity(0, {cpu})
    try:
        with packets(cpu, sender), tracing(cpu) as instance:
            task = None if everybody else threading.get_native_id()
            return [delays(traced(instance, cpu, call), task) for _ in range(times)]
    finally:
        os.sched_setaffinity(0, allowed)


def traced(instance: Path, cpu: int, call: Callable[[], object]) -> str:
    """The trace of one call. Raises ValueError if it does not hold all of it."""
    (instance / "trace").write_text("")
    (instance / "tracing_on").write_text("1")
    call()
    (instance / "tracing_on").write_text("0")
    counts = (instance / f"per_cpu/cpu{cpu}/stats").read_text()
    if not re.search(r"^overrun: 0$", counts, re.MULTILINE):
        raise ValueError(f"the trace is too long for {BUFFER_KIB} KiB")
    return (instance / "trace").read_text()


def delays(trace: str, task: int | None) -> Delays:
    """What a trace of one CPU says of one task, None of all.

    A softirq that is raised again before it begins has waited since it was first raised, and for whom that interrupted.
    """
    raised: tuple[int, int | None] | None = None
    waits = []
    for pid, context, seconds, microseconds, event in LINE.findall(trace):
        at = int(seconds) * 1_000_000 + int(microseconds)
        if event == "softirq_raise":
            raised = raised or (at, None if context in IN_SOFTIRQ else int(pid))
        elif raised is not None:
            if raised[1] is not None and task in (None, raised[1]):
                waits.append(at - raised[0])
            raised = None
    return Delays(len(waits), max(waits, default=0) / 1e6)


@contextmanager
def tracing(cpu: int) -> Iterator[Path]:
    """A tracing instance for NET_RX softirqs of one CPU, not yet on; gone afterwards."""
    with TemporaryDirectory(prefix="whodunnet-tracefs-") as place:
        subprocess.run(["mount", "-t", "tracefs", "none", place], check=True)
        instance = Path(place, "instances", f"whodunnet-{uuid.uuid4().hex[:8]}")
        try:
            instance.mkdir()
            try:
                furnish(instance, cpu)
                yield instance
            finally:
                instance.rmdir()
        finally:
            subprocess.run(["umount", place], check=True)


def furnish(instance: Path, cpu: int) -> None:
    (instance / "tracing_on").write_text("0")
    (instance / "tracing_cpumask").write_text(f"{1 << cpu:x}")
    (instance / "buffer_size_kb").write_text(str(BUFFER_KIB))
    for event in EVENTS:
        (instance / "events/irq" / event / "filter").write_text(f"vec == {NET_RX}")
        (instance / "events/irq" / event / "enable").write_text("1")


@contextmanager
def packets(cpu: int, sender: int) -> Iterator[None]:
    """A steady stream of small packets over a loopback of its own, sent by one CPU and received by the other."""
    own = ("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", RECEIVED_HERE, "sh", f"{1 << cpu:x}")
    command = [*own, sys.executable, "-m", "bench.softirqs", str(sender)]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    try:
        if not child.stdout.read(1):
            raise ChildProcessError("no packets could be sent that another CPU receives (RPS)")
        yield
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()


def send(cpu: int) -> None:
    """Send packets to ourselves from this CPU until standard input ends."""
    os.sched_setaffinity(0, {cpu})
    os.set_blocking(0, False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.connect(there.getsockname())
        there.setblocking(False)
        os.write(1, b"r")
        while not ended():
            there.send(b"x")
            time.sleep(PACKETS_APART_SECONDS)  # one packet at a time is what is measured
            try:
                there.recv(1)
            except BlockingIOError:
                continue  # the other CPU has not taken it yet


def ended() -> bool:
    try:
        return os.read(0, 1) == b""
    except BlockingIOError:
        return False


if __name__ == "__main__":
    send(int(sys.argv[1]))
