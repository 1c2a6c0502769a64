"""Completion as the shells do it: each test asks a real bash, zsh or fish."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from whodunnet.cli.completion import SHELLS, script
from whodunnet.cli.main import VERBS, whodunnet
from whodunnet.rules.catalogue import catalogue

PATIENCE_SECONDS = 20
PROGRAM = f"""#!{sys.executable}
from whodunnet.cli.main import run
run()
"""
Complete = Callable[[str], list[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """whodunnet in the path, and a home in which no shell has a configuration."""
    program = tmp_path / "bin/whodunnet"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(tmp_path),
        "ZDOTDIR": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }


@pytest.fixture(params=SHELLS)
def complete(request: pytest.FixtureRequest, environment: dict[str, str]) -> Complete:
    """What a shell offers for the end of a line."""
    shell = str(request.param)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ask = {"bash": by_bash, "zsh": by_zsh, "fish": by_fish}[shell]
    return lambda line: ask(line, environment)


def output_of(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def by_bash(line: str, environment: dict[str, str]) -> list[str]:
    words = line.split(" ")
    ask = (
        "source <(whodunnet completion bash); "
        'function=$(complete -p whodunnet | grep -o "_[a-z_]*completion"); '
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "$function" whodunnet; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return output_of(environment, "bash", "--norc", "-c", ask, "bash", *words).split()


def by_fish(line: str, environment: dict[str, str]) -> list[str]:
    ask = "whodunnet completion fish | source; complete -C $argv[1]"
    shown = output_of(environment, "fish", "--no-config", "-c", ask, line)
    return [offer.partition("\t")[0] for offer in shown.splitlines()]


def by_zsh(line: str, environment: dict[str, str]) -> list[str]:
    """zsh completes on a terminal only: its own functions that show the offers write them down instead."""
    begin = (
        "autoload -Uz compinit && compinit -D -u; source <(whodunnet completion zsh); "
        'compadd() { while [[ $1 == -* && $1 != -a ]]; do [[ $1 == -V ]] && shift; shift; done; '
        '[[ $1 == -a ]] && print -rl -- ${(P)2} >>$HOME/offers }; '
        '_describe() { print -rl -- ${${(P)3}%%:*} >>$HOME/offers }; '
        '_path_files() { print files >>$HOME/offers }; '
        'done-asking() { : >>$HOME/offers; print -r -- asked >>$HOME/asked }; '
        'ask() { zle complete-word; done-asking }; zle -N ask; bindkey "^T" ask; print -r ready >$HOME/ready\n'
    )  # fmt: skip
    home = Path(environment["HOME"])
    parent, child = pty.openpty()
    shell = subprocess.Popen(["zsh", "-f", "-i"], env=environment, stdin=child, stdout=child, stderr=child)
    try:
        os.write(parent, begin.encode())
        wait_for(home / "ready")
        os.write(parent, f"{line}\x14".encode())
        wait_for(home / "asked")
    finally:
        shell.kill()
        shell.wait()
        os.close(parent)
        os.close(child)
    return (home / "offers").read_text().split()


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.01)


def test_commands_are_completed(complete: Complete) -> None:
    assert complete("whodunnet ") == sorted(VERBS)


def test_the_begin_of_a_command_is_completed(complete: Complete) -> None:
    assert complete("whodunnet expl") == ["explain"]


def test_options_of_a_command_are_completed(complete: Complete) -> None:
    assert sorted(complete("whodunnet sockets --s")) == ["--sort"]


def test_values_of_an_option_are_completed(complete: Complete) -> None:
    assert complete("whodunnet compare --by po") == ["pod"]


@pytest.mark.parametrize("line", ["explain", "diagnose --only"])
def test_names_of_rules_are_completed(complete: Complete, line: str) -> None:
    rule = next(iter(catalogue()))
    assert complete(f"whodunnet {line} {rule[:4]}") == [rule]


def test_behind_an_unknown_command_nothing_is_offered_and_nothing_complains(complete: Complete) -> None:
    assert complete("whodunnet gremlins x") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_is_one_that_the_shell_understands(shell: str, environment: dict[str, str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = Path(environment["HOME"]) / "script"
    path.write_text(output_of(environment, "whodunnet", "completion", shell))
    assert output_of(environment, shell, "-n", str(path)) == ""


@pytest.mark.parametrize("name", ["whodunnet-0.1.0-linux-x86_64", "wd"])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_program_of_another_name_is_completed_by_that_name(
    shell: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = script(shell, whodunnet, name)
    assert name in text
    variable = next(word for word in text.replace("=", " ").split() if word.endswith("_COMPLETE"))
    monkeypatch.setenv(variable, f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", f"{name} expl")
    monkeypatch.setenv("COMP_CWORD", "expl" if shell == "fish" else "1")
    with pytest.raises(SystemExit) as done:
        whodunnet.main([], prog_name=name, standalone_mode=False)
    assert done.value.code == 0
    assert "explain" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "python -m whodunnet", "a;reboot", "$(reboot)", "-x"])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_name_that_no_shell_could_call_is_not_put_into_a_script(shell: str, name: str) -> None:
    assert script(shell, whodunnet, name) == script(shell, whodunnet, "whodunnet")


def test_no_process_is_started_to_write_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for shell in SHELLS:
        assert "_WHODUNNET_COMPLETE" in script(shell, whodunnet, "whodunnet")


def test_commands_are_completed_without_loading_one() -> None:
    program = "import sys; from whodunnet.cli import main; before = set(sys.modules); " + (
        "offers = main.whodunnet.shell_complete(__import__('click').Context(main.whodunnet), ''); "
        "print(len(offers), [m for m in set(sys.modules) - before if m.startswith('whodunnet.')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert shown.stdout == f"{len(VERBS)} []\n"


def test_help_says_how_to_install_it() -> None:
    command = whodunnet.get_command(click.Context(whodunnet), "completion")
    assert command is not None
    assert command.help
    for shell in SHELLS:
        assert f"whodunnet completion {shell}" in command.help
