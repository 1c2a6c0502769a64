"""The bundle under other kernels: it names a leak there, and what it records is judged alike on this machine.

Run by `make test-kernels`, which builds the bundle first.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet import __version__

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
WHODUNNET = Path(sys.executable).with_name("whodunnet")
CONNECTIONS, BYTES, SECONDS = 60, 40_000, 6.0


@pytest.fixture(scope="module")
def bundle() -> Path:
    found = sorted((HERE.parents[1] / "dist").glob(f"whodunnet-{__version__}-linux-*"))
    if not found:
        pytest.skip("there is no bundle in dist; `make bundle` builds it")
    return found[0]


@pytest.fixture(scope="module")
def case(kernel: Kernel, bundle: Path) -> dict[str, Any]:
    """What was answered in the machine while a process leaked there; `file` is the recording."""
    commands = {
        "diagnosed": [str(bundle), "diagnose", "--for", "3s", "--format", "json"],
        "recorded": [str(bundle), "record", "/tmp/case", "--every", "1s", "--for", "3s"],
        "replayed": [str(bundle), "replay", "/tmp/case", "--format", "json"],
        "left": ["sh", "-c", "ls -d /tmp/* | grep -v '^/tmp/case$' || true"],
        "file": ["base64", "/tmp/case"],
    }
    words = [str(CONNECTIONS), str(BYTES), str(SECONDS), json.dumps(commands)]
    done = machine.run(kernel, [sys.executable, "-m", "inside.leak", *words], HERE)
    assert done.status == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def document(case: dict[str, Any], name: str) -> Any:
    return json.loads(case["answers"][name]["stdout"])


def culprits(diagnosis: Any) -> list[tuple[str, str, int]]:
    return [
        (f["rule"], f["shape"], p["process"]["pid"])
        for f in diagnosis["findings"] for p in f["parties"] if p["role"] == "culprit"
    ]  # fmt: skip


def test_the_bundle_names_the_leak_with_bpf(case: dict[str, Any]) -> None:
    found = document(case, "diagnosed")
    assert culprits(found) == [("socket-leak", "response-never-read", case["reader"])]
    assert found["limits"] == []
    assert case["answers"]["diagnosed"]["status"] == 1


def test_it_leaves_nothing_behind(case: dict[str, Any]) -> None:
    assert case["answers"]["recorded"]["status"] == 0
    assert case["answers"]["left"]["stdout"] == ""


def test_a_recording_made_there_is_judged_here_to_the_last_byte(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "case"
    path.write_bytes(base64.b64decode(case["answers"]["file"]["stdout"]))
    here = subprocess.run(
        [WHODUNNET, "replay", str(path), "--format", "json"], check=False, capture_output=True, text=True
    )
    assert here.returncode == 1
    assert here.stdout == case["answers"]["replayed"]["stdout"]
    assert culprits(json.loads(here.stdout)) == culprits(document(case, "diagnosed"))
    assert json.loads(here.stdout)["node"] == document(case, "diagnosed")["node"]
