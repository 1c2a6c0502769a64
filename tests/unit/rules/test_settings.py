"""settings: each with its value and what it should be near; never more than worth knowing."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.snapshot import AnySample
from whodunnet.model.sockets import Sockets
from whodunnet.model.softnet import Softnet
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .limited import namespace, node, settings
from .nodes import NETNS, at_each, findings, memory_of
from .queued import queue

RULE = "settings"
ENTRY = catalogue()[RULE]


def shapes(one: NamespaceSettings | None = None, **also: AnySample) -> list[str | None]:
    found = findings(node([{"settings": settings(one)}], **also), RULE)
    assert {f.severity for f in found} <= {"info"}
    assert all(not f.would_explain and {p.role for p in f.parties} == {"holder"} for f in found)
    return [f.shape for f in found]


@pytest.mark.parametrize(
    ("name", "bad", "good", "shape"),
    [
        ("net_ipv4_ip_local_port_range", (40_000, 49_998), (40_000, 49_999), "ports"),
        ("net_ipv4_tcp_max_syn_backlog", 127, 128, "syn-backlog"),
        ("net_ipv4_tcp_syncookies", 0, 2, "syncookies"),
        ("net_ipv4_tcp_tw_recycle", 1, 0, "recycle"),
        ("net_ipv4_tcp_max_tw_buckets", 999, 1_000, "time-wait"),
        ("net_ipv4_tcp_rmem", (4_096, 87_380, 999_999), (4_096, 87_380, 1_000_000), "receive-buffer"),
        ("net_ipv4_tcp_wmem", (4_096, 16_384, 16_384), (4_096, 16_384, 4_194_304), "send-buffer"),
    ],
)
def test_a_setting_of_a_namespace_is_told_from_its_bound_on(name: str, bad: Any, good: Any, shape: str) -> None:
    assert shapes(namespace(**{name: bad})) == [shape]
    assert shapes(namespace(**{name: good})) == []


@pytest.mark.parametrize(("limit", "expected"), [(128, ["somaxconn"]), (127, [])])
def test_a_short_queue_counts_where_a_listener_is_cut_to_it(limit: int, expected: list[str]) -> None:
    sockets = Sockets(method="bpf", groups=(), accept_queues=(queue(0, limit),))
    assert shapes(namespace(net_core_somaxconn=128), sockets=sockets) == expected
    assert shapes(namespace(net_core_somaxconn=128)) == []
    assert shapes(namespace(), sockets=sockets) == []


def test_tcp_mem_is_compared_with_the_kernels_formula() -> None:
    gib = 2**30
    assert shapes(tcp_memory=memory_of(0, max_pages=98_304, memory_total_bytes=4 * gib)) == []
    assert shapes(tcp_memory=memory_of(0, max_pages=40_000, memory_total_bytes=4 * gib)) == ["tcp-mem"]
    assert shapes(tcp_memory=memory_of(0, max_pages=40_000)) == []


@pytest.mark.parametrize(("most", "expected"), [(8 * 65_536, []), (8 * 65_536 + 1, ["buckets"]), (0, [])])
def test_buckets_are_compared_with_the_table(most: int, expected: list[str]) -> None:
    assert shapes(conntrack=Conntrack(loaded=True, max_entries=most, buckets=65_536)) == expected


def test_the_queue_of_a_cpu_is_compared_with_the_default() -> None:
    assert shapes(softnet=Softnet(by_cpu={}, max_backlog=300)) == ["receive-queue"]
    assert shapes(softnet=Softnet(by_cpu={}, max_backlog=1_000)) == []


def test_many_namespaces_with_one_setting_are_one_finding() -> None:
    many = Settings(by_netns={NETNS + n: namespace(net_ipv4_tcp_syncookies=0) for n in range(40)})
    (found,) = findings(node([{"settings": many}]), RULE)
    assert "40 network namespaces" in found.title
    assert len(found.parties) == ENTRY.limit("listed_namespaces")
    assert (found.evidence[0].value, found.evidence[0].limit, found.evidence[0].comparison) == (0, 1, "<")


def test_a_node_as_a_kernel_begins_is_cleared_with_how_much_was_compared() -> None:
    (answer,) = judge(RULE, node([{"settings": settings(unread=2)}], softnet=Softnet(by_cpu={}, max_backlog=1_000)))
    assert isinstance(answer, Cleared)
    assert answer.evidence[0].value == 12
    assert "netdev_max_backlog" in answer.sensitivity
    assert "2 namespaces were not read" in answer.sensitivity


def test_without_settings_it_is_not_checked() -> None:
    failed = Failure(code="missing-file", reason="no")
    (answer,) = judge(RULE, at_each(node([{"settings": settings()}]), "settings", failed))
    assert isinstance(answer, NotChecked)


def test_settings_that_nobody_could_read_are_not_near_what_they_should_be() -> None:
    (answer,) = judge(RULE, node([{"settings": Settings(netns_unread=4)}]))
    assert isinstance(answer, NotChecked)
    assert "none of 4 network namespaces" in answer.reason
