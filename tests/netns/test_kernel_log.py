"""The kernel_log collector and its sources on a real kernel and a real journald."""

import os
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from whodunnet.collectors.kernel_log import KernelLogCollector
from whodunnet.kernel.journal import Journal
from whodunnet.kernel.kmsg import Kmsg, Line, suspended_seconds
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
FORGED = b"<4>TCP: out of memory -- consider tuning tcp_mem\n"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to read and write /dev/kmsg"),
]


@pytest.fixture
def forged() -> str:
    """A word that no kernel says, in a line that user space wrote to /dev/kmsg."""
    word = uuid.uuid4().hex
    Path("/dev/kmsg").write_bytes(f"<4>x: TCP: out of memory {word}\n".encode())
    return word


@pytest.fixture
def journal() -> Iterator[Path]:
    """The directory of a journal that has all of this boot: a journald with /run and /var/log of its own."""
    if not JOURNALD.exists():
        pytest.skip(f"{JOURNALD} is not installed")
    name = f"whodunnet-{uuid.uuid4().hex}"
    # Audit=no: journald would switch on the kernel's auditing for the whole machine.
    script = (
        "mount -t tmpfs none /run && mount -t tmpfs none /var/log && mkdir -p /run/log/journal"
        " && mkdir -p /run/systemd/journald.conf.d"
        " && printf '[Journal]\\nAudit=no\\nReadKMsg=yes\\n' >/run/systemd/journald.conf.d/test.conf"
        f" && exec {JOURNALD}"
    )
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(f"\0{name}")
        ready.settimeout(20)
        with subprocess.Popen(words, env={**os.environ, "NOTIFY_SOCKET": f"@{name}"}) as daemon:
            while b"READY=1" not in ready.recv(4096):
                pass
            enter = ["nsenter", f"--target={daemon.pid}", "--mount"]
            subprocess.run([*enter, "journalctl", "--sync"], check=True)  # returns when all of /dev/kmsg is written
            yield Path(f"/proc/{daemon.pid}/root/run/log/journal")
            daemon.terminate()


def kmsg() -> list[Line]:
    """The kernel's own lines in its buffer now."""
    device = Kmsg.open(Roots())
    try:
        return device.read()
    finally:
        device.close()


def test_kmsg_gives_the_lines_and_stamps_of_dmesg() -> None:
    mine = [(f"{line.boot_seconds - suspended_seconds():.6f}", line.text) for line in kmsg()[-50:] if line.boot_seconds]
    told = subprocess.run(["dmesg", "--kernel"], check=True, capture_output=True, text=True).stdout
    theirs = re.findall(r"^\[ *([0-9.]+)\] (.*)$", told, re.MULTILINE)
    assert [pair for pair in mine if pair not in theirs] == []


def test_a_line_that_user_space_wrote_is_not_believed() -> None:
    collector = KernelLogCollector(Roots(), read_support(Roots()))
    try:
        before = collector.collect()
        Path("/dev/kmsg").write_bytes(FORGED)
        after = collector.collect()
    finally:
        collector.close()
    assert (before.source, before.lost) == ("/dev/kmsg", 0)
    assert (after.counts, after.lines) == (before.counts, before.lines)


def test_the_journal_has_the_lines_and_stamps_of_kmsg(journal: Path) -> None:
    mine = Journal(journal, read_support(Roots()).boot_id).read()
    theirs = kmsg()
    # The buffer may have wrapped since, and the journal is read so far back only: compare from where both have begun.
    begin = mine[0] if mine[0] in theirs else theirs[0]
    mine, theirs = mine[mine.index(begin) :], theirs[theirs.index(begin) :]
    assert len(mine) > 20
    assert mine == theirs[: len(mine)]


def test_the_journal_does_not_believe_what_user_space_wrote(forged: str, journal: Path) -> None:
    kept = subprocess.run(["journalctl", "-D", str(journal), "-o", "cat"], check=True, capture_output=True, text=True)
    assert forged in kept.stdout
    lines = Journal(journal, read_support(Roots()).boot_id).read()
    assert [line.text for line in lines if forged in line.text] == []


def test_a_journal_of_another_boot_has_no_line_of_ours(journal: Path) -> None:
    assert Journal(journal, "0" * 32).read() == []
