"""The command line as a user meets it, without a look at the machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet import __version__
from whodunnet.cli import list as listing
from whodunnet.cli import main
from whodunnet.kernel.support import Support
from whodunnet.model.diagnosis import Diagnosis, Outcome
from whodunnet.model.finding import SEVERITIES, Severity
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.connection_sight import too_few
from whodunnet.rules.overrides import Overrides

from .faked import Faked, FakeWatch, Run, assert_one_sentence, diagnosis


def test_the_version_is_printed_and_is_no_failure(run: Run) -> None:
    assert run("--version") == (0, f"whodunnet {__version__}\n", "")
    assert run("-V") == run("--version")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_names_every_command(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.status, result.err) == (0, "")
    for verb, text in main.VERBS.items():
        assert verb in result.out
        assert text.split()[0] in result.out


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_every_command_has_help(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert (result.status, result.err) == (0, "")
    assert f"whodunnet {verb}" in result.out


def test_an_unknown_command_is_told_the_known_ones(run: Run) -> None:
    assert_one_sentence(run("diagnos"), "'diagnos'", *main.VERBS)


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_an_unknown_option_is_named(run: Run, verb: str) -> None:
    assert_one_sentence(run(verb, "--unheard-of"), "--unheard-of")


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (["diagnose", "--format", "xml"], ["text", "json", "npd"]),
        (["diagnose", "--fail-on", "never"], list(SEVERITIES)),
        (["diagnose", "--for", "soon"], ["500ms", "3s", "2m", "1h"]),
        (["diagnose", "--for", "25h"], ["longer than a day"]),
        (["sockets", "--by", "colour"], ["container", "pod", "image", "process", "endpoint", "netns", "state"]),
        (["sockets", "--sort", "name"], ["memory", "sockets", "growth"]),
        (["sockets", "--top", "0"], ["1<=x<=100000"]),
        (["sockets", "--format", "npd"], ["text", "json"]),
    ],
)
def test_an_unknown_value_is_told_the_known_ones(run: Run, arguments: list[str], accepted: list[str]) -> None:
    assert_one_sentence(run(*arguments), *accepted)


@pytest.mark.parametrize("option", ["--only", "--skip", "--require"])
def test_an_unknown_rule_is_told_the_known_ones(run: Run, option: str) -> None:
    assert_one_sentence(run("diagnose", option, "gremlins"), "'gremlins'", *catalogue())


def test_the_page_of_an_unknown_rule_is_told_the_known_ones(run: Run) -> None:
    assert_one_sentence(run("explain", "gremlins"), "'gremlins'", *catalogue())


def test_explain_wants_a_rule(run: Run) -> None:
    assert_one_sentence(run("explain"), "RULE")


def test_skipping_every_rule_leaves_nothing_to_do(run: Run) -> None:
    skips = [word for rule in catalogue() for word in ("--skip", rule)]
    assert_one_sentence(run("diagnose", *skips), "--only", "--skip")


@given(st.text(min_size=1).filter(lambda text: not text.startswith("-") and text not in main.VERBS))
def test_a_hostile_command_name_is_answered_in_one_clean_line(name: str) -> None:
    from click import UsageError

    with pytest.raises(UsageError) as caught:
        main.whodunnet.main([name], standalone_mode=False)
    message = caught.value.format_message()
    assert "\n" not in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("outcome", "severities", "fail_on", "status"),
    [
        ("healthy", (), "warning", 0),
        ("healthy", ("info",), "warning", 0),
        ("healthy", ("info",), "info", 1),
        ("finding", ("warning",), "warning", 1),
        ("finding", ("warning", "info"), "info", 1),
        ("finding", ("warning",), "critical", 0),
        ("finding", ("info", "critical"), "critical", 1),
        ("incomplete", (), "warning", 2),
        ("incomplete", (), "info", 2),
        ("incomplete", ("info",), "warning", 2),
        ("incomplete", ("info",), "info", 1),
    ],
)
def test_the_exit_status_is_the_answer(
    run: Run, faked: Faked, outcome: Outcome, severities: tuple[Severity, ...], fail_on: str, status: int
) -> None:
    faked.diagnosis = diagnosis(outcome, *severities)
    result = run("diagnose", "--format", "json", "--fail-on", fail_on)
    assert (result.status, result.err) == (status, "")
    decoded = msgspec.json.decode(result.out, type=Diagnosis)
    assert (decoded.outcome, len(decoded.findings)) == (outcome, len(severities))


@pytest.mark.parametrize(("fail_on", "status"), [("critical", 0), ("warning", 2)])
def test_what_would_be_a_warning_at_most_leaves_nothing_critical_open(
    run: Run, faked: Faked, fail_on: str, status: int
) -> None:
    faked.diagnosis = replace(diagnosis("incomplete", "info"), not_checked=(too_few("connect-refused"),))
    assert run("diagnose", "--format", "json", "--fail-on", fail_on).status == status


def test_the_default_is_to_fail_on_a_warning(run: Run, faked: Faked) -> None:
    faked.diagnosis = diagnosis("finding", "warning")
    assert run("diagnose", "--format", "npd") == (1, "somebody leaks\n", "")
    faked.diagnosis = diagnosis("healthy", "info")
    assert run("diagnose", "--format", "npd").status == 0


def test_only_and_skip_choose_the_rules_and_their_collectors(run: Run, faked: Faked) -> None:
    assert run("diagnose", "--format", "json").status == 0
    assert faked.rules == list(catalogue())
    assert FakeWatch.bpf
    run("diagnose", "--format", "json", "--only", "tcp-memory", "--require", "tcp-memory", "--no-bpf")
    assert (faked.rules, faked.required, FakeWatch.bpf) == (["tcp-memory"], ["tcp-memory"], False)
    run("diagnose", "--format", "json", "--skip", "tcp-memory")
    assert faked.rules == [rule for rule in catalogue() if rule != "tcp-memory"]
    run("diagnose", "--format", "json", "--only", "socket-leak")
    assert "sockets" in FakeWatch.wanted
    assert "conntrack" not in FakeWatch.wanted


def test_a_configuration_is_read_before_the_window(run: Run, faked: Faked, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[thresholds.socket-leak]\nmin_sockets = 100\n")
    assert run("diagnose", "--format", "json", "--config", str(path)).status == 0
    assert faked.overrides == Overrides(source=str(path), values={"socket-leak": {"min_sockets": 100}})
    path.write_text("[thresholds.socket-leak]\nmin_socket = 100\n")
    FakeWatch.failure = AssertionError("nobody looks")
    assert_one_sentence(run("diagnose", "--config", str(path)), str(path), "'min_socket'", "min_sockets")


@pytest.mark.usefixtures("faked")
def test_what_may_delay_packets_is_asked_for(run: Run) -> None:
    assert run("diagnose", "--format", "json").status == 0
    assert not FakeWatch.active
    run("diagnose", "--format", "json", "--active")
    assert FakeWatch.active


def test_one_line_says_what_the_exit_status_says(run: Run, faked: Faked) -> None:
    faked.diagnosis = diagnosis("healthy", "info")
    assert run("diagnose", "--format", "npd", "--fail-on", "info") == (1, "somebody leaks\n", "")


@pytest.mark.parametrize("options", [("--skip", "tcp-memory"), ("--only", "socket-leak")])
def test_a_rule_cannot_be_required_and_left_out(run: Run, options: tuple[str, str]) -> None:
    assert_one_sentence(run("diagnose", *options, "--require", "tcp-memory"), "--require tcp-memory contradicts")


def test_list_shows_every_rule_and_collector(run: Run) -> None:
    result = run("list")
    assert (result.status, result.err) == (0, "")
    for entry in catalogue().values():
        assert entry.title in result.out
    for name, (_, what) in listing.NEEDS.items():
        assert name in result.out
        assert what in result.out


def test_list_knows_every_collector_that_a_rule_reads() -> None:
    read = {name for entry in catalogue().values() for name in (*entry.required, *entry.optional)}
    assert read <= set(listing.NEEDS)


def with_rights(*capabilities: str, btf: bool = True) -> Support:
    return msgspec.structs.replace(FakeWatch.support, capabilities=frozenset(capabilities), btf=btf)


@pytest.mark.parametrize("name", sorted(listing.NEEDS))
def test_list_says_that_a_collector_can_run_here(name: str) -> None:
    needed, _ = listing.NEEDS[name]
    assert listing.can_run(name, needed, with_rights(*needed)) == "can run here"


@pytest.mark.parametrize(
    ("name", "missing"), [(name, one) for name, (needed, _) in listing.NEEDS.items() for one in needed]
)
def test_list_names_the_right_that_is_missing_and_what_it_does_without(name: str, missing: str) -> None:
    needed, _ = listing.NEEDS[name]
    answer = listing.can_run(name, needed, with_rights(*(set(needed) - {missing})))
    assert answer.startswith(f"needs {missing} for its full answer; ")


@pytest.mark.parametrize(("name", "instead"), [("sockets", "sock_diag"), ("connections", "counters")])
def test_list_says_when_the_kernel_is_what_is_missing(name: str, instead: str) -> None:
    rights = with_rights("CAP_BPF", "CAP_PERFMON", btf=False)
    answer = listing.can_run(name, listing.NEEDS[name][0], rights)
    assert answer.startswith(f"falls back to {instead}: this kernel does not describe its types")
