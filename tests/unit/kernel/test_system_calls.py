import platform
import re
import shutil
import subprocess

import pytest

from whodunnet.kernel.system_calls import _LISTS, _NAMES, read_names, system_call_name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_lists_agree_where_machines_share_their_numbers(machine: str) -> None:
    names = read_names(_LISTS[machine])
    assert (names[424], names[435], names[450]) == ("pidfd_send_signal", "clone3", "set_mempolicy_home_node")
    assert len(set(names.values())) == len(names)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_list_of_this_machine_is_that_of_its_headers() -> None:
    command = ["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    theirs = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", text, re.MULTILINE)}
    assert platform.machine() not in _LISTS or theirs.items() <= _NAMES.items()
    assert len(theirs) > 200


def test_a_number_beyond_the_list_is_shown_as_one() -> None:
    assert system_call_name(100_000) == "system call 100000"
    assert system_call_name(-1) is None
