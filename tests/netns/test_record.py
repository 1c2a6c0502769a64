"""whodunnet record on a real node with a real leak: kept, judged alike, and whole whenever it is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from whodunnet.recording.reader import load, open_recording

from .command import WHODUNNET, ask, mounted
from .namespace import Namespace, wait_until

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
KILLS = 200
LEAKER = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
kept = []
for _ in range(60):
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    accepted.sendall(bytes(40_000))
    kept += [client, accepted]
print("leaking", flush=True)
sys.stdin.read()
"""
"""One process at both ends: its 60 clients never read what they are sent."""


@pytest.fixture(scope="module")
def leaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program of a process that leaks, under a name that occurs nowhere else."""
    program = tmp_path_factory.mktemp("leaker") / "leaky-quokka"
    shutil.copy(sys.executable, program)
    with Namespace() as namespace, ExitStack() as kept:
        process = namespace(
            lambda: kept.enter_context(
                subprocess.Popen(
                    ["leaky-quokka", "-c", LEAKER],
                    executable=program,
                    env=os.environ | {"PYTHONHOME": sys.base_prefix},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
        )
        kept.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == b"leaking\n"
        yield program


@contextmanager
def recorder(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A recorder at work; killed at the end if it still is."""
    with subprocess.Popen(
        [str(WHODUNNET), "record", str(path), *options], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stored(path: Path) -> int:
    """Snapshots that are in the file, 0 if there is none yet."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM snapshot").fetchone()[0])


def test_a_recorded_leak_is_judged_as_the_live_one(leaker: Path, tmp_path: Path) -> None:
    path = tmp_path / "case"
    live = ask("diagnose", "--for", "3s", "--format", "json").document
    made = ask("record", str(path), "--every", "1s", "--for", "3s")
    replayed = ask("replay", str(path), "--format", "json").document
    assert made.status == 0
    assert made.err.endswith(f"whodunnet replay {path}\n")
    assert [(f["id"], f["rule"], f["shape"], f["severity"], f["confidence"]) for f in replayed["findings"]] == [
        (f["id"], f["rule"], f["shape"], f["severity"], f["confidence"]) for f in live["findings"]
    ]
    assert replayed["node"] == live["node"]
    (culprit,) = [p for p in replayed["findings"][0]["parties"] if p["role"] == "culprit"]
    assert culprit["process"]["exe"] == str(leaker)


def test_a_redacted_recording_has_the_same_leak_and_none_of_its_names(leaker: Path, tmp_path: Path) -> None:
    path = tmp_path / "case"
    assert ask("record", str(path), "--every", "500ms", "--for", "1s", "--redact").status == 0
    with open_recording(path) as recording:
        everything = "".join(f"{node}{snapshot}" for node, snapshot in recording.snapshots())
    with closing(sqlite3.connect(path)) as connection:
        everything += "".join(header for (header,) in connection.execute("SELECT header FROM run"))
    hidden = {leaker.name, str(leaker.parent), os.uname().nodename}
    assert not [name for name in hidden if name in everything]
    found = ask("replay", str(path), "--format", "json").document["findings"][0]
    assert (found["rule"], found["shape"]) == ("socket-leak", "response-never-read")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_well(ending: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "case"
    with recorder(path, "--every", "100ms", "--no-bpf") as process:
        wait_until(lambda: stored(path) >= 3, "three snapshots")
        process.send_signal(ending)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"Judge them, here or elsewhere: whodunnet replay {path}" in said
    assert [p.name for p in tmp_path.iterdir()] == ["case"]
    assert len(load(path).snapshots) >= 3


def test_a_second_recorder_is_refused_while_the_first_works(tmp_path: Path) -> None:
    path = tmp_path / "case"
    with recorder(path, "--every", "100ms", "--no-bpf") as process:
        wait_until(lambda: stored(path), "the first snapshot")
        second = ask("record", str(path), "--for", "0s")
        assert (second.status, second.err) == (
            2, f"whodunnet: another recorder is writing to {path}; choose another file\n",
        )  # fmt: skip
        assert process.poll() is None
    assert ask("record", str(path), "--for", "0s", "--no-bpf").status == 0


def killed(turn: int, folder: Path) -> tuple[int, list[str]]:
    """One recorder killed at a random moment: the snapshots its file has, and what is left beside it."""
    path = folder / f"case{turn}" / "case"
    path.parent.mkdir()
    dice = random.Random(turn)
    with recorder(path, "--every", "100ms", "--no-bpf") as process:
        if turn % 10:
            wait_until(lambda: stored(path), "the first snapshot")
        time.sleep(dice.uniform(0, 0.4))
        process.kill()
    if not path.exists():
        return 0, [p.name for p in path.parent.iterdir()]
    found = len(load(path).snapshots)
    left = [p.name for p in path.parent.iterdir()]
    return found, left


def test_every_file_opens_whenever_its_recorder_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(lambda turn: killed(turn, tmp_path), range(KILLS)))
    assert all(left == (["case"] if found else []) for found, left in results)
    with capsys.disabled():
        print(f"\n{KILLS} recorders killed; snapshots in their files: {sorted(found for found, _ in results)}")
    assert sum(found > 0 for found, _ in results) >= 0.9 * KILLS


def test_a_full_disk_ends_the_recording_and_leaves_it_whole(tmp_path: Path) -> None:
    """A disk of 70 MB, of which 64 MB are not for recordings; something else fills it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    path, other = disk / "case", disk / "other"
    begin = f"mount -t tmpfs -o size=70m none {disk}"
    full = f"{begin}; head -c 20000000 /dev/zero > {other}"
    answer = ask("record", str(path), "--for", "0s", "--no-bpf", rights=mounted(full))
    assert answer.status == 2
    assert "MB left, and 67 MB of that are not for recordings; choose a file on another disk" in answer.err
    filling = f"{begin}; (sleep 2; head -c 65000000 /dev/zero > {other}) &"
    kept = f"{WHODUNNET} record {path} --every 100ms --for 30s --no-bpf; echo status $?; {WHODUNNET} replay {path}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{filling} {kept}"], check=False, capture_output=True, text=True, timeout=60
    )
    assert "status 2" in done.stdout
    assert f"{path} ends here: its disk is nearly full" in done.stderr
    assert "Run cost" in done.stdout, "the recording is not to be judged any more"
