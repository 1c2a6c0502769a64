"""Signals that end a command well: held back, except where it waits or writes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ending_now() -> list[signal.Signals]:
    """All of them, without SIGHUP under nohup, which has it ignored so that we outlive the terminal."""
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in ENDING if not (outlives and number is signal.SIGHUP)]


class Ended(BaseException):
    """A signal has come; the command ends as if its time were over."""


@contextmanager
def ending_signals() -> Iterator[None]:
    """Within it, one of these signals raises Ended, and that only inside of `interruptible`; one that comes later than
    that finds nothing left to end."""
    before = {number: signal.getsignal(number) for number in ending_now()}
    signal.pthread_sigmask(signal.SIG_BLOCK, before)
    try:
        for number in before:
            signal.signal(number, _end)
        yield
    finally:
        while signal.sigtimedwait(before, 0) is not None:
            pass
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, a signal that came or comes raises Ended, also out of a wait or a write that hangs."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(*_: object) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    raise Ended
