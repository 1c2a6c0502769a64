"""The lab in the bundle: its Python is reached by a descriptor, and so are those that the lab starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.catalogue import names

from .foreign import Foreign


def test_it_is_listed_where_there_is_nothing_else(bare: Foreign) -> None:
    cases = bare.run("lab", "list", "--format", "json").document["cases"]
    assert [case["name"] for case in cases] == names()
    assert all("ip" in case["missing"] for case in cases if case["kind"])
    bare.assert_nothing_left()


def test_a_fault_is_made_real_and_judged(bundle: Path) -> None:
    command = [str(bundle), "lab", "run", "connect-refused"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The diagnosis is right." in done.stdout


def test_a_case_that_wants_a_package_of_python_says_where_to_have_it(bundle: Path) -> None:
    done = subprocess.run([str(bundle), "lab", "run", "held-open"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the one-file bundle has no packages of Python, the wheel can have them" in done.stderr
