"""What ps, ip, tc and dmesg print."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.kernel.tree.files import Tree
from whodunnet.kernel.tree.link_text import PrintedAddress, PrintedQueue, parse_addresses, parse_links, parse_queues
from whodunnet.kernel.tree.log_text import parse_dmesg, read_log
from whodunnet.kernel.tree.ps_text import PrintedProcess, parse_ps
from whodunnet.model.sample import Moment

SOS = Path(__file__).parents[3] / "fixtures/trees/sos-4.0"
NETWORKING = SOS / "sos_commands/networking"
PS = "  PID  PPID USER     GROUP      LWP NLWP START COMMAND         CGROUP\n"
NOW = Moment(wall=datetime(2026, 11, 21, 21, 0, tzinfo=UTC), boot_seconds=3600.0)


def test_the_cgroup_of_a_process_is_read_in_both_versions() -> None:
    v1 = "   12     1 root     root        12    1 01:33 my proc         4:cpu,cpuacct:/a,1:name=systemd:/b\n"
    v2 = "   13     1 root     root        13    1 Nov20 nginx           0::/system.slice/nginx.service\n"
    none = "    2     0 root     root         2    1 01:33 kthreadd        -\n"
    assert parse_ps((PS + v1 + v2 + none).encode()) == {
        12: PrintedProcess(
            "my proc", (CgroupLine(4, ("cpu", "cpuacct"), "/a"), CgroupLine(1, ("name=systemd",), "/b"))
        ),
        13: PrintedProcess("nginx", (CgroupLine(0, (), "/system.slice/nginx.service"),)),
    }


def test_devices_of_a_real_machine_are_read() -> None:
    links, left_out = parse_links((NETWORKING / "ip_-s_-d_link").read_bytes())
    eth0 = next(link for link in links if link.name == "eth0")
    assert left_out == 0
    assert (eth0.kind, eth0.up, eth0.carrier, eth0.loopback) == (None, True, True, False)
    assert eth0.counters["rx_packets"] > 0
    assert {"rx_errors", "rx_dropped", "rx_missed", "tx_errors", "tx_dropped", "tx_packets"} <= eth0.counters.keys()
    assert [link.kind for link in links if link.name == "ifb0"] == ["ifb"]


def test_queues_of_a_real_machine_are_read() -> None:
    queues = parse_queues((NETWORKING / "tc_-s_qdisc_show").read_bytes())
    assert queues["eth0"].kind == "pfifo_fast"
    assert queues["eth0"].packets > 0


def test_only_the_root_queue_counts_as_it_counts_those_below_too() -> None:
    text = b"qdisc mq 0: dev eth0 root \n Sent 9 bytes 8 pkt (dropped 7, overlimits 0 requeues 0)\n"
    text += b"qdisc fq 0: dev eth0 parent :1 limit 1\n Sent 9 bytes 8 pkt (dropped 5, overlimits 0 requeues 0)\n"
    assert parse_queues(text) == {"eth0": PrintedQueue("mq", 8, 7)}


def test_counters_that_do_not_fit_their_titles_leave_the_device_out() -> None:
    text = b"2: eth0: <UP> mtu 1500 qdisc mq\n    RX:  bytes packets errors\n             1 2\n"
    assert parse_links(text) == ([], 1)


def test_addresses_are_read_without_those_of_everybody() -> None:
    text = b"1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 192.0.2.10/24 brd 192.0.2.255 scope global eth0\n"
    text += b"2: eth0    inet6 fe80::1/64 scope link \n3: veth1@if2    inet6 2001:db8::1/64 scope global \n"
    text += b"4: ppp0    inet 192.0.2.1 peer 192.0.2.2/32\n2: eth0    inet 192.0.2.10/77 x\n"
    assert parse_addresses(text) == (
        [PrintedAddress("eth0", "192.0.2.10", 24), PrintedAddress("veth1", "2001:db8::1", 64)], 0,
    )  # fmt: skip


@given(st.binary(max_size=300))
def test_any_bytes_are_devices_or_none(data: bytes) -> None:
    head = b"2: eth0: <UP> mtu 1500 qdisc mq\n"
    parse_links(head + data)
    parse_queues(b"qdisc mq 0: dev eth0 root\n" + data)
    parse_addresses(data)
    parse_ps(PS.encode() + data)
    parse_dmesg(data)


def test_lines_of_dmesg_have_the_stamp_of_the_kernel() -> None:
    text = b"[    1.500000] TCP: out of memory\n[Sat Nov 21 21:11:45 2026] no stamp\nkern  :info  : [  2.000000] two\n"
    assert [(line.boot_seconds, line.text) for line in parse_dmesg(text)] == [(1.5, "TCP: out of memory"), (2.0, "two")]


def test_the_log_of_a_daemon_stands_for_dmesg_with_lines_of_this_boot_only(tmp_path: Path) -> None:
    (tmp_path / "var/log").mkdir(parents=True)
    times = (NOW.wall - timedelta(hours=2), NOW.wall - timedelta(minutes=30))
    lines = [f"{time.isoformat()} node kernel: it was {time:%H}\n" for time in times]
    (tmp_path / "var/log/kern.log").write_text("".join(lines))
    with Tree(tmp_path) as tree:
        log = read_log(tree, NOW)
    assert (log.source, [(line.boot_seconds, line.text) for line in log.lines]) == (
        "var/log/kern.log", [(1800.0, "it was 20")],
    )  # fmt: skip


def test_a_tree_without_a_log_has_none(tmp_path: Path) -> None:
    with Tree(tmp_path) as tree, pytest.raises(UnreadableError, match="no output of dmesg"):
        read_log(tree, NOW)
