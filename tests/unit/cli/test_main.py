"""The command line as a user meets it, without a look at the machine."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet import __version__
from whodunnet.cli import diagnose, main
from whodunnet.cli import list as listing
from whodunnet.errors import UnreadableError
from whodunnet.kernel.host import Place
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.diagnosis import Cost, Diagnosis, Outcome, Tool, Window
from whodunnet.model.finding import SEVERITIES, Cleared, Finding, NotChecked, Severity
from whodunnet.model.snapshot import Node, Recording
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.overrides import NONE, Overrides

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
Run = Callable[..., "Result"]


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point with arguments."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["whodunnet", *arguments])
        status: Any = 0
        try:
            main.run()
        except SystemExit as done:
            status = done.code
        return Result(status or 0, *capsys.readouterr())

    return call


class FakeWatch:
    """A window that looks at nothing."""

    place = Place(roots=Roots())
    support = Support(
        capabilities=frozenset(), euid=0, kernel="6", hostname="n1", boot_id="b", page_size_bytes=4096, possible_cpus=1,
        btf=True, lockdown=None, virtual_machine=None, pid_namespace_depth=0, cgroup_layout=None,
    )  # fmt: skip
    recording = Recording(node=Node(hostname="n1", kernel="6", boot_id="b"), snapshots=())
    failure: BaseException | None = None
    wanted: Collection[str] = ()
    bpf = True
    active = False

    def __init__(self, wanted: Collection[str], *, bpf: bool = True, active: bool = False) -> None:
        type(self).wanted, type(self).bpf, type(self).active = wanted, bpf, active

    def __enter__(self) -> FakeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def standing(self) -> object:
        raise AssertionError("only the text report shows what stands")

    def watch(self, seconds: float) -> None:
        assert seconds >= 0
        if self.failure is not None:
            raise self.failure


class Faked:
    """What the faked diagnosis will be, and what was asked for."""

    def __init__(self) -> None:
        self.diagnosis = diagnosis("healthy")
        self.rules: list[str] = []
        self.required: list[str] = []
        self.overrides = NONE


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Faked:
    fake = Faked()

    def judge(recording: Recording, rules: list[str], required: list[str], overrides: Overrides) -> Diagnosis:
        assert recording is FakeWatch.recording
        fake.rules, fake.required, fake.overrides = list(rules), list(required), overrides
        return fake.diagnosis

    monkeypatch.setattr(diagnose, "Watch", FakeWatch)
    monkeypatch.setattr(diagnose, "diagnose", judge)
    monkeypatch.setattr(FakeWatch, "failure", None)
    return fake


def finding(severity: Severity) -> Finding:
    return Finding(
        id="socket-leak:1", rule="socket-leak", reason="SocketLeak", severity=severity, claim="leaks",
        confidence="likely", summary="somebody leaks", title="somebody leaks", last_seen=NOW, parties=(), evidence=(),
    )  # fmt: skip


def diagnosis(outcome: Outcome, *severities: Severity) -> Diagnosis:
    return Diagnosis(
        tool=Tool(__version__),
        node=Node(hostname="n1", kernel="6", boot_id="b"),
        window=Window(start=NOW, end=NOW, seconds=3.0, snapshots=4),
        outcome=outcome,
        findings=tuple(finding(severity) for severity in severities),
        cleared=(Cleared(rule="tcp-memory", sensitivity="now", evidence=()),) if outcome != "incomplete" else (),
        not_checked=(NotChecked(rule="tcp-memory", code="unreadable", reason="no"),) if outcome == "incomplete" else (),
        not_applicable=(),
        cost=Cost(wall_seconds=3.0, cpu_seconds=0.1, peak_rss_bytes=1, collectors={}),
    )


def assert_one_sentence(result: Result, *accepted: str) -> None:
    """Nothing on standard output, one line on standard error that names what is accepted."""
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("whodunnet: ")
    assert result.err.count("\n") == 1
    for name in accepted:
        assert name in result.err


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
    assert "kernel_log" not in FakeWatch.wanted


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


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (UnreadableError("/proc/self/status does not exist"), "cannot judge this node: /proc/self/status does not"),
        (OSError(errno.ENOSPC, "No space left on device"), "output: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "/proc/1"), "/proc/1: Permission denied"),
        (ImportError("no module"), "an error of whodunnet itself: ImportError: no module"),
    ],
)
def test_an_expected_failure_is_one_sentence(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch, failure: BaseException, text: str
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", failure)
    assert_one_sentence(run("diagnose", "--format", "json"), text)


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory", "/usr"),
        ImportError("/lib/x.so: failed to map segment from shared object"),
        SystemError("error return without exception set"),
    ],
)
def test_no_memory_is_known_by_all_its_names(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", failure)
    with pytest.raises(MemoryError):
        run("diagnose", "--format", "json")


def test_an_error_of_our_own_is_one_clean_sentence_and_no_finding(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", IndexError("list \x1b[2J\nindex"))
    result = run("diagnose", "--format", "json")
    assert_one_sentence(result, "an error of whodunnet itself: IndexError: list ", "please report it")
    assert "\x1b" not in result.err


def test_a_developer_sees_where_an_error_of_our_own_came_from(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", ZeroDivisionError("division by zero"))
    monkeypatch.setenv(main.TRACEBACK, "1")
    with pytest.raises(ZeroDivisionError):
        run("diagnose", "--format", "json")


HEADER = b'{"schema": "whodunnet/recording/v1", "node": {"hostname": "n1", "kernel": "6", "boot_id": "b"}}\n'
HOSTILE = {
    "a page of no bytes": b'"tcp_memory": {"type": "tcp_memory", "page_size_bytes": 0, "cpus": 1, "used_pages": 1, '
    b'"orphans": 0, "alloc_sockets": 0, "inuse_sockets": 0, "time_wait_sockets": 0}',
    "a number without end": b'"tcp_memory": {"type": "tcp_memory", "page_size_bytes": 4096, "cpus": 1, "used_pages": '
    + b"9" * 400 + b', "orphans": 0, "alloc_sockets": 0, "inuse_sockets": 0, "time_wait_sockets": 0}',
    "too many ages": b'"sockets": {"type": "sockets", "method": "bpf", "groups": [{"netns": 1, "protocol": "tcp", '
    b'"state": "close-wait", "role": "accepted", "holding": "descriptor", "sockets": 1, "ages": ['
    + b"1," * 12 + b"1]}]}",
    "another sample": b'"tcp_memory": {"type": "workloads"}',
}  # fmt: skip


@pytest.mark.parametrize("verb", ["replay", "compare", "plot"])
@pytest.mark.parametrize("samples", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_recording_is_refused_in_one_sentence(run: Run, tmp_path: Path, verb: str, samples: bytes) -> None:
    path = tmp_path / "node.jsonl"
    snapshots = (b'{"at": {"wall": "2026-03-01T12:00:0%dZ", "boot_seconds": %d}, "samples": {%s}}\n' % (n, n, samples)
                 for n in range(2))  # fmt: skip
    path.write_bytes(HEADER + b"".join(snapshots))
    files = [str(path)] * 2 if verb == "compare" else [str(path)]
    assert_one_sentence(run(verb, *files), f"{path} is damaged: ")


def test_an_interrupt_is_one_sentence_below_the_key_that_was_pressed(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", KeyboardInterrupt())
    result = run("diagnose", "--format", "json")
    assert result == (2, "", f"\nwhodunnet: {main.INTERRUPTED}\n")


def test_an_interrupt_that_python_wraps_while_it_makes_a_class_is_one_too(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setenv(main.TRACEBACK, "1")
    wrapped = RuntimeError("Error calling __set_name__ on 'Field' instance 'buffer' in 'ConsoleThreadLocals'")
    wrapped.__cause__ = KeyboardInterrupt()
    monkeypatch.setattr(FakeWatch, "failure", wrapped)
    assert run("diagnose", "--format", "json") == (2, "", f"whodunnet: {main.INTERRUPTED}\n")


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
