"""Where it unpacks: memory of its own where it may, else the first directory that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from .foreign import NO_MOUNTS, READ_ONLY, Foreign, place_of

LONG = ("diagnose", "--for", "60s")
NOBODY = 65534


def mounted(name: str, options: str) -> str:
    return f'mount -t tmpfs -o {options} none "$root/{name}"'


def place(foreign: Foreign, **how: object) -> str:
    """Where a run unpacks, seen from its root; the run is killed."""
    with foreign.start(*LONG, **how) as process:  # type: ignore[arg-type]
        found = place_of(process)
        process.kill()
    foreign.assert_nothing_left()
    return found.partition(str(foreign.root))[2] or found


@pytest.fixture
def roomy(bare: Foreign) -> Foreign:
    """With the usual directories."""
    for name in ("tmp", "var/tmp", "run", "own", "dev/shm"):
        (bare.root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (bare.root / name).chmod(0o1777)
    return bare


def test_root_gets_memory_that_is_in_no_directory(roomy: Foreign) -> None:
    assert place(roomy) == "/"


def test_without_the_right_to_mount_it_is_a_directory_in_tmp(roomy: Foreign) -> None:
    assert place(roomy, rights=NO_MOUNTS).startswith("/tmp/whodunnet.")


def test_nobody_runs_it_from_tmp(roomy: Foreign) -> None:
    assert place(roomy, user=NOBODY).startswith("/tmp/whodunnet.")
    answer = roomy.run("diagnose", "--for", "0s", "--format", "json", user=NOBODY)
    assert answer.err == ""
    assert "without CAP_BPF and CAP_PERFMON" in " ".join(answer.document["limits"])


@pytest.mark.parametrize(
    "spoilt",
    [
        mounted("tmp", "noexec"),
        mounted("tmp", "size=1m"),
        mounted("tmp", "nr_inodes=40"),
        mounted("tmp", "ro"),
        mounted("tmp", "mode=0777"),
        'rmdir "$root/tmp"',
        'rmdir "$root/tmp"; touch "$root/tmp"',
    ],
    ids=["noexec", "full", "full-before-it-says-so", "read-only", "anyones", "missing", "a-file"],
)
def test_where_tmp_does_not_do_the_next_is_taken(roomy: Foreign, spoilt: str) -> None:
    assert place(roomy, rights=NO_MOUNTS, mounts=[spoilt]).startswith("/var/tmp/whodunnet.")


@pytest.mark.parametrize("last", ["dev/shm", "run"])
def test_shared_memory_and_run_are_tried_as_well(roomy: Foreign, last: str) -> None:
    mounts = [READ_ONLY, mounted(last, "mode=0755")]
    assert place(roomy, rights=NO_MOUNTS, mounts=mounts).startswith(f"/{last}/whodunnet.")


@pytest.mark.parametrize("name", ["TMPDIR", "HOME"])
def test_a_directory_of_ones_own_is_taken(roomy: Foreign, name: str) -> None:
    mounts = [READ_ONLY, mounted("own", "mode=0700")]
    found = place(roomy, rights=NO_MOUNTS, mounts=mounts, environment=[f"{name}=/own"])
    assert found.startswith("/own/whodunnet.")


def test_tmpdir_comes_before_tmp(roomy: Foreign) -> None:
    assert place(roomy, rights=NO_MOUNTS, environment=["TMPDIR=/own"]).startswith("/own/whodunnet.")


def test_no_place_at_all_is_one_sentence_with_what_was_tried(roomy: Foreign) -> None:
    mounts = [READ_ONLY, mounted("tmp", "noexec"), mounted("run", "size=1m,mode=0755")]
    answer = roomy.run("--version", rights=NO_MOUNTS, mounts=mounts, environment=["TMPDIR=gone", "HOME=/nowhere"])
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    for said in (
        "whodunnet: there is no place to unpack",
        "a tmpfs of its own: Operation not permitted",
        "gone: not an absolute path",
        "/tmp: mounted noexec",
        "/var/tmp: Read-only file system",
        "/run: not enough room",
        "/nowhere: No such file or directory",
        "set TMPDIR to a directory that is yours",
    ):
        assert said in answer.err


def test_where_the_root_itself_can_be_written_that_is_the_last_resort(bare: Foreign) -> None:
    assert place(bare, rights=NO_MOUNTS).startswith("/whodunnet.")
    assert not list(Path(bare.root).glob("whodunnet.*"))
