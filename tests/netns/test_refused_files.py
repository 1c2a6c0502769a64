"""Who is refused a TCP socket as the machine has no file left, counted on a real kernel: these, and nothing else.

For a moment fs.file-max is made smaller than what is open, for the whole machine; it comes back whatever happens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import host
from whodunnet.kernel.bpf.refusals import RefusalWatch
from whodunnet.kernel.support import Support
from whodunnet.model.descriptors import RefusedFiles

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to load BPF programs")]
REFUSED = Path(__file__).with_name("refused.py")
UNPRIVILEGED = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
FILE_NR = Path("/proc/sys/fs/file-nr")
TIMES = 200


class Asker:
    """The program, as nobody."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self.pid = int(self._output.readline())

    def ask(self, times: int = TIMES) -> dict[str, int]:
        """How many TCP sockets it did not get, by error."""
        found: dict[str, int] = json.loads(self._say(str(times)))
        return found

    def fill(self) -> None:
        """It has no descriptor left from now on."""
        self._say("fill")

    def _say(self, line: str) -> str:
        print(line, file=self._input, flush=True)
        return self._output.readline()


@contextmanager
def asker(threads: int = 1) -> Iterator[Asker]:
    command = [*UNPRIVILEGED, sys.executable, "-c", REFUSED.read_text(encoding="utf-8"), str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Asker(process)
        finally:
            process.kill()


@pytest.fixture
def watch(support: Support) -> Iterator[RefusalWatch]:
    watch = RefusalWatch(support)
    yield watch
    watch.close()


def counted(watch: RefusalWatch, pid: int) -> RefusedFiles | None:
    return next((one for one in watch.read().processes if one.pid == pid), None)


def spent() -> int:
    return int(FILE_NR.read_text(encoding="utf-8").split()[0]) // 2


def test_each_tcp_socket_that_was_refused_is_counted_once(watch: RefusalWatch) -> None:
    with asker() as program:
        assert program.ask() == {}
        with host.changed(host.FILE_MAX, str(spent())):
            refused = program.ask()
        found = counted(watch, program.pid)
        assert program.ask() == {}
        assert counted(watch, program.pid) == found
    assert found is not None
    assert (refused, found.times, found.comm[:6]) == ({"ENFILE": TIMES}, TIMES, "python")


def test_who_has_no_descriptor_left_is_not_refused_by_the_machine(watch: RefusalWatch) -> None:
    with asker() as program:
        program.fill()
        assert program.ask() == {"EMFILE": TIMES}
        assert counted(watch, program.pid) is None


def test_of_several_threads_no_more_are_counted_than_were_refused(watch: RefusalWatch) -> None:
    with asker(threads=4) as program:
        with host.changed(host.FILE_MAX, str(spent())):
            refused = program.ask()
        found = counted(watch, program.pid)
    assert found is not None
    print(f"{found.times} of {refused['ENFILE']}")
    assert TIMES < found.times <= refused["ENFILE"] == 4 * TIMES
