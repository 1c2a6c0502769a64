from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.finding import Remedy
from whodunnet.model.text import clean
from whodunnet.model.workload import Container, Pod, Workload, Workloads
from whodunnet.rules import remedies

from .nodes import PAGE, finding, findings, in_container, leak, memory_of, process, tcp_memories

HOSTILE = "a b'; rm -rf / #$(id)`id`\"\n\x1b[2J\u202e"
ALONE = Container(id="c" * 64, name=HOSTILE, cgroup="/c")


def restart(workload: Workload) -> Remedy:
    found = remedies.restart(workload, "frees it", "it starts again")
    assert found is not None
    return found


def command(workload: Workload) -> list[str]:
    found = restart(workload).command
    assert found is not None
    return shlex.split(found)


def of_pod(name: str | None = "web-1", namespace: str | None = "shop", static: bool = False) -> Workload:
    return Workload(process=process(7), container=ALONE, pod=Pod(namespace=namespace, name=name, static=static))


def test_a_pod_is_deleted_and_what_that_risks_is_said() -> None:
    found = restart(of_pod())
    assert found.command == "kubectl delete pod --namespace=shop -- web-1"
    assert found.effect == "frees it"
    assert "it starts again" in found.risk
    assert "if it keeps state" in found.risk


def test_a_static_pod_is_never_deleted() -> None:
    found = restart(of_pod(static=True))
    assert found.command is None
    assert "manifest" in found.do


@pytest.mark.parametrize("pod", [of_pod(name=None), of_pod(namespace=None)], ids=["no name", "no namespace"])
def test_a_pod_that_is_not_fully_known_is_not_deleted(pod: Workload) -> None:
    found = restart(pod)
    assert (found.action, found.command) == ("restart-workload", None)


def test_a_container_without_pod_has_no_command_that_could_be_wrong() -> None:
    assert restart(Workload(process=process(7), container=ALONE)).command is None


def test_a_service_is_restarted_and_a_scope_is_not() -> None:
    assert command(Workload(process=process(7), unit="web.service"))[-1] == "web.service"
    assert command(Workload(process=process(7), unit="session-1.scope")) == ["kill", "7"]


def test_a_process_of_nobody_is_ended_by_its_number() -> None:
    assert command(Workload(process=process(7, comm=HOSTILE))) == ["kill", "7"]


def test_nobody_known_is_nobody_to_restart() -> None:
    assert remedies.restart(None, "", "") is None
    assert remedies.restart(Workload(netns=1), "", "") is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_name_is_one_word_of_a_command(name: str, namespace: str) -> None:
    words = command(of_pod(name, namespace))
    assert words == ["kubectl", "delete", "pod", f"--namespace={clean(namespace, 4096)}", "--", clean(name, 4096)]


@given(st.text(min_size=1))
def test_every_unit_is_one_word_of_a_command(name: str) -> None:
    words = command(Workload(process=process(7), unit=f"{name}.service"))
    assert words == ["systemctl", "restart", "--", clean(f"{name}.service", 4096)]


def test_hostile_names_are_cleaned_and_quoted() -> None:
    found = restart(of_pod(HOSTILE, HOSTILE)).command
    assert found is not None
    assert found.isprintable()
    assert len(shlex.split(found)) == 6


@pytest.mark.parametrize("kind", ["response-never-read", "close-forgotten", "never-connected", "accept-not-called"])
def test_keeping_the_evidence_comes_first_and_the_cure_last(kind: str) -> None:
    actions = [r.action for r in finding(leak(kind, [300, 330], age=400, each=PAGE)).remedies]
    assert (actions[0], actions[-1]) == ("capture", "fix-application")
    assert "restart-workload" in actions


def test_a_leak_of_a_static_pod_says_no_deletion() -> None:
    node = leak(
        "response-never-read", [90, 90], age=60, workloads=Workloads(by_pid=in_container("dns", 7, static=True))
    )
    assert not any("delete" in (r.command or "") for r in finding(node).remedies)


@pytest.mark.parametrize(("used", "tuned"), [(9_999, False), (10_000, True)])
def test_raising_the_limit_is_offered_only_while_memory_is_short(used: int, tuned: bool) -> None:
    node = leak("response-never-read", [90, 90], age=60, each=PAGE, memory=memory_of(used))
    assert ("tune" in [r.action for r in finding(node).remedies]) is tuned


def test_raising_the_limit_doubles_all_three_and_says_what_it_takes() -> None:
    found = remedies.raise_limit(memory_of(9_000), None)
    assert found is not None
    assert shlex.split(found.command or "") == ["sysctl", "-w", "net.ipv4.tcp_mem=15000 20000 30000"]
    assert "0.1 GiB more" in found.risk
    assert "as long again as it took to fill" in found.effect


@pytest.mark.parametrize("unknown", ["low_pages", "pressure_pages", "max_pages"])
def test_raising_a_limit_that_is_not_known_is_not_offered(unknown: str) -> None:
    assert remedies.raise_limit(memory_of(9, **{unknown: None}), None) is None


@pytest.mark.parametrize(("each", "frees"), [(2**14, "frees 1 MiB of TCP memory"), (2**14 - 1, "frees 64 sockets")])
def test_a_restart_says_what_it_frees(each: int, frees: str) -> None:
    found = finding(leak("response-never-read", [64, 64], age=60, each=each))
    assert frees in [r.effect for r in found.remedies]


def test_the_time_that_is_bought_is_told_at_the_present_pace() -> None:
    node = leak("response-never-read", [200, 260], seconds=60, each=PAGE, age=60, memory=memory_of(14_000))
    (tune,) = [r for r in finding(node).remedies if r.action == "tune"]
    assert tune.effect == "buys 4 h 10 min at the present pace"


def test_a_node_is_cordoned_by_a_quoted_name() -> None:
    node = tcp_memories(memory_of(15_000), workloads=Workloads(by_pid={7: of_pod()}))
    node = node.__class__(node=node.node.__class__(hostname=HOSTILE, kernel="", boot_id=""), snapshots=node.snapshots)
    (found,) = findings(node, "tcp-memory")
    (cordon,) = [r.command for r in found.remedies if r.action == "cordon"]
    assert shlex.split(cordon or "") == ["kubectl", "cordon", "--", clean(HOSTILE)]


# --- Found by review -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "workload", [of_pod("--all"), Workload(process=process(7), unit="--now.service")], ids=["pod", "unit"]
)
def test_a_name_is_never_an_option_of_a_command(workload: Workload) -> None:
    words = command(workload)
    assert "--" in words[: words.index(words[-1])]


def test_a_hostname_is_never_an_option_of_a_command() -> None:
    node = tcp_memories(memory_of(15_000), workloads=Workloads(by_pid={7: of_pod()}))
    node = node.__class__(node=node.node.__class__(hostname="--help", kernel="", boot_id=""), snapshots=node.snapshots)
    (found,) = findings(node, "tcp-memory")
    assert "-- --help" in " ".join(r.command or "" for r in found.remedies)


def test_raising_the_limit_is_offered_although_sockets_were_not_read() -> None:
    (found,) = findings(tcp_memories(memory_of(15_000)), "tcp-memory")
    assert "tune" in [r.action for r in found.remedies]


def test_a_machine_without_pods_is_not_cordoned() -> None:
    (found,) = findings(tcp_memories(memory_of(15_000), workloads=Workloads()), "tcp-memory")
    assert "cordon" not in [r.action for r in found.remedies]
