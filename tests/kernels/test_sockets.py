"""The sockets collector and the command line under other kernels, on machines that hold exactly the sockets made here.

One module run boots each kernel three times: for the counts, for a leak, and where BPF may not read kernel memory.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, SocketGroup, Sockets

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
WHODUNNET = str(Path(sys.executable).parent / "whodunnet")
PAGE = 4096
TICK_SECONDS = 0.01  # at most, at any HZ
N = {
    "idle": 11, "unread": 7, "close_wait": 6, "never_connected": 5, "reset_by_server": 3, "reset_by_client": 2,
    "shared": 4, "in_flight": 8, "orphans": 9, "waiting": 10, "held": 12, "own_table": 13, "abandoned": 14,
}  # fmt: skip
"""How many of each kind: the methods of scene.Scene, and the namespaces of scene.Namespaces."""

OWN = {
    ("listen", "listener", "descriptor", "none"): 2,
    ("established", "initiated", "descriptor", "none"): N["idle"] + N["unread"] + N["shared"] + N["waiting"],
    ("established", "accepted", "descriptor", "none"): N["idle"] + N["shared"] + N["in_flight"],
    ("established", "accepted", "descriptor", "unread"): N["unread"] + N["orphans"],
    ("established", "accepted", "accept-queue", "none"): N["waiting"],
    ("close-wait", "accepted", "descriptor", "none"): N["close_wait"],
    ("fin-wait-2", "initiated", "descriptor", "none"): N["close_wait"],
    ("fin-wait-1", "initiated", "orphan", "window-closed"): N["orphans"],
}
"""What both methods see alike."""
BY_BPF = {
    "own": OWN
    | {
        ("established", "unconnected", "no-descriptor", "none"): N["in_flight"],
        ("close", "unconnected", "descriptor", "never-connected"): N["never_connected"],
        ("close", "unconnected", "descriptor", "dead"): N["reset_by_server"],
        ("close", "accepted", "descriptor", "dead"): N["reset_by_client"],
    },
    "held": {
        ("listen", "listener", "descriptor", "none"): 2,
        ("established", "initiated", "descriptor", "none"): N["held"],
        ("established", "accepted", "descriptor", "none"): N["held"],
        ("established", "accepted", "descriptor", "unread"): N["abandoned"],
    },
    "own_table": {
        ("listen", "listener", "descriptor", "none"): 1,
        ("established", "initiated", "descriptor", "none"): N["own_table"],
        ("established", "accepted", "descriptor", "none"): N["own_table"],
    },
    "abandoned": {("fin-wait-1", "initiated", "orphan", "window-closed"): N["abandoned"]},
}
BY_SOCK_DIAG = {"own": OWN | {("established", "initiated", "no-descriptor", "none"): N["in_flight"]}}


class Reading(msgspec.Struct):
    """A sample between two looks at sockstat, and between the ages of the youngest and the oldest connection."""

    sample: Sockets
    before: dict[str, int]
    after: dict[str, int]
    youngest: float
    oldest: float


class Scene(msgspec.Struct):
    """What inside/scene.py prints. walk: None where BPF was refused."""

    pid: int
    netns: dict[str, int]
    port: int
    walk: dict[str, float] | None
    bpf: Reading
    bpf_again: Reading
    sock_diag: Reading

    def counts(self, sample: Sockets) -> dict[str, dict[tuple[str, ...], int]]:
        """TCP sockets by namespace and kind."""
        names = {number: name for name, number in self.netns.items()}
        found: dict[str, Counter[tuple[str, ...]]] = {}
        for g in tcp(sample):
            table = found.setdefault(names.get(g.netns or 0, f"unknown {g.netns}"), Counter())
            table[g.state, g.role, g.holding, g.symptom] += g.sockets
        return {name: dict(table) for name, table in found.items()}


def tcp(sample: Sockets) -> list[SocketGroup]:
    return [g for g in sample.groups if g.protocol == "tcp"]


def run_inside(kernel: Kernel, script: str, *arguments: str, kernel_arguments: str = "preempt=none") -> str:
    """Standard output of a script of inside/ under that kernel."""
    command = [sys.executable, "-m", f"inside.{script}", *arguments]
    done = machine.run(kernel, command, HERE, kernel_arguments=kernel_arguments)
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version} {script}: {done.seconds:.0f} s")
    return done.stdout


@pytest.fixture(scope="module")
def scene(kernel: Kernel) -> Scene:
    return msgspec.json.decode(run_inside(kernel, "scene", json.dumps(N)), type=Scene)


@pytest.fixture(scope="module")
def locked_down(kernel: Kernel) -> Scene:
    """The same where the kernel lets nobody read its memory (lockdown), whatever the rights."""
    found = run_inside(
        kernel, "scene", json.dumps(N), kernel_arguments="preempt=none lsm=lockdown lockdown=confidentiality"
    )
    return msgspec.json.decode(found, type=Scene)


def test_bpf_counts_every_socket_exactly(scene: Scene) -> None:
    assert scene.bpf.sample.method == "bpf", scene.bpf.sample.fallback_reason
    assert scene.counts(scene.bpf.sample) == BY_BPF
    assert scene.counts(scene.bpf_again.sample) == BY_BPF
    assert scene.bpf.sample.lost == scene.bpf.sample.other_sockets == 0


def test_the_sums_are_those_of_sockstat(scene: Scene) -> None:
    for reading in (scene.bpf, scene.bpf_again):
        assert reading.before == reading.after  # the machine is at rest
        assert reading.sample.tcp_sockets == reading.after["alloc"]
        assert abs(reading.sample.tcp_memory_bytes // PAGE - reading.after["mem"]) <= 256 * machine.CPUS
        assert sum(g.sockets for g in reading.sample.groups if g.holding == "orphan") == reading.after["orphan"]
        assert reading.sample.time_wait == reading.sample.request_sockets == 0


def test_who_holds_a_descriptor_is_named(scene: Scene) -> None:
    owners = {(g.holding, g.owner_pid) for g in tcp(scene.bpf.sample)}
    assert owners == {("descriptor", scene.pid), *((h, None) for h in ("accept-queue", "orphan", "no-descriptor"))}
    assert sum(g.shared for g in tcp(scene.bpf.sample)) == N["shared"]


def test_endpoints_follow_the_role(scene: Scene) -> None:
    mine = [g for g in tcp(scene.bpf.sample) if g.netns == scene.netns["own"] and g.state == "close-wait"]
    theirs = [g for g in tcp(scene.bpf.sample) if g.netns == scene.netns["own"] and g.state == "fin-wait-2"]
    assert [(g.endpoint.address, g.endpoint.port) for g in mine if g.endpoint] == [(None, scene.port)]
    assert [(g.endpoint.address, g.endpoint.port) for g in theirs if g.endpoint] == [("127.0.0.1", scene.port)]


def test_the_accept_queue_is_full_by_so_many(scene: Scene) -> None:
    queues = [q for q in scene.bpf.sample.accept_queues if q.waiting]
    (listening,) = queues
    assert listening == AcceptQueue(
        owner_pid=scene.pid, netns=scene.netns["own"], local=listening.local, waiting=N["waiting"], limit=32, requests=0
    )


def test_nothing_moved_between_two_passes(scene: Scene) -> None:
    compared = [g for g in tcp(scene.bpf_again.sample) if g.unchanged is not None]
    assert all(g.unchanged == g.sockets for g in compared)
    assert {(g.symptom, g.holding) for g in compared} == {
        ("unread", "descriptor"), ("never-connected", "descriptor"), ("dead", "descriptor"), ("none", "accept-queue"),
        ("window-closed", "orphan"),
    }  # fmt: skip


def test_every_namespace_and_hash_table_is_walked(scene: Scene) -> None:
    assert scene.bpf.sample.netns_total == len(scene.netns)
    assert scene.walk is not None
    assert scene.walk["tables"] == 2  # the one that most share, and that of own_table


def test_hz_is_that_of_the_kernel(scene: Scene, kernel: Kernel) -> None:
    assert scene.walk is not None
    assert f"{scene.walk['hz']:.0f}" == kernel.option("HZ")


@pytest.mark.parametrize("method", ["bpf", "bpf_again", "sock_diag"])
def test_ages_are_those_of_tcp_info(scene: Scene, method: str) -> None:
    reading: Reading = getattr(scene, method)
    ages = Counter(c for g in aged(scene, reading.sample) for c, n in enumerate(g.ages) if n)
    first, last = (age_class(s) for s in (reading.youngest - TICK_SECONDS, reading.oldest + TICK_SECONDS))
    assert set(ages) <= set(range(first, last + 1))
    assert all(sum(g.ages) == g.sockets for g in aged(scene, reading.sample))


def aged(scene: Scene, sample: Sockets) -> list[SocketGroup]:
    """Connections whose ages inside/scene.py read too."""
    here = [g for g in tcp(sample) if g.netns == scene.netns["own"] and g.holding == "descriptor"]
    found = [g for g in here if g.state in ("established", "close-wait", "fin-wait-2")]
    assert found
    return found


def age_class(seconds: float) -> int:
    return bisect_right(AGE_BOUNDS_SECONDS, seconds)


def test_sock_diag_counts_what_it_can_see(scene: Scene) -> None:
    assert scene.sock_diag.sample.method == "sock_diag"
    assert scene.counts(scene.sock_diag.sample) == BY_SOCK_DIAG
    assert sum(g.shared for g in tcp(scene.sock_diag.sample)) == N["shared"]
    assert scene.sock_diag.sample.lost == 0


def test_the_longest_step_is_reported(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    steps = [r.sample.longest_step_seconds for r in (scene.bpf, scene.bpf_again)]
    record_property("longest_step_seconds", steps)  # emulation says nothing about how long it may be
    assert min(steps) > 0


def test_where_bpf_is_refused_sock_diag_answers(locked_down: Scene) -> None:
    sample = locked_down.bpf.sample
    assert sample.method == "sock_diag"
    assert locked_down.counts(sample) == BY_SOCK_DIAG
    assert sample.missing_capability is None  # no right would help
    assert sample.fallback_reason


class Leak(msgspec.Struct):
    """What inside/leak.py prints: two pids, and by name the answers of the commands."""

    reader: int
    server: int
    answers: dict[str, dict[str, Any]]

    def diagnosis(self, name: str) -> dict[str, Any]:
        return json.loads(self.answers[name]["stdout"])  # type: ignore[no-any-return]


CONNECTIONS, RESPONSE_BYTES, AGE_SECONDS = 200, 100_000, 10
DIAGNOSE = [WHODUNNET, "diagnose", "--for", "2s", "--format", "json"]
COMMANDS = {
    "bpf": DIAGNOSE,
    "no_bpf": [*DIAGNOSE, "--no-bpf"],
    "without_bpf_rights": ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", *DIAGNOSE],
    "without_rights": ["setpriv", "--bounding-set=-all", *DIAGNOSE],
}


@pytest.fixture(scope="module")
def leak(kernel: Kernel) -> Leak:
    size = (str(CONNECTIONS), str(RESPONSE_BYTES), str(AGE_SECONDS))
    return msgspec.json.decode(run_inside(kernel, "leak", *size, json.dumps(COMMANDS)), type=Leak)


def only_finding(leak: Leak, name: str) -> dict[str, Any]:
    """Beside what is worth knowing of any such machine (nobody keeps its clock), which accuses nobody."""
    assert leak.answers[name]["status"] == 1, leak.answers[name]["stderr"]
    found: list[dict[str, Any]] = leak.diagnosis(name)["findings"]
    (worst,) = [f for f in found if f["severity"] != "info"]
    assert {(f["rule"], p["role"]) for f in found if f is not worst for p in f["parties"]} <= {("clock", "victim")}
    return worst


@pytest.mark.parametrize(
    ("name", "method"), [("bpf", "bpf"), ("no_bpf", "sock_diag"), ("without_bpf_rights", "sock_diag")]
)
def test_diagnose_names_who_never_reads(leak: Leak, kernel: Kernel, name: str, method: str) -> None:
    found = only_finding(leak, name)
    assert (found["rule"], found["shape"], found["confidence"]) == ("socket-leak", "response-never-read", "proven")
    culprits = [p for p in found["parties"] if p["role"] == "culprit"]
    assert [(p["process"]["pid"], p["process"]["comm"], p["sockets"]) for p in culprits] == [
        (leak.reader, "foo-health", CONNECTIONS)
    ]
    assert leak.server not in [p["process"]["pid"] for p in culprits]
    assert any(f"({method})" in e["source"] for e in found["evidence"])
    assert leak.diagnosis(name)["node"]["kernel"] == kernel.version


def test_without_any_right_the_leak_is_found_and_nobody_accused(leak: Leak) -> None:
    found = only_finding(leak, "without_rights")
    assert found["shape"] == "response-never-read"
    assert found["confidence"] != "proven"
    assert not [p for p in found["parties"] if p.get("process")]
    assert any("(sock_diag)" in e["source"] for e in found["evidence"])
