"""Names in sentences are replaced, whatever they are made of; everything else in them stays."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whodunnet.collectors.kernel_log import KNOWN
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Node, Snapshot
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.recording.redact import Redactor

from .keyed import AT, KEY, address, name


def scrubbed(sentence: str, **workload: Any) -> str:
    redactor = Redactor(KEY)
    redactor.node(Node(hostname="edge-0412.example.com", kernel="6.1", boot_id="8c2b7e90-0000-4000-8000-000000000004"))
    failed = Failure(code="unreadable", reason=sentence)
    samples: dict[str, AnySample] = {"tcp_memory": failed, "workloads": Workloads(by_pid={1: Workload(**workload)})}
    failure = redactor.snapshot(Snapshot(at=AT, samples=samples)).samples["tcp_memory"]
    assert isinstance(failure, Failure)
    return failure.reason


@pytest.mark.parametrize(
    "sentence",
    [
        "/proc/7/ns/net cannot be read: Permission denied",
        "/host/proc/net/sockstat: TCP: mem is missing",
        "/dev/kmsg cannot be read without CAP_SYSLOG (Operation not permitted)",
        "/var/log has none of kern.log, syslog, messages",
        "network namespaces that could not be entered or read: 3 (first reason: /proc/7/ns/net cannot be read: x)",
        "processes outside our pid namespace: without an owner (run with the host's pid namespace)",
        "whether a socket without a descriptor belongs to the kernel (NFS, iSCSI, ...) or is on its way",
        "process 4134187 is gone",
        "the kernel is locked down (confidentiality): BPF programs may not read its memory",
        "127.0.0.1 and ::1 stay, and so does 12:30:45",
        *(pattern.pattern for _, pattern in KNOWN),
    ],
)
def test_a_sentence_without_names_stays_as_it_is(sentence: str) -> None:
    assert scrubbed(sentence) == sentence


@pytest.mark.parametrize(
    ("sentence", "pattern"),
    [
        ("edge-0412.example.com is away, EDGE-0412 too", "host-X is away, host-X too"),
        ("nginx: on 10.1.2.3:80", "p-X: on A:80"),
        ("from [2001:db8::5]:443 and 2001:db8::5: gone", "from [A]:443 and A: gone"),
        ("to aa:bb:cc:dd:ee:ff", "to address-X"),
        ("/run/netns/customer one is no longer network namespace 7", "/path-X is no longer network namespace 7"),
        ("the binding does not load: /home/ann/x.so: cannot open", "the binding does not load: /path-X: cannot open"),
        ("/sys/fs/cgroup/acme/x does not exist here", "/path-X does not exist here"),
        ("/usr/bin/my nginx cannot be read: x", "/exe-X cannot be read: x"),
        ("pulled registry.example/edge/app:1", "pulled /path-X"),
        ("/proc/stat: btime is 'it\\'s ann'", "/proc/stat: btime is '(redacted)'"),
        ("is \"ann's\" or 'cut off", "is '(redacted)' or '(redacted)'"),
        ("boot 8c2b7e90-0000-4000-8000-000000000004", "boot U"),
        ("pod5e6f0a11_1111_4111_8111_111111111111.slice", "podU.slice"),
        (f"id {'c0ffee01' * 8}", "id H"),
    ],
)  # fmt: skip
def test_what_is_a_name_in_a_sentence_is_replaced(sentence: str, pattern: str) -> None:
    signs = {
        "X": "[0-9a-f]{10}",
        "A": "[0-9a-f.:]+",
        "U": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "H": "[0-9a-f]{64}",
    }
    expected = re.sub(r"\b[XAUH]\b|(?<=pod)U|(?<=-)X", lambda m: signs[m[0]], re.escape(pattern).replace(r"\-", "-"))
    process = Process(pid=1, comm="nginx", exe="/usr/bin/my nginx")
    found = scrubbed(sentence, process=process)
    assert re.fullmatch(expected, found), found
    assert found != sentence


def test_a_name_in_a_sentence_has_the_pseudonym_it_has_elsewhere() -> None:
    container = Container(id="c0ffee01" * 8, name="worker", cgroup="/", image="i")
    pod = Pod(namespace="jobs", name="queue-6b7c", uid="5e6f0a11-1111-4111-8111-111111111111")
    found = scrubbed(f"{pod.name} {pod.uid} {container.id} worker 10.1.2.3", container=container, pod=pod)
    assert found.split() == [
        name("pod", "queue-6b7c"), name("uid", pod.uid or ""), name("container", container.id),
        name("container name", "worker"), address("10.1.2.3"),
    ]  # fmt: skip


@given(st.text(max_size=200))
def test_any_sentence_is_scrubbed_and_stays_one(sentence: str) -> None:
    assert bool(scrubbed(sentence)) == bool(sentence)


@given(st.text(min_size=5, max_size=15))
@example("\u0130nanc")
@example("(sd-pam)")
def test_a_name_that_stands_in_a_sentence_is_gone_whatever_it_is_made_of(comm: str) -> None:
    found = scrubbed(f"x {comm} y", process=Process(pid=1, comm=comm))
    assert found == f"x {name('process', comm)} y"
