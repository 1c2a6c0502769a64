"""Processes and namespaces that come and go meanwhile, and processes with hostile names. Needs root."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from netns.command import Answer, ask, diagnose
from netns.namespace import Namespace, wait_until
from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

CHURNER = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None)
with open("/proc/self/comm", "w") as comm:
    comm.write("churner")
table = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
if os.path.exists(table):  # a namespace's own hash table goes with it
    with open(table, "w") as entries:
        entries.write("1024")
server = socket.create_server(("127.0.0.1", 0), backlog=64)

def live():
    if os.fork() == 0:
        client = socket.create_connection(server.getsockname())
        client.sendall(bytes(1000))
        os._exit(0)
    accepted, _ = server.accept()
    accepted.recv(4096)
    accepted.close()

def live_elsewhere():
    if os.fork() == 0:
        libc.unshare(0x40000000)
        kept = [socket.socket() for _ in range(3)] + [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
        kept[0].bind(("127.0.0.1", 80))
        kept[0].listen()
        os._exit(0)

for number in range(1_000_000):
    (live_elsewhere if number % 4 == 0 else live)()
    while True:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                break
        except ChildProcessError:
            break
    if number % 64 == 0:
        print(number, flush=True)
"""

HOSTILE = "\x1b[2J\r\n'\"`$(x);"
"""15 bytes, as PR_SET_NAME takes them; whoever prints it as it is clears the terminal."""
HOSTILE_ARGUMENT = "\x1b]0;owned\x07\n\N{RIGHT-TO-LEFT OVERRIDE}'; touch /tmp/whodunnet-was-here; '"
HOSTILE_LEAKER = """
import ctypes, socket, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
listener = socket.create_server(("127.0.0.1", 0), backlog=600)
pairs = []
while True:
    pairs.append((socket.create_connection(listener.getsockname()), listener.accept()[0]))
    pairs[-1][0].sendall(bytes(20011))
    if len(pairs) == 61:
        print(flush=True)
    time.sleep(0.01 if len(pairs) > 61 else 0)
    if len(pairs) > 5000:
        break
sys.stdin.read()
"""


class Counter(threading.Thread):
    """Follows how many processes came and went, from what the churning program prints."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self._program = program
        self.lives = 0

    def run(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            self.lives = int(line)


@contextmanager
def churn() -> Iterator[Counter]:
    """Processes that connect and end, a quarter of them in a new network namespace, while the block runs."""
    with Namespace() as namespace, ExitStack() as kept:
        command = [sys.executable, "-c", CHURNER]
        program = namespace(lambda: kept.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
        counter = Counter(program)
        counter.start()
        kept.callback(program.kill)
        wait_until(lambda: counter.lives >= 64, "processes that come and go")
        yield counter
        assert program.poll() is None, "the churning program ended by itself"


@pytest.mark.parametrize("arguments", [(), ("--no-bpf",)], ids=["BPF", "no BPF"])
def test_coming_and_going_is_no_fault(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with churn() as counter:
        before = counter.lives
        document = diagnose("--for", "3s", *arguments).document
        lives = counter.lives - before
    with capsys.disabled():
        cost = document["cost"]["collectors"]["sockets"]
        print(f"\n{lives} processes came and went; lost {cost['lost']}, CPU {cost['cpu_seconds']:.3f} s")
    assert lives >= 64
    assert document["window"]["snapshots"] >= 2
    assert "churner" not in json.dumps(document["findings"])


def test_every_command_answers_while_processes_come_and_go() -> None:
    with churn():
        for by in ("process", "netns", "endpoint", "container"):
            answer = ask("sockets", "--by", by, "--format", "json", "--top", "1000")
            assert (answer.status, answer.err) == (0, "")
            assert answer.document["rows"] is not None


def test_a_pass_stays_bounded_while_hash_tables_come_and_go() -> None:
    support = read_support(Roots())
    walk = SocketWalk(support)
    try:
        with churn() as counter:
            passes, before = 0, counter.lives
            while counter.lives < before + 512:
                found = walk.read()
                passes += 1
                assert all(g.sockets > 0 for g in found.groups)
                assert sum(g.sockets for g in found.groups if g.holding in ("orphan", "kernel")) < 100_000
    finally:
        walk.close()
    assert passes > 1


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The pid of a process that leaks more and more, with a hostile name, program and arguments."""
    program = tmp_path_factory.mktemp("hostile") / f"e\x1b[31m\nvil '\"{HOSTILE[:4]}"
    shutil.copy(sys.executable, program)
    home = {"PYTHONHOME": sys.base_prefix}
    command = [f"{HOSTILE_ARGUMENT}", "-c", HOSTILE_LEAKER, HOSTILE]
    with Namespace() as namespace, ExitStack() as kept:
        process = namespace(
            lambda: kept.enter_context(
                subprocess.Popen(
                    command,
                    executable=program,
                    env=os.environ | home,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
        )
        kept.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_bytes() == f"{HOSTILE}\n".encode()
        yield process.pid


def harmful(text: str) -> set[str]:
    """Characters that a terminal or a reader would not see as themselves."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c != "\n"}


def strings(value: Any) -> Iterator[str]:
    """Every string of a document, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


VERBS = [
    ("diagnose", "--for", "1s"),
    ("diagnose", "--for", "1s", "-v"),
    ("diagnose", "--for", "1s", "--no-bpf"),
    ("diagnose", "--for", "1s", "--format", "npd"),
    ("sockets", "--by", "process"),
    ("sockets", "--by", "container"),
    ("sockets", "--by", "image"),
    ("sockets", "--by", "process", "--for", "1s", "--sort", "growth"),
]


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_text_carries_a_control_character(verb: tuple[str, ...]) -> None:
    answer = ask(*verb)
    assert harmful(answer.out) == set()
    assert answer.err == ""
    own_lines = [line for line in answer.out.splitlines() if line.startswith(("'\"`", "vil"))]
    assert not own_lines, "its line feed is none of the report's"
    if "npd" in verb:
        assert answer.out.count("\n") == 1
        assert len(answer.out.encode()) <= 81
    elif "image" not in verb:
        assert "$(x)" in answer.out, "the process does not show"


@pytest.fixture(scope="module")
def diagnosed(hostile: int) -> tuple[int, Answer]:
    return hostile, diagnose("--for", "1s")


def test_no_string_of_the_json_carries_a_control_character(diagnosed: tuple[int, Answer]) -> None:
    pid, answer = diagnosed
    assert harmful(answer.out) == set()
    assert answer.out.isascii()
    for text in strings(answer.document):
        assert harmful(text) == set()
        assert "\n" not in text
    (culprit,) = [
        p for f in answer.document["findings"] for p in f["parties"] if (p.get("process") or {}).get("pid") == pid
    ]
    assert culprit["role"] == "culprit"
    assert "$(x);" in culprit["process"]["comm"]


def test_commands_to_copy_are_shell_words(diagnosed: tuple[int, Answer]) -> None:
    """What the report tells a person to run parses, is one line, and holds nothing that the node smuggled in."""
    _, answer = diagnosed
    findings, cleared = answer.document["findings"], answer.document["cleared"]
    commands = [r["command"] for f in findings for r in f["remedies"] if r["command"]]
    commands += [e["repeat"] for a in (*findings, *cleared) for e in a["evidence"] if e["repeat"]]
    assert any(command.startswith("kill ") for command in commands)
    for command in commands:
        assert shlex.split(command)
        assert "\n" not in command
        assert "$(x)" not in command
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0
    assert not Path("/tmp/whodunnet-was-here").exists()
