"""What a quiet hour counts, and the page that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import quiet_load
from lab.quiet import Loop, busy_share
from lab.quiet_load import PARTS, Tally, Work, tallies
from lab.quiet_page import WORK, Found, Quiet, findings, page


def result(*found: Found, seconds: float = 1800.0, failed: int = 0) -> Quiet:
    return Quiet(
        date="2026-01-01", version="0", commit="abc", kernel="6.1.0", cpus=2, seconds=seconds, window="5s",
        outcomes={"finding": 1, "healthy": 9}, found=list(found), not_checked={},
        work=dict.fromkeys(WORK, Tally(done=1000, failed=failed, longest_seconds=0.25)), busy_share=0.7,
        busy_before_share=0.0, tool_cpu_seconds=5.0, tool_wall_seconds=50.0, tool_peak_rss_bytes=46 << 20,
    )  # fmt: skip


def fail(error: Exception) -> None:
    raise error


def test_only_warnings_and_above_are_false_findings() -> None:
    loud = Found("resets", "warning", "x", 2), Found("socket-leak", "critical", "", 1)
    found = result(*loud, Found("clock", "info", "not-kept", 10))
    assert (found.loud, found.an_hour) == (3, 6.0)
    text = page(found)
    assert "**False findings: 3, which is 6.0 in an hour; with 95 % certainty fewer than 15.5.**" in text
    assert "| [clock](rules/clock.md) | info | not-kept | 10 |" in text
    assert "| [socket-leak](rules/socket-leak.md) | critical | - | 1 |" in text


def test_a_page_tells_for_how_long_and_what_failed() -> None:
    text = " ".join(page(result(failed=1)).split())
    assert "for 30 minutes" in text
    assert f"Of {len(WORK) * 1001:,} pieces of work {len(WORK)} failed." in text
    assert "Of one CPU 10.0% while it looked, 0.50 s in each diagnosis; at most 46 MiB of memory." in text


def test_without_a_finding_it_says_so() -> None:
    assert findings(result()) == "There was no finding at all.\n\nNot checked: nothing, in no diagnosis.\n"


def test_every_part_of_the_load_has_a_line() -> None:
    assert tuple(WORK) == PARTS


def test_a_failed_piece_of_work_is_counted_and_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    work = Work("names")
    with work.one():
        pass
    with work.one():
        fail(TimeoutError("no answer"))
    found = tallies(tmp_path)
    assert list(found) == ["names"]
    assert (found["names"].done, found["names"].failed) == (1, 1)
    assert "no answer" in capsys.readouterr().out


def test_what_is_wrong_in_the_load_itself_is_no_failure_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError), Work("names").one():
        fail(TypeError())
    assert tallies(tmp_path) == {}


def test_idle_and_waiting_for_a_disk_are_not_busy() -> None:
    before, after = [0] * 8, [10, 0, 10, 60, 10, 0, 10, 0]
    assert busy_share(before, after) == pytest.approx(0.3)


def test_a_loud_finding_is_kept_whole_and_a_quiet_one_only_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setattr("lab.quiet.FINDINGS", kept)
    loop = Loop(type("Empty", (), {"directory": tmp_path})(), ["whodunnet"], 0.0)
    finding = {"rule": "resets", "severity": "warning", "shape": None, "summary": "resets", "title": "all of it"}
    loop._add({
        "outcome": "finding", "not_checked": [{"rule": "dns"}], "window": {"from": "12:00"},
        "cost": {"cpu_seconds": 0.5, "wall_seconds": 5.5, "peak_rss_bytes": 7},
        "findings": [finding, {**finding, "severity": "info"}],
    })  # fmt: skip
    summed = loop._sum_up(10.0, 0.5)
    assert summed.found == [Found("resets", "info", "", 1), Found("resets", "warning", "", 1)]
    assert (summed.outcomes, summed.not_checked, summed.tool_peak_rss_bytes) == ({"finding": 1}, {"dns": 1}, 7)
    lines = kept.read_text().splitlines()
    assert len(lines) == 1
    assert '"all of it"' in lines[0]


def test_what_is_built_is_a_copy(tmp_path: Path) -> None:
    tree = quiet_load.sources(type("Empty", (), {"directory": tmp_path})())
    assert (tree / "bpf/Makefile").exists()
    assert (tree / "src/whodunnet/cli/main.py").exists()
    assert not list(tree.rglob("*.o"))
