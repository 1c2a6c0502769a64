"""Signals that end a command well."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable

import pytest

from whodunnet.cli.ending import ENDING, Ended, ending_now, ending_signals, interruptible


def to_us(number: int) -> None:
    """To the main thread: whoever runs the tests may have others in the process, which hold nothing back."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def ended_in(step: Callable[[], object]) -> bool:
    """Whether a signal ended a step that was let in for it."""
    try:
        with ending_signals(), interruptible():
            step()
    except Ended:
        return True
    return False


def after_a_moment(number: int, step: Callable[[], object]) -> bool:
    timer = threading.Timer(0.1, to_us, [number])
    timer.start()
    try:
        return ended_in(step)
    finally:
        timer.join()


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_is_held_back_until_the_command_lets_it_in(number: signal.Signals) -> None:
    done: list[str] = []

    def work() -> None:
        to_us(number)
        done.append("work")
        with interruptible():
            done.append("never")

    with pytest.raises(Ended), ending_signals():
        work()
    assert done == ["work"]


def test_a_signal_ends_a_wait() -> None:
    assert after_a_moment(signal.SIGTERM, lambda: select.poll().poll(60_000))


def test_a_signal_ends_a_write_that_nobody_reads() -> None:
    reader, writer = os.pipe()

    def fill() -> None:
        while True:
            os.write(writer, bytes(65536))

    try:
        assert after_a_moment(signal.SIGINT, fill)
    finally:
        os.close(reader)
        os.close(writer)


def test_everything_is_as_before_when_it_is_over() -> None:
    before = [signal.getsignal(number) for number in ENDING], signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with ending_signals():
        to_us(signal.SIGINT)  # that comes with the last line, and finds nothing left to end
    with interruptible():
        pass
    assert ([signal.getsignal(n) for n in ENDING], signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before


def test_under_nohup_a_hangup_ends_nothing() -> None:
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert not ended_in(lambda: to_us(signal.SIGHUP))
        assert ended_in(lambda: to_us(signal.SIGTERM))
        assert ending_now() == [signal.SIGINT, signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
