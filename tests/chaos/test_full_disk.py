"""No room for what whodunnet writes: the answer is lost, but never wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import Run, nothing_left
from tests.netns.command import mounted

FULL = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
FULL_BOTH = ("sh", "-c", 'exec "$@" >/dev/full 2>/dev/full', "sh")
NO_ROOM = "whodunnet: output: No space left on device\n"
RECORDING = Path(__file__).parents[1] / "fixtures/nodes/incident-1-tcp-memory/recording.jsonl"
VERBS = [
    ("diagnose", "--for", "0s", "--format", "json"),
    ("diagnose", "--for", "0s"),
    ("diagnose", "--for", "0s", "--format", "npd"),
    ("replay", str(RECORDING)),
    ("plot", str(RECORDING)),
    ("sockets",),
    ("connections", "--for", "100ms"),
    ("conntrack",),
    ("stalls", "--for", "100ms"),
    ("why", "--endpoint", "127.0.0.1:80", "--for", "0s"),
    ("list",),
    ("explain", "socket-leak"),
    ("schema",),
    ("completion", "bash"),
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_answer_that_cannot_be_written_is_none(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """Neither 0, which means healthy, nor 1, which means a finding."""
    with nothing_left(tmp_path / "1", tmp_path / "2"):
        told = Run(tmp_path / "1", *verb, rights=FULL).answer()
        untold = Run(tmp_path / "2", *verb, rights=FULL_BOTH).answer()
    assert (told.status, untold.status) == (2, 2)
    assert told.err.endswith(NO_ROOM)


def full(disk: Path) -> tuple[str, ...]:
    """A file system of its own without a free byte, but for a file that is there already."""
    fill = f"head -c 2000000 /dev/zero >{disk}/other 2>/dev/null || true"
    return mounted(f"mount -t tmpfs -o size=1m none {disk}", f"echo old >{disk}/chart.html", fill)


LISTED = ("sh", "-c", 'disk=$1; shift; "$@"; status=$?; ls -A $disk; cat $disk/chart.html; exit $status', "sh")


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        pytest.param(("record", "{disk}/case", "--for", "0s"), "are not for recordings", id="record"),
        pytest.param(("plot", str(RECORDING), "-o", "{disk}/chart.html"), "No space left on device", id="plot"),
        pytest.param(("plot", str(RECORDING), "-o", "{disk}/chart.png"), "No space left on device", id="plot png"),
    ],
)
def test_on_a_full_disk_nothing_is_begun_and_nothing_lost(tmp_path: Path, verb: tuple[str, ...], sentence: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [word.format(disk=disk) for word in verb]
    answer = Run(tmp_path / "run", *words, rights=(*full(disk), *LISTED, str(disk))).answer()
    assert answer.status == 2
    assert sentence in answer.err
    assert answer.out.split() == ["chart.html", "other", "old"]


def test_without_room_for_temporary_files_it_answers(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    answer = Run(place, *VERBS[0], rights=full(place)).answer()
    assert answer.status in (0, 1)
    assert answer.document["schema"] == "whodunnet/diagnosis/v1"
