"""What the clients of a case about keep-alive say, and what the case makes of it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread

import pytest

from lab import keepalive
from lab.case import Expected
from lab.catalogue import find, names
from lab.keepalive import ENOUGH, PairCase, WatchedCase
from lab.look import Sight
from lab.pools import ask, reasons, say, told, turns, went
from lab.stage import Player

LOG = """
answered 5.200
failed 5.300 RemoteDisconnected: Remote end closed connection without response
failed 5.400 ECONNRESET
answered
closed 5.001
Traceback (most recent call last):
failed
"""


class Paper(WatchedCase):
    """A case without programs: only what they said."""

    kind = "fault"
    server_waits = (5.0, 6.0)

    def start(self) -> None:
        pass

    def look(self) -> Sight:
        return Sight(True, "paper")

    def expected(self) -> Expected:
        return Expected(rule=None)


def player(log: Path, text: str) -> Player:
    log.write_text(text)
    with subprocess.Popen(["true"]) as ended:
        return Player(log.stem, ended, log)


def test_a_log_is_read_by_outcome_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    orders = player(tmp_path / "orders.log", LOG)
    assert told(orders, "answered") == [5.2]
    assert told(orders, "failed") == [5.3, 5.4]
    assert told(orders, "closed") == [5.001]
    assert reasons(orders) == ["ECONNRESET", "RemoteDisconnected: Remote end closed connection without response"]
    assert went(orders).startswith("orders: 1 answered after a pause, 2 failed after 5.30 to 5.40 s ['ECONNRESET'")


def test_what_a_client_says_is_what_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    say("failed", 5.25, "ConnectionResetError: [Errno 104]")
    said = player(tmp_path / "orders.log", capfd.readouterr().out)
    assert (told(said, "failed"), reasons(said)) == ([5.25], ["ConnectionResetError: [Errno 104]"])


def test_clients_spread_over_the_time_and_over_the_pauses() -> None:
    assert turns(4, (5.0, 7.0)) == [(0.0, 5.0), (1.375, 5.5), (3.0, 6.0), (4.875, 6.5)]


def answer_once(listener: socket.socket, answer: bytes) -> None:
    one, _ = listener.accept()
    with one:
        one.recv(4096)
        one.sendall(answer)


@contextmanager
def connected(answer: bytes) -> Iterator[HTTPConnection]:
    """To a server that sends this to whatever is asked, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=answer_once, args=(listener, answer))
        server.start()
        host, port = listener.getsockname()
        connection = HTTPConnection(host, port, timeout=10)
        yield connection
        connection.close()
        server.join()


def test_a_request_that_is_answered_has_not_failed() -> None:
    with connected(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as connection:
        ask(connection)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "status 502"), (b"", "without response")],
    ids=["another status", "closed"],
)
def test_a_request_fails_if_it_is_not_answered_or_not_well(answer: bytes, wrong: str) -> None:
    with connected(answer) as connection, pytest.raises(HTTPException, match=wrong):
        ask(connection)


@pytest.mark.parametrize(
    ("failed", "resets", "there"), [(ENOUGH, ENOUGH, True), (ENOUGH - 1, ENOUGH, False), (ENOUGH, ENOUGH - 1, False)]
)
def test_a_mismatch_is_there_when_client_and_kernel_say_so(
    failed: int, resets: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepalive, "tcp_counter", lambda *_: resets)
    orders = player(tmp_path / "orders.log", "failed 5.5 RemoteDisconnected\n" * failed)
    assert Paper().failing(orders, tmp_path).there == there


@pytest.mark.parametrize(
    ("texts", "there"),
    [
        (["answered 5.5\n" * ENOUGH] * 2, True),
        (["answered 5.5\n" * ENOUGH, "answered 5.5\n" * (ENOUGH - 1)], False),
        (["answered 5.5\n" * ENOUGH, "answered 5.5\n" * ENOUGH + "failed 5.5 x\n"], False),
    ],
    ids=["all answered", "too few of one", "one failed"],
)
def test_a_pair_that_fits_is_there_when_each_client_asked_and_none_failed(
    texts: list[str], there: bool, tmp_path: Path
) -> None:
    clients = [player(tmp_path / f"client{number}.log", text) for number, text in enumerate(texts)]
    assert Paper().answered(*clients).there == there


@pytest.mark.parametrize(
    ("waits", "there"),
    [([5.0] * 3, True), ([6.1] * 3, True), ([5.0] * 2, False), ([4.7] * 3, False), ([6.3] * 3, False),
     ([5.0, 5.0, 9.0], True)],
)  # fmt: skip
def test_a_server_has_to_wait_as_long_as_it_is_known_to(waits: list[float], there: bool, tmp_path: Path) -> None:
    case = Paper()
    case.watch = player(tmp_path / "stopwatch.log", "".join(f"closed {seconds}\n" for seconds in waits))
    assert case.measured(Sight(True, "seen")).there == there
    assert not case.measured(Sight(False, "seen")).there


FAULTS = [name for name in names() if issubclass(find(name), PairCase) and find(name).kind == "fault"]


@pytest.mark.parametrize("name", FAULTS)
def test_the_pauses_of_a_mismatch_are_longer_than_its_server_waits_and_end_within_the_window(name: str) -> None:
    case = find(name)()
    assert isinstance(case, PairCase)
    assert case.server_waits[1] < case.idle[0] < case.idle[1]
    assert case.idle[0] < case.window_seconds
