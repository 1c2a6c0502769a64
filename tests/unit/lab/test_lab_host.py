"""One run at a time changes a setting of the whole machine, be it of the lab or the bench."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bench import conntrack
from lab import host
from lab.look import NotThereError

SETTING = Path("/proc/sys/net/netfilter/nf_conntrack_max")
ROOT = Path(host.__file__).parents[1]
LIVE_TEST = ROOT / "tests/netns/test_faults.py"


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "LOCKS", tmp_path)
    return tmp_path


def test_a_second_run_waits_so_long_and_then_says_who_has_the_setting() -> None:
    busy = r"not there after 0 s: the lock of nf_conntrack_max: another run .*; `lslocks` shows /.*max\.lock"
    with host.alone(SETTING), pytest.raises(NotThereError, match=busy), host.alone(SETTING, seconds=0):
        pytest.fail("two at once")


def test_the_next_run_has_it_when_the_first_is_done_or_failed() -> None:
    with pytest.raises(ZeroDivisionError), host.alone(SETTING):
        raise ZeroDivisionError
    with host.alone(SETTING, seconds=0):
        pass


def test_another_setting_is_free_meanwhile() -> None:
    with host.alone(SETTING), host.alone(host.TCP_MEM, seconds=0):
        pass


def test_who_restores_the_setting_keeps_the_lock_when_the_run_is_gone() -> None:
    with host.alone(SETTING) as lock:
        guard = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with pytest.raises(NotThereError), host.alone(SETTING, seconds=0):
        pytest.fail("not restored yet")
    guard.communicate()
    with host.alone(SETTING, seconds=0):
        pass


def test_the_bench_takes_the_same_lock_even_where_it_need_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / SETTING.name
    limit.write_text("100\n")
    monkeypatch.setattr(conntrack, "CONNTRACK_MAX", limit)
    with (
        conntrack.room_for(10),
        pytest.raises(NotThereError),
        host.alone(SETTING, seconds=0),
    ):
        pytest.fail("two at once")
    assert limit.read_text() == "100\n"


def test_each_setting_that_a_case_changes_is_seen_restored_after_a_kill() -> None:
    """By the live test, each in a row with a case of its own."""
    code = "".join(path.read_text() for path in sorted((ROOT / "lab").rglob("*.py")) if path.name != "host.py")
    changed = set(re.findall(r"\bchanged\(([\w.]+),", code))
    assert {"host.TCP_MEM", "host.CONNTRACK_MAX", "host.BACKLOG", "host.NEIGHBOURS_MAX"} <= changed
    live = LIVE_TEST.read_text()
    killed = re.findall(r"pytest\.param\(\"[\w-]+\", (host\.\w+), signal\.SIG(?:TERM|KILL)\)", live)
    kept = re.search(r"^SETTINGS = \((.*?)\)$", live, re.MULTILINE | re.DOTALL)
    assert kept
    assert changed == {*killed} == {*re.findall(r"host\.\w+", kept[1])}
