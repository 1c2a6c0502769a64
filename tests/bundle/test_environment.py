"""Nothing of the node changes how it runs, and it runs as a command does."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from .foreign import NO_MOUNTS, Foreign, place_of

SNAPSHOT = ("diagnose", "--for", "0s", "--format", "json")
PAGES = Path(__file__).parents[2] / "docs/rules"
NUMBERS = {"x86_64": {"bpf": 321, "fsopen": 430}, "aarch64": {"bpf": 280, "fsopen": 430}}[platform.machine()]
PR_SET_SECCOMP, FILTER = 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def refusing(name: str) -> Callable[[], None]:
    """A seccomp filter that answers EPERM to one system call, as that of a container does."""
    words = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 1, NUMBERS[name]), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    program = b"".join(struct.pack("HBBI", *word) for word in [*words, (RETURN, 0, 0, ALLOW)])

    def install() -> None:
        code = ctypes.create_string_buffer(program, len(program))
        header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(words) + 1, ctypes.addressof(code)))
        assert ctypes.CDLL(None).prctl(PR_SET_SECCOMP, FILTER, header) == 0

    return install


@pytest.fixture
def hostile(bare: Foreign) -> Foreign:
    """Modules in the way of ours, in the working directory and in a directory that the environment names."""
    for name in ("click", "msgspec", "os", "sitecustomize", "whodunnet"):
        (bare.root / f"{name}.py").write_text("raise SystemExit('taken from the node')")
    return bare


def test_the_environment_and_the_working_directory_do_not_reach_the_interpreter(hostile: Foreign) -> None:
    variables = [f"{name}=/" for name in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "PYTHONUSERBASE", "HOME")]
    variables += ["PYTHONSTARTUP=/os.py", "LD_PRELOAD=/os.py", "PYTHONINSPECT=1", "LD_DEBUG=all", "LD_BIND_NOW=1"]
    answer = hostile.run("--version", words=("/bin/busybox", "env", *variables))
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("whodunnet ")


@pytest.mark.parametrize("locale", ["C", "de_DE.UTF-8", "POSIX", "tr_TR.ISO-8859-9", ""])
def test_any_locale_will_do(bare: Foreign, locale: str) -> None:
    answer = bare.run("explain", "tcp-memory", environment=[f"LANG={locale}", f"LC_ALL={locale}"])
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.strip() == (PAGES / "tcp-memory.md").read_text().strip()


def test_arguments_and_the_exit_status_pass_through(bare: Foreign) -> None:
    answer = bare.run("", "--only", "a b\tc'\"", "*")
    assert answer.status == 2
    assert "there is no command ''" in answer.err
    assert bare.run("explain", "no such thing").status == 2
    assert bare.run("--help").out.startswith("Usage: whodunnet ")


def test_the_process_goes_by_the_commands_name_and_knows_its_file(bare: Foreign) -> None:
    with bare.start("diagnose", "--for", "60s") as process:
        place_of(process)
        assert Path(f"/proc/{process.pid}/comm").read_text() == "whodunnet\n"
        variables = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        assert b"WHODUNNET_BUNDLE=/opt/whodunnet" in variables
        process.kill()


def test_a_filter_that_refuses_bpf_leaves_sock_diag_with_the_reason(bare: Foreign) -> None:
    answer = bare.run(*SNAPSHOT, preexec=refusing("bpf"))
    assert answer.status in (0, 1)
    assert answer.err == ""
    (limit,) = (text for text in answer.document["limits"] if "without BPF" in text)
    assert "the kernel or a security module forbids BPF programs although the rights are there" in limit


def test_a_filter_that_refuses_a_tmpfs_leaves_a_directory(bare: Foreign) -> None:
    with bare.start("diagnose", "--for", "60s", preexec=refusing("fsopen")) as process:
        assert "/whodunnet." in place_of(process)
        process.kill()
    bare.assert_nothing_left()


def test_few_descriptors_are_enough(bare: Foreign) -> None:
    few = ("/bin/busybox", "sh", "-c", 'ulimit -n 20; exec "$@"', "sh")
    for rights in ((), NO_MOUNTS):
        assert bare.run("--version", words=few, rights=rights).status == 0
