"""Standard output that a signal may end, and nothing is written half or twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from whodunnet.cli.ending import Ended, ending_signals
from whodunnet.cli.output import Output


class Pipe(NamedTuple):
    output: Output
    reader: int


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="ascii") as stream:
        yield Pipe(Output(stream), read)
    os.close(read)


def test_what_is_written_is_there_at_once_and_what_cannot_be_encoded_is_a_question_mark(pipe: Pipe) -> None:
    pipe.output.write("one … two\n")
    assert os.read(pipe.reader, 100) == b"one ? two\n"


def test_where_standard_output_is_closed_that_is_an_error_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Output()


def test_a_signal_that_came_before_keeps_what_was_to_be_written_for_later(pipe: Pipe) -> None:
    with pytest.raises(Ended), ending_signals():
        write_after_signal(pipe.output)
    pipe.output.flush()
    assert os.read(pipe.reader, 100) == b"all of it\n"


def write_after_signal(output: Output) -> None:
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    output.write("all of it\n")


def test_a_reader_who_takes_nothing_keeps_no_signal_out_and_gets_everything_once_later(pipe: Pipe) -> None:
    output, text = pipe.output, "".join(f"{n:>9}\n" for n in range(50_000))
    timer = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    with pytest.raises(Ended), ending_signals():
        output.write(text)
    timer.join()
    found: list[bytes] = []

    def read_all() -> None:
        while sum(map(len, found)) < len(text):
            found.append(os.read(pipe.reader, 65536))

    thread = threading.Thread(target=read_all)
    thread.start()
    output.flush()
    thread.join(10)
    assert b"".join(found).decode() == text


def test_a_reader_who_is_gone_is_an_error() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="ascii") as stream:
        os.close(read)
        with pytest.raises(BrokenPipeError):
            Output(stream).write("x")
