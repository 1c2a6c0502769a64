"""The stall recorder where a CPU goes and comes back, and threads take up what it is given. In a virtual machine.

`python -m inside.coming`: one JSON document (Answer). Packets are sent by CPU 0 and received by CPU 1 (RPS).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from os import sched_setaffinity
from pathlib import Path

import msgspec

from whodunnet.kernel.bpf.stall_records import summed
from whodunnet.kernel.bpf.stalls import Settings, StallRecorder
from whodunnet.kernel.cpus import read_online
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.stalls import CpuDelays, Stall

SENDER, RECEIVER = 0, 1
SWITCH = Path(f"/sys/devices/system/cpu/cpu{RECEIVER}/online")
PACKETS, APART_SECONDS = 400, 0.001
HOG_SECONDS = 0.3
HOG = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


class Answer(msgspec.Struct):
    """What the recorder says before CPU 1 goes, while it is gone, and after it came back, each after packets.

    ends_by_samples: no program runs at the end of softirqs. stalls: while a real-time task kept CPU 1 for long.
    """

    ends_by_samples: bool
    threads: int
    online: list[int]
    before: list[CpuDelays]
    gone: list[CpuDelays]
    after: list[CpuDelays]
    stalls: list[Stall]
    hog: int


def receive() -> None:
    """On the other CPU, where it is online."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        here.connect(here.getsockname())
        here.setblocking(False)
        for _ in range(PACKETS):
            here.send(b"x")
            time.sleep(APART_SECONDS)


def receive_beside(priority: int) -> int:
    """While a task in real time keeps that CPU; its number."""
    command = ["chrt", "--fifo", str(priority), sys.executable, "-c", HOG.format(HOG_SECONDS)]
    with subprocess.Popen(["taskset", "--cpu-list", str(RECEIVER), *command]) as hog:
        while hog.poll() is None:
            receive()
    return hog.pid


def main() -> None:
    sched_setaffinity(0, {SENDER})
    Path("/sys/class/net/lo/queues/rx-0/rps_cpus").write_text(f"{1 << RECEIVER:x}")
    with closing(StallRecorder(read_support(Roots()), Roots(), Settings())) as recorder:
        receive()
        before = recorder.read_delays()
        SWITCH.write_text("0")
        recorder.refresh()
        receive()
        recorder.refresh()
        online, gone = read_online(Roots()), recorder.read_delays()
        SWITCH.write_text("1")
        recorder.refresh()
        receive()
        recorder.read()
        hog = receive_beside(50)
        stalls = [summed(one, lambda _: None, recorder.hertz, 0.0) for one in recorder.read()]
        answer = Answer(
            ends_by_samples=not recorder.watches_ends,
            threads=recorder.threads_watched,
            online=list(online),
            before=list(before),
            gone=list(gone),
            after=list(recorder.read_delays()),
            stalls=stalls,
            hog=hog,
        )
    sys.stdout.write(msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    main()
