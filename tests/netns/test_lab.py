"""whodunnet lab, as a user calls it: what it shows of a fault, and that nothing is left, however it ends."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from lab import host  # noqa: E402
from lab.catalogue import names  # noqa: E402
from lab.look import wait_until  # noqa: E402

from .test_faults import left_of, settings_kept  # noqa: E402, F401  a fixture

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
WHODUNNET = (sys.executable, "-m", "whodunnet", "lab")
QUICK = "connect-refused"
"""A fault that needs little time to be made and to be judged."""

WITH_CULPRIT = "accept-queue-stuck"
WITH_SETTING = "settings-tcp-mem-low"
"""It changes host.TCP_MEM, and is there at once."""


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WHODUNNET, *arguments], check=False, capture_output=True, text=True, timeout=120)


class Running:
    """A run of the lab, read line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*WHODUNNET, "run", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_until(self, words: str) -> str:
        """What it printed up to there. What was read ahead beyond that is lost to `end`."""
        assert self.process.stdout
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if words in line:
                return "".join(lines)
        raise AssertionError(f"it ended without {words}: {lines}")

    def end(self, number: signal.Signals, *, all_of_it: bool = False) -> tuple[int, str, str]:
        """all_of_it: also the programs that it waits for, as Ctrl-C on a terminal does."""
        (os.killpg if all_of_it else os.kill)(self.process.pid, number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def running() -> Iterator[list[Running]]:
    """Runs that are ended whatever becomes of the test."""
    started: list[Running] = []
    yield started
    for run in started:
        run.process.kill()
        run.process.wait()


def test_the_list_has_every_case() -> None:
    done = call("list", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [case["name"] for case in json.loads(done.stdout)["cases"]] == names()


def test_a_fault_is_shown_with_its_culprit_and_judged() -> None:
    done = call("run", WITH_CULPRIT)
    assert (done.returncode, done.stderr) == (0, "")
    story, _, rest = done.stdout.partition("Made real, and seen by other means than whodunnet's: ")
    finding, _, verdict = rest.partition("To be named: ")
    assert story.startswith(f"{WITH_CULPRIT} (fault)\n")
    culprit = re.match(r"(\S+)\[(\d+)\] as culprit, ", verdict)
    assert culprit
    assert f"Caused by    {culprit[1]} (pid {culprit[2]})" in finding
    assert "The diagnosis is right." in verdict
    assert verdict.endswith("Everything the lab had made is gone again.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_diagnoses_leaves_nothing(number: signal.Signals, running: list[Running]) -> None:
    run = Running(QUICK)
    running.append(run)
    run.read_until("whodunnet diagnose")
    assert left_of(run.process.pid)
    status, out, err = run.end(number)
    assert (status, err) == (2, "whodunnet: interrupted; what the lab had made is gone again\n")
    assert "To be named" not in out
    assert left_of(run.process.pid) == []


def test_a_signal_while_it_makes_the_fault_leaves_nothing(running: list[Running]) -> None:
    chance = random.Random(7)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * 3:
        run = Running(QUICK)
        running.append(run)
        run.read_until(f"{QUICK} (fault)")
        time.sleep(chance.uniform(0, 0.7))  # making it takes about as long
        status, _, err = run.end(number)
        assert (status, err) == (2, "whodunnet: interrupted; what the lab had made is gone again\n")
        assert left_of(run.process.pid) == []


@pytest.mark.usefixtures("settings_kept")
@pytest.mark.parametrize(("number", "all_of_it"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_while_a_setting_is_changed_leaves_it_as_before(
    number: signal.Signals, all_of_it: bool, running: list[Running]
) -> None:
    before = host.read(host.TCP_MEM)
    run = Running(WITH_SETTING, "--allow-global")
    running.append(run)
    run.read_until("whodunnet diagnose")
    assert host.read(host.TCP_MEM) != before
    assert left_of(run.process.pid)
    status, out, err = run.end(number, all_of_it=all_of_it)
    assert (status, err) == (2, "whodunnet: interrupted; what the lab had made is gone again\n")
    assert "To be named" not in out
    assert host.read(host.TCP_MEM) == before
    assert left_of(run.process.pid) == []
    with host.alone(host.TCP_MEM, seconds=0):  # whoever would still write it back has the lock
        pass


def test_a_killed_run_is_cleaned_up_after(running: list[Running]) -> None:
    run = Running(QUICK)
    running.append(run)
    run.read_until("whodunnet diagnose")
    run.end(signal.SIGKILL)
    wait_until(lambda: not left_of(run.process.pid), 10, lambda: f"left: {left_of(run.process.pid)}")


def test_a_kept_fault_is_there_until_it_is_ended(running: list[Running]) -> None:
    run = Running(QUICK, "--keep")
    running.append(run)
    shown = run.read_until("-server ss -tnmpi")
    assert f"{QUICK} is kept until Ctrl-C or TERM." in shown
    assert " whodunnet diagnose --for" in shown
    assert f"nsenter --net=/run/netns/lab{run.process.pid}-client ss -tnmpi\n" in shown
    assert left_of(run.process.pid)
    status, out, err = run.end(signal.SIGINT)
    assert (status, out, err) == (0, "\nEverything the lab had made is gone again.\n", "")
    assert left_of(run.process.pid) == []


def test_a_case_that_changes_the_machine_is_refused() -> None:
    done = call("run", "tcp-memory-exceeded")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("whodunnet: tcp-memory-exceeded changes the whole machine for a while")
    assert "--allow-global" in done.stderr


def test_a_missing_program_is_named_before_anything_is_started() -> None:
    """On a path on which there is all that a node has, but no nginx."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    hide = 'mount --bind /dev/null "$(command -v nginx)" && exec "$@"'
    done = subprocess.run(
        [*command, hide, "sh", *WHODUNNET, "run", "response-never-read"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    sentence = "whodunnet: response-never-read needs nginx: apt-get install nginx-light\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_where_no_namespace_can_be_made_it_says_so() -> None:
    """Root, but without CAP_SYS_ADMIN."""
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", *WHODUNNET, "run", "never-connected"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("whodunnet: the lab needs network namespaces, and here root may make none: ")
