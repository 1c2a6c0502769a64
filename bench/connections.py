"""New connections with the connections collector on and off in turn.

`python -m bench.connections`, as root, prints JSON. One process on one CPU is client and server over a loopback of its
own: both ends of each connection are seen, and what we cost cannot hide on another CPU. We collect once a second, on
another.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.passes import enable_statistics, own_programs
from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support

ROOT = Path(__file__).parent.parent
OWN_LOOPBACK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
PAIRS = 120
CONNECTIONS = 1000
"""In each half of a pair: short, because other work on the machine changes the rate from second to second."""
WARMING = 200
"""Before each half, not measured: loading programs empties the caches."""
ACCOUNTED = 20_000
COLLECTED_SECONDS = 6


class Numbers(NamedTuple):
    """rate: connections per second of CPU time with nothing attached, median. lost_share: of it while attached, median.

    bpf_seconds: in our programs for each connection, with what the account itself costs; runs: of programs.
    user_share: of one CPU, collecting once a second. load_seconds: to load and attach, median.
    """

    rate: float
    lost_share: float
    bpf_seconds: float
    runs: float
    user_share: float
    load_seconds: float


class Load:
    """A process that makes connections when told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def make(self, connections: int) -> float:
        """CPU seconds that they took, after some more that are not measured."""
        self.begin(WARMING)
        self.end()
        self.begin(connections)
        return self.end()

    def begin(self, connections: int) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{connections}\n")
        self._process.stdin.flush()

    def end(self) -> float:
        assert self._process.stdout
        return float(self._process.stdout.readline())


@contextmanager
def load(cpu: int) -> Iterator[Load]:
    """Ends with the block."""
    command = [*OWN_LOOPBACK, sys.executable, "-m", "bench.connections", str(cpu)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Load(process)


def measure() -> Numbers:
    """Everything. Raises ValueError where there is no second CPU, UnreadableError where BPF is refused."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        raise ValueError("no second CPU to collect on")
    ours, theirs = sorted(allowed)[:2]
    support = read_support(Roots())
    os.sched_setaffinity(0, {ours})
    try:
        with load(theirs) as made:
            made.make(CONNECTIONS)
            pairs = [pair(made, support, first_on=n % 2 == 0) for n in range(PAIRS)]
            bpf_seconds, runs = account(made, support)
            rate = CONNECTIONS / statistics.median(p.off for p in pairs)
            return Numbers(
                rate=rate,
                lost_share=statistics.median(1 - p.off / p.on for p in pairs),
                bpf_seconds=bpf_seconds,
                runs=runs,
                user_share=collecting(made, support, rate),
                load_seconds=statistics.median(p.load for p in pairs),
            )
    finally:
        os.sched_setaffinity(0, allowed)


class Pair(NamedTuple):
    """CPU seconds for CONNECTIONS with our programs and without; seconds to load these."""

    on: float
    off: float
    load: float


def pair(made: Load, support: Support, *, first_on: bool) -> Pair:
    """One after the other, in an order that alternates."""
    off = None if first_on else made.make(CONNECTIONS)
    with closing(ConnectionsCollector(Roots(), support)) as collector:
        begin = time.perf_counter()
        collector.start()
        loaded = time.perf_counter() - begin
        on = made.make(CONNECTIONS)
    return Pair(on, made.make(CONNECTIONS) if off is None else off, loaded)


def account(made: Load, support: Support) -> tuple[float, float]:
    """Seconds in our programs and their runs, for each connection, as the kernel counted."""
    with closing(ConnectionsCollector(Roots(), support)) as collector:
        collector.start()
        statistics_on = enable_statistics()
        try:
            made.make(ACCOUNTED)
            programs = [(nanoseconds, runs) for _, nanoseconds, runs in own_programs()]
        finally:
            os.close(statistics_on)
    made_there = WARMING + ACCOUNTED
    return sum(n for n, _ in programs) / 1e9 / made_there, sum(runs for _, runs in programs) / made_there


def collecting(made: Load, support: Support, rate: float) -> float:
    """Our own share of a CPU while connections are made and a sample is taken each second."""
    with closing(ConnectionsCollector(Roots(), support)) as collector:
        collector.start()
        made.begin(round(rate * COLLECTED_SECONDS))
        cpu, begin = time.process_time(), time.perf_counter()
        for _ in range(COLLECTED_SECONDS - 1):
            time.sleep(1)  # as far apart as the snapshots of a window
            collector.collect()
        share = (time.process_time() - cpu) / (time.perf_counter() - begin)
        made.end()
    return share


def make_connections(cpu: int) -> None:
    """As many as each line of standard input says: a request, a response, and the client closes.

    In CPU time, which is all they take: both ends are here, so nobody waits but for other work on the machine.
    """
    os.sched_setaffinity(0, {cpu})
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        for line in sys.stdin:
            begin = time.process_time()
            for _ in range(int(line)):
                connect_once(listener)
            print(time.process_time() - begin, flush=True)


def connect_once(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        server = listener.accept()[0]
        client.sendall(b"request")
        server.recv(16)
        server.sendall(b"response")
        client.recv(16)
    with server:
        server.recv(16)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make_connections(int(sys.argv[1]))
    else:
        print(json.dumps(measure()._asdict()))
