"""Each fault and look-alike of the lab made real, diagnosed, and scored: one at a time, half an hour in all."""

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

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from lab import host  # noqa: E402
from lab.catalogue import find, names  # noqa: E402
from lab.look import wait_until  # noqa: E402
from lab.run import default_command, run  # noqa: E402

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


@pytest.fixture
def tcp_mem_kept() -> Iterator[None]:
    """The machine's limits, as they were; the case restores them too, and this says so if it did not."""
    namespace = host.initial_netns()
    before = host.read_tcp_mem(namespace)
    yield
    after = host.read_tcp_mem(namespace)
    if after != before:
        host.write_tcp_mem(namespace, before)
    assert after == before


@pytest.mark.usefixtures("tcp_mem_kept")
@pytest.mark.parametrize("name", names())
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


@pytest.mark.usefixtures("tcp_mem_kept")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_machine_is_as_before_when_a_signal_ends_a_run(number: signal.Signals) -> None:
    """Even after SIGKILL tcp_mem comes back, and no program, namespace or file is left."""
    before = host.read_tcp_mem()
    lab = subprocess.Popen(
        [sys.executable, "-u", "-m", "lab.run", "tcp-memory-exceeded", "--allow-global", "--no-tool"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert lab.stdout
        assert any(line.startswith("ready") for line in lab.stdout)
        assert host.read_tcp_mem() != before
        assert left_of(lab.pid)
        lab.send_signal(number)
        lab.communicate(timeout=30)
        host.wait_for_tcp_mem(before)
        wait_until(lambda: not left_of(lab.pid), 10, lambda: f"left: {left_of(lab.pid)}")
    finally:
        lab.kill()
        lab.wait()
