"""However it ends, nothing of it is left: no directory, no process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from .foreign import NO_MOUNTS, Foreign, place_of

LONG = ("diagnose", "--for", "60s")
RIGHTS = pytest.mark.parametrize("rights", [(), NO_MOUNTS], ids=["memory", "directory"])
MOMENTS_MS = range(0, 400, 20)


@RIGHTS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_nothing(bare: Foreign, rights: Sequence[str], number: signal.Signals) -> None:
    with bare.start(*LONG, rights=rights) as process:
        place_of(process)
        process.send_signal(number)
        process.communicate(timeout=20)
    bare.assert_nothing_left()
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL


@RIGHTS
def test_killed_at_any_moment_it_leaves_nothing(bare: Foreign, rights: Sequence[str]) -> None:
    for moment in MOMENTS_MS:
        with bare.start(*LONG, rights=rights) as process:
            time.sleep(moment / 1000)  # the moment is what is tested: before, while and after unpacking
            process.kill()
        bare.assert_nothing_left()


def test_killed_while_it_makes_its_directory_it_leaves_nothing(bare: Foreign) -> None:
    for moment in range(100):
        with bare.start(*LONG, rights=NO_MOUNTS) as process:
            program = Path(f"/proc/{process.pid}/exe")
            while program.readlink().name != "whodunnet":
                pass
            time.sleep(moment / 20_000)
            process.kill()
    bare.assert_nothing_left()


@RIGHTS
def test_interrupted_at_any_moment_it_ends_without_a_traceback(bare: Foreign, rights: Sequence[str]) -> None:
    for moment in MOMENTS_MS:
        with bare.start(*LONG, rights=rights) as process:
            time.sleep(moment / 1000)  # also while Python starts, which answers an interrupt with a traceback
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        assert "Traceback" not in said
        bare.assert_nothing_left()


def test_the_cleaner_is_there_only_for_a_directory_and_outlives_signals_to_the_group(bare: Foreign) -> None:
    with bare.start(*LONG) as process:
        place_of(process)
        assert bare.processes() == [process.pid]
        process.kill()
    with bare.start(*LONG, rights=NO_MOUNTS) as process:
        place_of(process)
        (cleaner,) = (pid for pid in bare.processes() if pid != process.pid)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            os.kill(cleaner, number)
        assert len(bare.left()) == 1
        process.kill()
    bare.assert_nothing_left()


def test_a_reader_of_its_output_does_not_wait_for_the_cleaner(bare: Foreign) -> None:
    with bare.start("--version", rights=NO_MOUNTS) as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith("whodunnet ")  # until the last writer has closed it
        assert process.wait(timeout=5) == 0


def test_it_starts_with_standard_streams_closed(bare: Foreign) -> None:
    closed = ("/bin/busybox", "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    for rights in ((), NO_MOUNTS):
        with bare.start("--version", words=closed, rights=rights) as process:
            assert process.wait(timeout=20) in (0, 2)
        bare.assert_nothing_left()
