"""whodunnet record on a real node with a real leak: kept, judged alike, and whole whenever it is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
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


def killed(turn: int, folder: Path) -> tuple[int, int, list[str]]:
    """One recorder killed at a random moment: snapshots seen before, in its file after, and what is left there."""
    path = folder / f"case{turn}" / "case"
    path.parent.mkdir()
    dice = random.Random(turn)
    least = turn % 10 and dice.choice([1, 2, 3, 3, 3, 4])
    with recorder(path, "--every", "100ms", "--no-bpf") as process:
        wait_until(lambda: stored(path) >= least, f"{least} snapshots")
        time.sleep(dice.uniform(0, 0.15))
        seen = stored(path)
        process.kill()
    found = len(load(path).snapshots) if path.exists() else 0
    return seen, found, [p.name for p in path.parent.iterdir()]


def test_every_file_opens_whenever_its_recorder_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(lambda turn: killed(turn, tmp_path), range(KILLS)))
    assert all(left == (["case"] if found else []) for _, found, left in results)
    with capsys.disabled():
        print(f"\n{KILLS} recorders killed; snapshots in their files: {sorted(found for _, found, _ in results)}")
    assert all(found >= seen for seen, found, _ in results)
    assert sum(found >= 3 for _, found, _ in results) >= 0.5 * KILLS


WRITE_FAST = """
import sys
from pathlib import Path
from whodunnet.recording.header import header_of
from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder
first = load(Path(sys.argv[1]))
with Recorder(Path(sys.argv[1]), 10**8) as recorder:
    while True:
        recorder.append(first.snapshots[0], header_of(first))
        print(flush=True)
"""
"""A recorder that goes on with a recording without a pause."""
READ_FAST = """
import sys
from pathlib import Path
from whodunnet.recording.reader import open_recording
for _ in range(60):
    with open_recording(Path(sys.argv[1])) as recording:
        recording.recording(at_most=10)
        print(len(recording))
"""


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A recorder that has stored a snapshot; killed at the end."""
    assert ask("record", str(path), "--for", "0s", "--no-bpf").status == 0
    with subprocess.Popen([sys.executable, "-c", WRITE_FAST, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield process
        finally:
            process.kill()


def read_only(path: Path) -> tuple[str, ...]:
    """In a mount namespace where the folder of a file cannot be written."""
    return mounted(f"mount --bind {path.parent} {path.parent}", f"mount -o remount,bind,ro {path.parent}")


def test_a_recording_is_read_while_it_is_written_where_its_reader_cannot_write(tmp_path: Path) -> None:
    """As from /host in a pod."""
    path = tmp_path / "case"
    with writing(path) as process:
        drain = threading.Thread(target=process.communicate)
        drain.start()
        done = subprocess.run(
            [*read_only(path), sys.executable, "-c", READ_FAST, str(path)],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        process.kill()
        drain.join()
    assert done.returncode == 0, done.stderr
    counts = [int(word) for word in done.stdout.split()]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] > 1


@pytest.mark.parametrize("index", [True, False])
def test_what_a_killed_recorder_left_is_read_or_said_where_nothing_can_be_written(tmp_path: Path, index: bool) -> None:
    """Somebody reads while the recorder is killed, so that its last snapshots are beside the file."""
    path, elsewhere = tmp_path / "case", tmp_path / "elsewhere"
    with writing(path) as process, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        held = reader.execute("SELECT count(*) FROM snapshot").fetchone()[0]
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
        process.kill()
        process.wait()
        elsewhere.mkdir()
        for suffix in ("", "-wal", *(("-shm",) if index else ())):
            shutil.copy(f"{path}{suffix}", elsewhere)
    copy = elsewhere / path.name
    assert (elsewhere / "case-wal").stat().st_size > 0
    answer = ask("replay", str(copy), rights=read_only(copy))
    if index:
        assert "Run cost" in answer.out
    else:
        assert answer.status == 2
        assert f"{copy} cannot be read where it lies: its recorder is at work or was killed" in answer.err
        assert "damaged" not in answer.err
    assert len(load(copy).snapshots) >= held + 99


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
    # As soon as there is a snapshot: where there are many, it goes on in their place.
    filling = f"{begin}; (until [ -s {path} ]; do sleep 0.02; done; head -c 65000000 /dev/zero > {other}) &"
    kept = f"{WHODUNNET} record {path} --every 100ms --for 30s --no-bpf; echo status $?; {WHODUNNET} replay {path}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{filling} {kept}"], check=False, capture_output=True, text=True, timeout=60
    )
    assert "status 2" in done.stdout
    assert f"{path} ends here: its disk is nearly full" in done.stderr
    assert "Run cost" in done.stdout, "the recording is not to be judged any more"
