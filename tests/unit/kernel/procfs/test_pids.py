"""Which directories of procfs are processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.pids import list_pids


def test_processes_come_by_number_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("100", "9", "self", "sys", "²", "٣"):
        (tmp_path / name).mkdir()
    assert list_pids(tmp_path) == [9, 100]


def test_we_are_among_them() -> None:
    assert os.getpid() in list_pids(Path("/proc"))


def test_no_procfs_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="none does not exist here"):
        list_pids(tmp_path / "none")
