"""`python -m lab.support_inside`: what works on this very machine, under one set of rights after the other.

One JSON document (Machine). Beside it stand a namespace with a server of root's and one tracked connection, so that
there is something to see that is not everybody's. Needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lab.run import default_command
from lab.support_answers import Answer, answers
from lab.support_rights import RIGHTS, under
from whodunnet.diagnosis.engine import diagnose
from whodunnet.kernel.host import find_place
from whodunnet.kernel.support import read_support
from whodunnet.recording.reader import load
from whodunnet.rules.catalogue import catalogue

SERVER = "import signal, socket; s = socket.create_server(('127.0.0.1', 80)); print(flush=True); signal.pause()"
ENTRY = ["-p", "udp", "-s", "192.0.2.1", "-d", "192.0.2.2", "--sport", "1", "--dport", "2"]
ENTRY_SECONDS = 300
LOCKDOWN = "mount -t securityfs none /sys/kernel/security 2>/dev/null; cat /sys/kernel/security/lockdown"


class Under(msgspec.Struct, frozen=True):
    """What worked under one set of rights. not_checked: rule -> reason."""

    collectors: dict[str, Answer]
    programs: dict[str, Answer]
    not_checked: dict[str, str]


class Machine(msgspec.Struct, frozen=True):
    """release: as uname(1) says it. lockdown: the kernel's line with its mode in brackets; "" where it has none."""

    release: str
    lockdown: str
    preempt: str
    rights: dict[str, Under]


def look() -> Machine:
    with server() as pid, tracked():
        rights = {name: look_under(name, pid) for name in RIGHTS}
    support = read_support(find_place().roots)
    return Machine(support.kernel, lockdown(), preempt(), rights)


def look_under(rights: str, server: int) -> Under:
    """Record as a user does, and judge that recording."""
    with tempfile.TemporaryDirectory(prefix="whodunnet-support-") as directory:
        Path(directory).chmod(0o777)  # whoever records may be nobody
        file = Path(directory, "recording")
        tool = default_command()
        call([*under(rights), *tool, "record", str(file), "--every", "1s", "--for", "1s"])
        recording = load(file)
    tried = call([*under(rights), sys.executable, "-m", "lab.support_programs"])
    return Under(
        collectors=answers(recording.snapshots[-1], server),
        programs=msgspec.json.decode(tried, type=dict[str, Answer]),
        not_checked={gap.rule: gap.reason for gap in diagnose(recording, tuple(catalogue())).not_checked},
    )


def call(command: list[str]) -> str:
    """What it printed. Raises CalledProcessError; what it said of that is on our standard error."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def server() -> Iterator[int]:
    """Root's, in a network namespace of its own, which goes with it: its pid, for each word of it runs the next."""
    alone = ["unshare", "--net", "setpriv", "--pdeathsig", "KILL", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    with subprocess.Popen([*alone, sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it listens
            yield process.pid
        finally:
            process.kill()


@contextmanager
def tracked() -> Iterator[None]:
    """One connection in the table of our namespace, from addresses for documentation; without us it ends by itself."""
    subprocess.run(["conntrack", "-I", *ENTRY, "-t", str(ENTRY_SECONDS)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["conntrack", "-D", *ENTRY], check=False, capture_output=True)


def lockdown() -> str:
    """Also where securityfs is not mounted; then it is in a mount namespace of our own."""
    done = subprocess.run(["unshare", "--mount", "sh", "-c", LOCKDOWN], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def preempt() -> str:
    """The kernel's own words for its preemption model, as in `uname -v`."""
    return next((word for word in os.uname().version.split() if word.startswith("PREEMPT")), "")


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(look()).decode())
