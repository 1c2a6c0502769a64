"""The quick faults and look-alikes of the lab made real, diagnosed, and scored: one at a time. `make lab` runs all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import pytest

from lab import host
from lab.catalogue import find, names
from lab.look import wait_until
from lab.run import default_command, run

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


CASES = [name for name in names() if find(name).quick]
SETTINGS = (host.TCP_MEM, host.CONNTRACK_MAX, host.BUCKETS, host.BACKLOG, host.NEIGHBOURS_MAX, host.FILE_MAX)


@pytest.fixture
def settings_kept() -> Iterator[None]:
    """The machine's limits, as they were; the case restores them too, and this says so if it did not."""
    namespace = host.initial_netns()
    before = {setting: host.read(setting, namespace) for setting in SETTINGS if host.exists(setting, namespace)}
    yield
    after = {setting: host.read(setting, namespace) for setting in before}
    for setting, value in before.items():
        if after[setting] != value:
            host.write(setting, value, namespace)
    assert after == before


@pytest.mark.usefixtures("settings_kept")
@pytest.mark.parametrize("name", CASES)
def test_diagnosis_is_right(name: str) -> None:
    case = find(name)()
    diagnosis, score = run(case, default_command(), print)
    for finding in diagnosis["findings"]:
        print(
            finding["severity"], finding["id"], finding.get("shape"), finding["title"], finding["parties"], sep="\n  "
        )
    assert str(score) == "right"


def left_of(pid: int) -> list[str]:
    """Namespaces, directories and programs (they are known by the directory they live in) of a run."""
    label = f"lab{pid}"
    left = [str(path) for path in (*Path("/run/netns").glob(f"{label}-*"), *Path(gettempdir()).glob(f"{label}-*"))]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if label in str((process / "cwd").readlink()):
                left.append((process / "comm").read_text())
    return left


KILLED = [
    pytest.param("tcp-memory-exceeded", host.TCP_MEM, signal.SIGINT),
    pytest.param("tcp-memory-exceeded", host.TCP_MEM, signal.SIGTERM),
    pytest.param("tcp-memory-exceeded", host.TCP_MEM, signal.SIGKILL),
    pytest.param("table-flat-at-sixty-percent", host.CONNTRACK_MAX, signal.SIGKILL),
    pytest.param("softnet-small-backlog", host.BACKLOG, signal.SIGKILL),
    pytest.param("neighbour-table-flood", host.NEIGHBOURS_MAX, signal.SIGKILL),
    pytest.param("table-with-too-few-buckets", host.BUCKETS, signal.SIGKILL),
    pytest.param("file-table-full", host.FILE_MAX, signal.SIGKILL),
]


@pytest.mark.usefixtures("settings_kept")
@pytest.mark.parametrize(("name", "setting", "number"), KILLED)
def test_the_machine_is_as_before_when_a_signal_ends_a_run(name: str, setting: Path, number: signal.Signals) -> None:
    """Even after SIGKILL the setting comes back, and no program, namespace or file is left."""
    if not host.exists(setting, host.initial_netns()):
        pytest.skip(f"no {setting}: nothing tracks connections yet")
    before = host.read(setting)
    lab = subprocess.Popen(
        [sys.executable, "-u", "-m", "lab.run", name, "--allow-global", "--no-tool"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert lab.stdout
        assert any(line.startswith("ready") for line in lab.stdout)
        assert host.read(setting) != before
        assert left_of(lab.pid)
        lab.send_signal(number)
        lab.communicate(timeout=30)
        host.wait_for(setting, before)
        wait_until(lambda: not left_of(lab.pid), 10, lambda: f"left: {left_of(lab.pid)}")
    finally:
        lab.kill()
        lab.wait()
