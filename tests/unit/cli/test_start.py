"""How whodunnet begins and ends, as a program."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from whodunnet.cli.start import NO_MEMORY

ENDS = """
import os, signal, sys, types
from whodunnet.cli import start
main = types.ModuleType("main")
def run():
    %s
main.run = run
start.import_module = lambda name: (%s, main)[1]
start.run()
"""


def started(run: str, load: str = "None", before: Callable[[], object] | None = None) -> tuple[int, bytes]:
    """Exit status and standard error where our modules are loaded and run so."""
    words = [sys.executable, "-c", ENDS % (run, load)]
    done = subprocess.run(words, capture_output=True, preexec_fn=before, check=False)
    return done.returncode, done.stderr


def test_without_memory_even_for_the_usual_sentence_there_is_another() -> None:
    assert started("raise MemoryError") == (2, NO_MEMORY)


def test_an_interrupt_while_modules_are_loaded_ends_it_without_a_word() -> None:
    assert started("pass", "os.kill(os.getpid(), signal.SIGINT)") == (-signal.SIGINT, b"")


def test_an_interrupt_is_answered_as_soon_as_somebody_can() -> None:
    status, said = started("os.kill(os.getpid(), signal.SIGINT)")
    assert (status, b"KeyboardInterrupt" in said) == (-signal.SIGINT, True)


@pytest.mark.parametrize("when", ["pass", "os.kill(os.getpid(), signal.SIGINT)"])
def test_who_starts_it_deaf_to_interrupts_keeps_it_so(when: str) -> None:
    deaf = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731 - runs in the child
    assert started("os.kill(os.getpid(), signal.SIGINT); sys.exit(7)", when.replace("pass", "None"), deaf) == (7, b"")
