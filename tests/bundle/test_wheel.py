"""The wheel installs and does all it can where there is no compiler, no libbpf and no header."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .foreign import WITHOUT_BPF

HIDDEN = ("/usr/lib/*/libbpf.so*", "/usr/lib/*/libelf*.so*", "/usr/bin/*-gcc-*", "/usr/lib/llvm-*/bin/clang*")
HIDE = """
for file in $HIDDEN; do
    test ! -f "$file" -o -L "$file" || mount --bind /dev/null "$file"
done
exec "$@"
"""
SNAPSHOT = ("diagnose", "--for", "0s", "--format", "json")


def hidden(*command: str) -> subprocess.CompletedProcess[str]:
    """Where what the wheel may not need cannot be opened."""
    enter = ["unshare", "--mount", "--propagation", "private", "env", f"HIDDEN={' '.join(HIDDEN)}", "sh", "-ec", HIDE]
    return subprocess.run([*enter, "sh", *command], check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A command, from the wheel and the packages it asks for."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    wheel = next(dist.glob("whodunnet-*.whl"))
    pip = (str(directory / "bin/pip"), "--disable-pip-version-check", "install", "--only-binary=:all:", str(wheel))
    done = hidden(*pip)
    assert done.returncode == 0, done.stderr
    return directory / "bin/whodunnet"


def test_what_is_hidden_is_needed_by_the_build_that_is_not_a_wheel() -> None:
    done = hidden(sys.executable, "-c", "from whodunnet.kernel.bpf import _libbpf")
    assert "libbpf.so.1" in done.stderr
    assert hidden("gcc", "--version").returncode != 0


def test_the_wheel_reads_sockets_with_bpf(installed: Path) -> None:
    done = hidden(str(installed), *SNAPSHOT)
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert not [text for text in document["limits"] if WITHOUT_BPF in text]
    assert document["cost"]["collectors"]["sockets"]["wall_seconds"] > 0


def test_the_wheel_has_its_pages(installed: Path) -> None:
    assert "**Question.**" in hidden(str(installed), "explain", "socket-leak").stdout


def test_the_wheel_is_for_every_python_from_3_11_on(dist: Path) -> None:
    wheel = next(dist.glob("whodunnet-*.whl"))
    assert "-cp311-abi3-manylinux_" in wheel.name
