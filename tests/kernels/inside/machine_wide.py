"""What a machine has one of, set wrong on purpose: its clock, the table of open files, the memory of all TCP sockets.

`python -m inside.machine_wide COMMAND...`: prints our pid and what the command answered in each scene, as JSON. It is
called with the rules of the scene.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .leak import answer

ADJ_MAXERROR, ADJ_STATUS = 0x0004, 0x0010  # include/uapi/linux/timex.h
STEP_SECONDS, STEPS_APART_SECONDS = 40.0, 1.0
WRONG_SECONDS = 400.0
HELD = 4_000
ASKED_SECONDS = 0.02
MAY_HOLD = 100_000
ROOM_SHARE = 1.05
TOO_LOW_DIVISOR = 8
NOBODY = 65534
SYSCTL = Path("/proc/sys")


def keep_clock() -> None:
    """Say what a time service says: the clock is right."""
    timex = struct.pack("@I4li", ADJ_MAXERROR | ADJ_STATUS, 0, 0, 0, 0, 0)
    assert ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(timex, 512)) >= 0


def set_clock(seconds: float) -> None:
    subprocess.run(["date", "-s", f"@{seconds}"], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def clock_that_is_stepped() -> Iterator[None]:
    """Forward, again and again: when the readings are taken nobody out here knows."""
    ended = threading.Event()

    def step() -> None:
        while not ended.wait(STEPS_APART_SECONDS):
            set_clock(time.time() + STEP_SECONDS)

    thread = threading.Thread(target=step)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def allocated() -> int:
    return int((SYSCTL / "fs/file-nr").read_text().split()[0])


@contextmanager
def set_to(name: str, change: Callable[[str], str]) -> Iterator[None]:
    before = (SYSCTL / name).read_text()
    (SYSCTL / name).write_text(change(before))
    try:
        yield
    finally:
        (SYSCTL / name).write_text(before)


def is_refused() -> bool:
    """Whether somebody without rights can open nothing more."""
    pid = os.fork()
    if pid == 0:
        os.setuid(NOBODY)
        try:
            os.open("/dev/null", os.O_RDONLY)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.ENFILE


@contextmanager
def one_that_asks() -> Iterator[int]:
    """Somebody without rights who asks for a TCP socket again and again. Its pid."""
    pid = os.fork()
    if pid == 0:
        os.setuid(NOBODY)
        while True:
            with suppress(OSError):
                socket.socket().close()
            time.sleep(ASKED_SECONDS)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def main(command: list[str]) -> None:
    clock = [*command, "--only", "clock"]
    limits = [*command, "--only", "descriptor-limit", "--only", "settings"]
    answers = {"as it is": answer(clock)}
    keep_clock()
    answers["kept"] = answer(clock)
    with clock_that_is_stepped():
        answers["stepped"] = answer(clock)
    hardware = int(Path("/sys/class/rtc/rtc0/since_epoch").read_text())
    set_clock(hardware + WRONG_SECONDS)
    answers["left wrong"] = answer(clock)
    with set_to("net/ipv4/tcp_mem", lambda text: " ".join(str(int(n) // TOO_LOW_DIVISOR) for n in text.split())):
        answers["little memory"] = answer(limits)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAY_HOLD, MAY_HOLD))
    answers["usual limits"] = answer(limits)
    kept = [socket.socket() for _ in range(HELD)]
    with set_to("fs/file-max", lambda _: str(int(allocated() * ROOM_SHARE))):
        assert not is_refused()
        answers["hardly a file left"] = answer(limits)
    with one_that_asks() as refused, set_to("fs/file-max", lambda _: str(len(kept) // 2)):
        assert is_refused()
        answers["no file left"] = answer(limits)
    print(json.dumps({"pid": os.getpid(), "refused": refused, "answers": answers}))


if __name__ == "__main__":
    main(sys.argv[1:])
