"""A tree of copied files becomes a recording of one moment, of the machine it was copied from and of no other."""

import ast
import os
import shutil
import sys
from pathlib import Path

import pytest

import whodunnet
from whodunnet.collectors.snapshots import COLLECTORS
from whodunnet.collectors.tree.counted import parse_nstat
from whodunnet.collectors.tree.place import OWN
from whodunnet.collectors.tree.reading import READERS, read_tree
from whodunnet.diagnosis.engine import diagnose
from whodunnet.errors import UsageError
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.counters import Counters
from whodunnet.model.descriptors import Descriptors
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.links import Links
from whodunnet.model.neighbours import Neighbours
from whodunnet.model.ports import Ports
from whodunnet.model.sample import Failure
from whodunnet.model.settings import Settings
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.softnet import Softnet
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads
from whodunnet.rules.catalogue import catalogue, needed_collectors

TREES = Path(__file__).parents[3] / "fixtures/trees"
RULES = tuple(catalogue())
SS = "sos_commands/networking/ss_-peaonmi"
PS = "sos_commands/process/ps_axo_pid_ppid_user_group_lwp_nlwp_start_time_comm_cgroup"
SYSCTL = "sos_commands/kernel/sysctl_-a"

opened: list[str] | None = None


def note(event: str, arguments: tuple[object, ...]) -> None:
    if opened is not None and event.split(".")[0] in ("open", "os", "socket", "subprocess", "ctypes", "fcntl"):
        opened.append(f"{event} {arguments[0] if arguments else ''!s}")


sys.addaudithook(note)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(TREES / "sos-4.0", tmp_path / "tree", symlinks=True)
    return tmp_path / "tree"


def read(tree: Path) -> Recording:
    return read_tree(tree, COLLECTORS)


def judged(tree: Path) -> Diagnosis:
    return diagnose(read(tree), RULES)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def reason(diagnosis: Diagnosis, rule: str) -> str:
    return next(n.reason for n in diagnosis.not_checked if n.rule == rule)


def test_a_real_bundle_is_of_its_machine_and_its_moment() -> None:
    recording = read(TREES / "sos-4.0")
    assert (recording.node.hostname, recording.node.kernel) == ("node-a", "6.18.44")
    assert recording.node.boot_id == "0a1b2c3d-0000-4000-8000-00000000f1f7"
    assert recording.node.virtual_machine is True
    assert len(recording.snapshots) == 1
    assert recording.snapshots[0].at.wall.year == 2026
    assert recording.snapshots[0].at.boot_seconds > 60_000
    assert "not a machine that runs" in recording.notes[0]


def test_every_file_of_a_real_bundle_feeds_its_sample() -> None:
    recording = read(TREES / "sos-4.0")
    failed = {n for n, s in recording.snapshots[0].samples.items() if isinstance(s, Failure)}
    assert failed == {
        "devices", "memory_cgroups", "connections", "retransmissions", "stalls", "cpu_quota",  # in no tree
        "clock", "descriptors",  # the machine of this one had no systemd, and many files left
    }  # fmt: skip
    memory, counters, settings = recording.last(TcpMemory), recording.last(Counters), recording.last(Settings)
    assert memory is not None
    assert (memory.max_pages, memory.max_orphans, memory.page_size_bytes) == (575802, 131072, 4096)
    assert memory.cpus == 2
    assert counters is not None
    assert counters.value(OWN, "Tcp.ActiveOpens")
    assert settings is not None
    assert settings.by_netns[OWN].number("net.core.somaxconn") == 4096
    conntrack, neighbours, softnet = recording.last(Conntrack), recording.last(Neighbours), recording.last(Softnet)
    assert conntrack is not None
    assert (conntrack.loaded, conntrack.max_entries) == (True, 262144)
    assert neighbours is not None
    assert neighbours.ipv4 is not None
    assert neighbours.ipv4.max_entries == 1024
    assert softnet is not None
    assert set(softnet.by_cpu) == {0, 1}
    links, log = recording.last(Links), recording.last(KernelLog)
    assert links is not None
    assert list(links.by_netns[OWN]) == ["eth0"]
    assert log is not None
    assert log.source == "sos_commands/kernel/dmesg"


def test_every_collector_has_a_sample_or_a_reason() -> None:
    assert read(TREES / "sos-4.0").snapshots[0].samples.keys() == set(COLLECTORS)
    assert set(READERS) <= set(COLLECTORS)


def test_of_an_empty_tree_nothing_is_judged_and_nothing_is_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "hostname").write_text("elsewhere\n")
    diagnosis = judged(tmp_path)
    assert diagnosis.node.hostname == "elsewhere"
    assert diagnosis.node.kernel == "unknown"
    assert (diagnosis.findings, diagnosis.cleared, diagnosis.not_applicable) == ((), (), ())
    assert {n.rule for n in diagnosis.not_checked} == set(RULES)
    assert diagnosis.outcome == "incomplete"


def test_nothing_outside_of_the_tree_is_opened(tree: Path, tmp_path: Path) -> None:
    global opened
    (tmp_path / "empty").mkdir()
    read(tree)  # imports what it needs
    before = Path.cwd()
    os.chdir(tmp_path / "empty")  # so that a name without its directory leads nowhere
    opened = noted = []
    try:
        recording = read(tree)
    finally:
        opened = None
        os.chdir(before)
    assert recording.last(Sockets) is not None
    paths = {event.partition(" ")[2] for event in noted if event.startswith("open ")}
    assert len(paths) > 30
    assert {path for path in paths if "/" in path} == {str(tree), "/proc/self/mountinfo"}  # the latter to refuse `/`
    assert {event.partition(" ")[0] for event in noted} <= {"open", "os.scandir"}


@pytest.mark.parametrize("package", ["kernel/tree", "collectors/tree"])
def test_no_module_knows_where_this_machine_is(package: str) -> None:
    machine = {f"whodunnet.kernel.{name}" for name in ("roots", "namespaces", "host", "journal", "cgroupfs")}
    for path in sorted((Path(whodunnet.__file__).parent / package).glob("*.py")):
        tree = ast.parse(path.read_text())
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & machine, path
        assert not any(name.startswith("whodunnet.kernel.bpf") for name in imported), path
        called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not called & {"clock_gettime", "time", "sysconf", "uname", "gethostname", "environ"}, path


def test_a_machine_that_runs_is_no_tree() -> None:
    with pytest.raises(UsageError, match="a machine that runs"):
        read_tree(Path("/"), COLLECTORS)


def test_a_tree_whose_proc_is_a_link_to_ours_shows_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    diagnosis = judged(tmp_path)
    assert (diagnosis.findings, diagnosis.cleared, diagnosis.not_applicable) == ((), (), ())


def test_a_directory_above_the_tree_says_where_it_is(tree: Path) -> None:
    with pytest.raises(UsageError, match=r"neither proc nor sos_commands.*; tree in it has"):
        read(tree.parent)


@pytest.mark.parametrize("name", ["bundle.tar.xz", "missing"])
def test_what_is_no_directory_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "bundle.tar.xz").write_text("x")
    with pytest.raises(UsageError, match="cannot be read as a directory"):
        read(tmp_path / name)


def test_nobody_is_told_to_look_at_copied_files_for_longer(tree: Path) -> None:
    rules = list(catalogue())
    found = diagnose(read_tree(tree, needed_collectors(rules)), rules)
    assert any("one reading" in answer.reason for answer in found.not_checked)
    assert not any("look for longer" in answer.reason for answer in found.not_checked)


def test_a_finding_of_a_tree_is_no_more_than_possible(tree: Path) -> None:
    change(tree / SYSCTL, "net.ipv4.tcp_mem = 287901\t383869\t575802", "net.ipv4.tcp_mem = 1\t2\t3")
    change(tree / "proc/net/sockstat", " mem ", " mem 9")
    diagnosis = judged(tree)
    (finding,) = [f for f in diagnosis.findings if f.rule == "tcp-memory"]
    assert (finding.severity, finding.confidence) == ("critical", "possible")
    assert {f.confidence for f in diagnosis.findings} == {"possible"}


def test_a_reader_that_ss_shows_is_named_with_its_unit(tree: Path) -> None:
    shutil.copy(TREES / "ss-6.1.txt", tree / SS)
    (tree / "proc/net/tcp").unlink()  # the kernel's own table of the same moment is not there
    ps = f"{16150:5}     1 root     root     16150    1 01:33 python3         0::/system.slice/front.service\n"
    (tree / PS).write_text((tree / PS).read_text() + ps)
    recording = read(tree)
    sockets, workloads = recording.last(Sockets), recording.last(Workloads)
    assert sockets is not None
    assert sockets.method == "sock_diag"
    assert {(g.symptom, g.owner_pid) for g in sockets.groups if g.unread_bytes > 16_384} == {("unread", 16150)}
    assert (sockets.time_wait, sockets.all_processes) == (2, True)
    assert [(q.waiting, q.limit) for q in sockets.accept_queues] == [(1, 5), (0, 128)]
    assert workloads is not None
    assert workloads.by_pid[16150].unit == "front.service"
    assert workloads.by_pid[16150].process is not None
    assert workloads.by_pid[16150].process.comm == "python3"


def test_a_unit_is_not_taken_from_another_process_of_that_pid(tree: Path) -> None:
    shutil.copy(TREES / "ss-6.1.txt", tree / SS)
    (tree / "proc/net/tcp").unlink()
    ps = f"{16150:5}     1 root     root     16150    1 01:33 other           0::/system.slice/other.service\n"
    (tree / PS).write_text((tree / PS).read_text() + ps)
    workloads = read(tree).last(Workloads)
    assert workloads is not None
    assert workloads.by_pid[16150].unit is None


def test_sockets_that_the_kernels_table_has_not_are_lost_and_counted(tree: Path) -> None:
    shutil.copy(TREES / "ss-6.1.txt", tree / SS)
    recording = read(tree)
    sockets = recording.last(Sockets)
    assert sockets is not None
    assert {g.sockets for g in sockets.groups if g.holding == "descriptor"} == set()
    assert recording.costs["sockets"].lost > 5


def test_ports_are_counted_of_the_range_that_the_tree_says(tree: Path) -> None:
    shutil.copy(TREES / "ss-6.1.txt", tree / SS)
    (tree / "proc/net/tcp").unlink()
    ports = read(tree).last(Ports)
    assert ports is not None
    (use,) = [use for use in ports.by_netns[OWN].uses or () if use.destination.port == 7777]
    assert (use.open, use.time_wait) == (3, 1)


def test_without_ss_sockets_are_not_checked(tree: Path) -> None:
    (tree / SS).unlink()
    diagnosis = judged(tree)
    assert reason(diagnosis, "socket-leak") == f"{SS} is not in the tree"
    assert diagnosis.outcome == "incomplete"


def test_a_command_that_failed_is_not_taken_for_an_answer(tree: Path) -> None:
    (tree / SS).write_text("bash: line 1: ss: command not found\n")
    assert "does not begin with the columns of ss" in reason(judged(tree), "socket-leak")


def test_namespaces_with_names_are_read_and_the_others_counted(tree: Path) -> None:
    networking = tree / "sos_commands/networking"
    (networking / "ip_netns").write_text("cni-1 (id: 0)\ncni-2\n../../etc\n")
    (networking / "namespaces/cni-1").mkdir(parents=True)
    (networking / "namespaces/cni-1/ip_netns_exec_cni-1_nstat_-zas").write_text("#kernel\nUdpRcvbufErrors   7   0.0\n")
    (networking / "ip_netns_exec_cni-2_sysctl_-a").write_text("net.core.somaxconn = 128\n")
    recording = read(tree)
    counters, settings = recording.last(Counters), recording.last(Settings)
    assert counters is not None
    assert counters.by_netns[OWN + 1] == {"Udp.RcvbufErrors": 7}
    assert (counters.netns_read, counters.netns_unread) == (2, 2)
    assert settings is not None
    assert settings.by_netns[OWN + 2].number("net.core.somaxconn") == 128
    assert "2 is cni-1, 3 is cni-2" in recording.notes[-1]


def test_what_nstat_prints_has_the_names_of_the_files() -> None:
    text = b"#kernel\nIpInReceives          12          0.0\nUdp6InErrors 3 0.0\nTcpExtListenDrops 4 0.0\n"
    assert parse_nstat(text) == {"Ip.InReceives": 12, "Udp6.InErrors": 3, "TcpExt.ListenDrops": 4}


def test_connection_tracking_that_no_setting_knows_is_not_loaded(tree: Path) -> None:
    text = (tree / SYSCTL).read_text()
    (tree / SYSCTL).write_text("".join(line for line in text.splitlines(True) if "conntrack" not in line))
    conntrack = read(tree).last(Conntrack)
    assert conntrack is not None
    assert not conntrack.loaded


def test_without_settings_nobody_says_that_it_is_not_loaded(tree: Path) -> None:
    (tree / SYSCTL).unlink()
    assert "nf_conntrack_count" in reason(judged(tree), "conntrack-table")


def test_tracked_connections_are_read_as_text(tree: Path) -> None:
    change(tree / SYSCTL, "nf_conntrack_count = 0", "nf_conntrack_count = 1")
    entry = "ipv4 2 tcp 6 431999 ESTABLISHED src=192.0.2.1 dst=192.0.2.2 sport=40000 dport=80 "
    entry += "src=192.0.2.2 dst=192.0.2.1 sport=80 dport=40000 [ASSURED] mark=0 zone=0 use=2\n"
    (tree / "proc/net/nf_conntrack").write_text(entry)
    conntrack = read(tree).last(Conntrack)
    assert conntrack is not None
    assert (conntrack.entries_read, conntrack.groups[0].source) == (1, "192.0.2.1")


def test_descriptors_of_the_machine_count_only_near_the_limit(tree: Path) -> None:
    diagnosis = judged(tree)
    assert "files open" in reason(diagnosis, "descriptor-limit")
    text = (tree / SYSCTL).read_text().split("\n")
    lines = ["fs.file-nr = 99\t0\t100" if line.startswith("fs.file-nr") else line for line in text]
    (tree / SYSCTL).write_text("\n".join(lines))
    descriptors = read(tree).last(Descriptors)
    assert descriptors is not None
    assert (descriptors.open_files, descriptors.max_files) == (99, 100)


@pytest.mark.parametrize("hostile", ["pipe", "directory", "outside", "huge", "binary", "empty", "unreadable"])
def test_a_hostile_file_is_not_checked_and_the_rest_is(tree: Path, tmp_path: Path, hostile: str) -> None:
    (tmp_path / "secret").write_text("sockets: used 1\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n")
    target = tree / "proc/net/sockstat"
    target.unlink()
    if hostile == "pipe":
        os.mkfifo(target)
    elif hostile == "directory":
        target.mkdir()
    elif hostile == "outside":
        target.symlink_to(tmp_path / "secret")
    elif hostile == "huge":
        target.write_bytes(b"x" * 8192)
        os.truncate(target, 1 << 40)
    else:
        target.write_bytes({"binary": os.urandom(100), "empty": b"", "unreadable": b"\0"}[hostile])
    diagnosis = judged(tree)
    assert reason(diagnosis, "tcp-memory")
    assert "settings" in {answer.rule for answer in (*diagnosis.cleared, *diagnosis.findings)}


def test_every_file_of_a_tree_may_be_damaged(tree: Path) -> None:
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in files:
        whole = path.read_bytes()
        for piece in (whole[: len(whole) // 2], bytes(100), whole[:40] + b"99999999999999999999" + whole[40:]):
            path.write_bytes(piece)
            diagnosis = judged(tree)
            answers = (*diagnosis.findings, *diagnosis.cleared, *diagnosis.not_checked, *diagnosis.not_applicable)
            assert {answer.rule for answer in answers} == set(RULES), path
        path.write_bytes(whole)
