"""The collector pages, and the bounds that the documents name against those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest

from whodunnet.cli.list import NEEDS
from whodunnet.collectors.connections import TCP_COUNTERS, TCP_EXT_COUNTERS
from whodunnet.collectors.snapshots import COLLECTORS
from whodunnet.collectors.tcp_memory import COUNTERS
from whodunnet.kernel.bpf.stalls import Settings

from .pages import DOCS, ROOT, headings, rows, section, text_of

COLLECTOR = pytest.mark.parametrize("collector", COLLECTORS)
SECTIONS = ["Reads", "Needs", "Cannot see", "Bounds and cost", "By hand"]
BOUNDS = (
    ("collectors/tcp_memory", "collectors.tcp_memory", "NAMESPACES_LIMIT"),
    ("collectors/kernel_log", "kernel.kmsg", "RECORDS_A_READ"),
    ("collectors/kernel_log", "kernel.journal", "ENTRIES_A_READ"),
    ("collectors/kernel_log", "collectors.kernel_log", "LINES_KEPT"),
    ("collectors/conntrack", "collectors.conntrack", "NAMESPACES_LIMIT"),
    ("collectors/conntrack", "collectors.conntrack", "INNER_GROUPS"),
    ("collectors/addresses", "collectors.addresses", "NAMESPACES_LIMIT"),
    ("collectors/addresses", "collectors.addresses", "ADDRESSES_PER_NETNS"),
    ("collectors/addresses", "collectors.addresses", "ADDRESSES_LIMIT"),
    ("collectors/devices", "collectors.devices", "DEVICES_LIMIT"),
    ("collectors/devices", "kernel.ethtool", "STRINGS_MAX"),
    ("collectors/links", "collectors.links", "DEVICES_PER_NETNS"),
    ("collectors/links", "collectors.links", "DEVICES_LIMIT"),
    ("collectors/links", "collectors.links", "QUEUES_PER_NETNS"),
    ("collectors/links", "collectors.links", "AGAIN_SECONDS"),
    ("collectors/neighbours", "collectors.neighbours", "ENTRIES_LIMIT"),
    ("collectors/neighbours", "collectors.neighbours", "PLACES_LIMIT"),
    ("collectors/neighbours", "collectors.neighbours", "ASKED_LIMIT"),
    ("collectors/neighbours", "collectors.neighbours", "ASKED_FROM"),
    ("collectors/descriptors", "collectors.descriptors", "MANY"),
    ("collectors/descriptors", "collectors.descriptors", "LISTED"),
    ("collectors/descriptors", "collectors.descriptors", "ABOVE"),
    ("collectors/descriptors", "collectors.descriptors", "LOOKED_AT"),
    ("collectors/descriptors", "kernel.procfs.open_files", "LISTED_MAX"),
    ("collectors/descriptors", "kernel.bpf.refusals", "ROOM"),
    ("collectors/softnet", "kernel.receive_queues", "DEVICES_LIMIT"),
    ("collectors/softnet", "kernel.receive_queues", "QUEUES_LIMIT"),
    ("collectors/softnet", "kernel.receive_queues", "INTERRUPTS_LIMIT"),
    ("collectors/softnet", "kernel.procfs.ksoftirqd", "PROCESSES_MAX"),
    ("collectors/cpu_quota", "collectors.cpu_quota", "CGROUPS_LIMIT"),
    ("collectors/cpu_quota", "collectors.cpu_quota", "LOOK_AGAIN_SECONDS"),
    ("collectors/cpu_pressure", "kernel.procfs.process_times", "PROCESSES_MAX"),
    ("collectors/cpu_pressure", "kernel.procfs.process_times", "THREADS_MAX"),
    ("collectors/cpu_pressure", "collectors.cpu_pressure", "CONSUMERS_MAX"),
    ("collectors/clock", "collectors.clock", "HARDWARE_EVERY_SECONDS"),
    ("collectors/resolvers", "collectors.resolvers", "PROCESSES_MAX"),
    ("collectors/resolvers", "collectors.resolvers", "FILES_MAX"),
    ("collectors/resolvers", "collectors.resolvers", "FILES_OF_ONE"),
    ("collectors/resolvers", "collectors.resolvers", "EVERY_SECONDS"),
    ("collectors/resolvers", "collectors.resolvers", "QUERIES_MAX"),
    ("collectors/resolvers", "collectors.resolvers", "TIMES_ASKED"),
    ("collectors/resolvers", "kernel.resolv_conf", "FILE_BYTES_MAX"),
    ("collectors/resolvers", "kernel.resolv_conf", "SEARCH_MAX"),
    ("collectors/kernel_log", "collectors.kernel_log", "COMPARED_A_READ"),
    ("collectors/kernel_log", "collectors.kernel_log", "KINDS_COMPARED"),
    ("collectors/kernel_log", "collectors.kernel_log", "KINDS_KEPT"),
    ("collectors/sockets", "kernel.bpf.socket_walk", "NAMES_LIMIT"),
    ("collectors/sockets", "collectors.sockets_diag_groups", "NAMES_MAX"),
    ("limitations", "kernel.bpf.socket_walk", "NAMES_LIMIT"),
    ("collectors/memory_cgroups", "kernel.memory_cgroups", "DIRECTORIES_MAX"),
    ("collectors/memory_cgroups", "kernel.memory_cgroups", "CHILDREN_MAX"),
    ("collectors/memory_cgroups", "collectors.memory_cgroups", "DYING_SPARED"),
    ("collectors/memory_cgroups", "collectors.memory_cgroups", "STAT_EVERY_SECONDS"),
    ("collectors/memory_cgroups", "collectors.memory_cgroups", "COUNT_EVERY_SECONDS"),
    ("collectors/connections", "collectors.connections", "GROUPS_LIMIT"),
    ("collectors/connections", "collectors.connections", "MERGED_LIMIT"),
    ("collectors/connections", "collectors.connections", "SPANS_LIMIT"),
    ("collectors/connections", "collectors.connections", "NAMESPACES_LIMIT"),
    ("collectors/connections", "collectors.owner_names", "NAMED_OWNERS"),
    ("collectors/connections", "model.flow_window", "ENDS_IN_WINDOW"),
    ("collectors/retransmissions", "kernel.bpf.repeats", "ROOM"),
    ("collectors/retransmissions", "kernel.bpf.repeats", "FULL"),
    ("collectors/retransmissions", "kernel.bpf.repeats", "KEPT"),
    ("collectors/retransmissions", "kernel.bpf.repeats", "WORTH_SUMMING"),
    ("collectors/retransmissions", "collectors.retransmissions", "DESTINATIONS_LIMIT"),
    ("collectors/stalls", "collectors.stalls", "STALLS_LIMIT"),
    ("collectors/stalls", "collectors.stalls", "STACKS_KEPT"),
    ("collectors/stalls", "model.stall_window", "STALLS_IN_WINDOW"),
    ("collectors/stalls", "kernel.napi_threads", "THREADS_MAX"),
    ("collectors/stalls", "collectors.owner_names", "NAMED_OWNERS"),
    ("collectors/counters", "collectors.counters", "NAMESPACES_LIMIT"),
    ("collectors/settings", "collectors.settings", "NAMESPACES_LIMIT"),
    ("collectors/settings", "collectors.settings", "DEVICES_LIMIT"),
    ("collectors/settings", "collectors.settings", "EVERY_SECONDS"),
    ("collectors/ports", "collectors.ports", "NAMESPACES_LIMIT"),
    ("collectors/ports", "collectors.ports", "SOCKETS_LIMIT"),
    ("collectors/ports", "collectors.ports", "READING_SECONDS_MAX"),
    ("collectors/ports", "collectors.ports", "USES_LIMIT"),
    ("collectors/sockets", "kernel.bpf.socket_walk", "DROPPING_LIMIT"),
    ("collectors/sockets", "collectors.sockets_diag_groups", "DROPPING_MAX"),
    ("collectors/sockets", "kernel.bpf.socket_walk", "STEP_SOCKETS"),
    ("collectors/sockets", "kernel.bpf.socket_walk", "STUCK_SLOTS"),
    ("collectors/sockets", "kernel.bpf.socket_walk", "LISTENER_LIMIT"),
    ("collectors/sockets", "collectors.sockets_diag_groups", "ENDPOINT_GROUPS_MAX"),
    ("collectors/sockets", "collectors.sockets_diag_groups", "STUCK_MAX"),
    ("collectors/sockets", "collectors.sockets_diag_groups", "ACCEPT_QUEUES_MAX"),
    ("collectors/sockets", "collectors.sockets_diag_groups", "POSITIONS_MAX"),
    ("collectors/sockets", "collectors.sockets_diag", "READING_SECONDS_MAX"),
    ("collectors/sockets", "kernel.procfs.descriptors", "DESCRIPTORS_MAX"),
    ("collectors/workloads", "collectors.owner_names", "NAMED_OWNERS"),
    ("collectors/workloads", "kernel.cgroupfs", "MAX_DIRECTORIES"),
    ("collectors/workloads", "collectors.workloads", "MAX_PROCESSES_PER_NETNS"),
    ("limitations", "kernel.bpf.socket_walk", "CHURN_FLOOR"),
    ("limitations", "kernel.bpf.socket_walk", "STUCK_SLOTS"),
    ("limitations", "kernel.bpf.socket_walk", "LISTENER_LIMIT"),
    ("limitations", "collectors.owner_names", "NAMED_OWNERS"),
    ("architecture", "collectors.owner_names", "NAMED_OWNERS"),
    ("architecture", "cli.watch", "SNAPSHOTS_MAX"),
    ("architecture", "kernel.bpf.socket_walk", "STEP_SOCKETS"),
)
MAPS = {
    ("architecture", "groups with endpoint"): "groups",
    ("architecture", "merged groups"): "merged_groups",
    ("architecture", "positions compared between snapshots"): "marks",
    ("architecture", "listeners"): "listeners",
    ("collectors/sockets", "groups with endpoint"): "groups",
    ("collectors/sockets", "groups without"): "merged_groups",
    ("collectors/sockets", "positions remembered"): "marks",
    ("collectors/sockets", "listeners kept"): "listeners",
    ("collectors/sockets", "UDP sockets with drops kept"): "dropping_sockets",
    ("collectors/sockets", "UDP sockets that ask name servers, or are one's, kept"): "name_sockets",
}
"""Page and first cell of a row -> the map of the BPF program whose size is in its second cell."""
FLOW_BOUNDS = ("FLOW_GROUPS_MAX", "MERGED_GROUPS_MAX")


def map_sizes() -> dict[str, int]:
    program = (ROOT / "bpf/sockets.bpf.c").read_text(encoding="utf-8")
    return {name: int(size) for name, size in re.findall(r"^TABLE\((\w+), \w+, \w+, (\d+),", program, re.MULTILINE)}


def page_of(collector: str) -> str:
    return text_of(f"docs/collectors/{collector}.md")


def test_there_is_a_page_for_every_collector_and_no_other() -> None:
    assert {path.stem for path in (DOCS / "collectors").glob("*.md")} == {*COLLECTORS, "README"}
    assert {row[0] for row in rows(text_of("docs/collectors/README.md"))} == {f"[{c}]({c}.md)" for c in COLLECTORS}


@COLLECTOR
def test_a_page_says_what_is_read_in_which_scope_and_how_to_repeat_it(collector: str) -> None:
    page = page_of(collector)
    assert headings(page) == [collector, *SECTIONS]
    assert "```" in section(page, "By hand")
    assert "| scope |" in section(page, "Reads") or "of the whole machine" in section(page, "Reads")


@COLLECTOR
def test_a_page_names_the_capabilities_that_the_list_asks_for(collector: str) -> None:
    needs = section(page_of(collector), "Needs")
    assert not [capability for capability in NEEDS[collector][0] if f"`{capability}`" not in needs]


def test_the_list_shows_every_collector() -> None:
    shown = subprocess.run([sys.executable, "-m", "whodunnet", "list"], check=True, capture_output=True, text=True)
    collectors = shown.stdout.partition("Collectors")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\S+)", collectors, re.MULTILINE) == list(COLLECTORS)


@pytest.mark.parametrize(("page", "module", "name"), BOUNDS)
def test_a_bound_is_the_one_of_the_code(page: str, module: str, name: str) -> None:
    value = getattr(import_module(f"whodunnet.{module}"), name)
    assert re.search(rf"(?<![\d,]){value:,.0f}(?![\d,]*\d)", text_of(f"docs/{page}.md")), f"{name} is {value:,.0f}"


@pytest.mark.parametrize(("page", "row"), MAPS)
def test_the_size_of_a_map_is_that_of_the_program(page: str, row: str) -> None:
    sizes = map_sizes()
    found = {cells[0]: cells[1] for cells in rows(text_of(f"docs/{page}.md"))}
    assert found[row] == f"{sizes[MAPS[page, row]]:,}"


def test_stalls_are_looked_for_as_the_page_says() -> None:
    cells, settings = {row[0]: row[1] for row in rows(page_of("stalls"))}, Settings()
    assert cells["stalls of one CPU in a second"] == str(settings.records_per_second)
    assert f"a clock of {settings.hertz} Hz" in page_of("stalls")
    assert f"begun {settings.threshold_seconds * 1000:.0f} ms later or more" in page_of("stalls")


def test_the_maps_of_connections_are_as_large_as_the_page_says() -> None:
    program = (ROOT / "bpf/connections.bpf.c").read_text(encoding="utf-8")
    remembered = (ROOT / "bpf/include/open_connections.bpf.h").read_text(encoding="utf-8")
    sets = {name: int(size) for name, size in re.findall(r"^#define (SET_\w+) (\d+)", remembered, re.MULTILINE)}
    merged = re.search(r"^TABLE\(merged_ends, \w+, (\d+),", program, re.MULTILINE)
    ends = re.search(r"^struct ends \{.*?max_entries, (\d+)\)", program, re.MULTILINE | re.DOTALL)
    assert merged is not None
    assert ends is not None
    cells = {row[0]: row[1] for row in rows(page_of("connections"))}
    assert cells["connections remembered in BPF"] == f"{sets['SET_SIZE'] << sets['SET_BITS']:,}"
    assert cells["merged ones in BPF"] == f"{int(merged[1]):,}"
    assert cells["groups and classes between two snapshots, in BPF"] == f"{int(ends[1]):,}"


def test_the_groups_of_tracked_connections_are_as_many_as_the_page_says() -> None:
    header = (ROOT / "tools/conntrack_groups.h").read_text(encoding="utf-8")
    finest, merged = (re.search(rf"^#define {name} (\d+)", header, re.MULTILINE) for name in FLOW_BOUNDS)
    assert finest is not None
    assert merged is not None
    cells = {row[0]: row[1] for row in rows(page_of("conntrack"))}
    assert cells["groups"] == f"{int(finest[1]):,}"
    assert {cells[f"groups without destination{port}, beyond that"] for port in (" port", "")} == {
        f"{int(merged[1]):,}"
    }


def test_other_pages_name_the_same_sizes() -> None:
    sizes = map_sizes()
    overhead, limitations = text_of("docs/overhead.md"), " ".join(text_of("docs/limitations.md").split())
    assert f"at most {sizes['groups']:,} groups, {sizes['merged_groups']:,} merged groups" in " ".join(overhead.split())
    assert f"{sizes['groups']:,} groups with their endpoint" in limitations
    assert f"{sizes['merged_groups']:,} merged groups" in limitations
    assert f"{sizes['marks']:,} positions are remembered between snapshots" in limitations
    assert f"{sizes['seen']:,} shared sockets are told apart" in limitations


def test_the_counters_are_as_many_as_the_page_says() -> None:
    assert f"{len(COUNTERS)} counters of TcpExt" in page_of("tcp_memory")
    both = f"{len(TCP_COUNTERS)} counters of Tcp, {len(TCP_EXT_COUNTERS)} of TcpExt"
    assert both in page_of("connections")
