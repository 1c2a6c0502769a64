"""Rows of the table of connections: who they are of, in which order, and how many."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Pod, Process, Workload, Workloads
from whodunnet.report.connection_rows import OTHER_ENDS, ConnectionRow
from whodunnet.report.connection_table import render_connection_table
from whodunnet.report.connections import ConnectionTable, tabulate_connections
from whodunnet.report.pod_names import PodNames

from . import tracked
from .connected import API_ADDRESS, WEB_ADDRESS, accepted, connecting, end, opened, recording
from .golden import printed
from .tracked import API, HERE, HOST, WEB

MANY = 5_000


def only(table: ConnectionTable) -> ConnectionRow:
    (row,) = table.rows
    return row


def many(*, server: bool) -> tuple[ConnectionGroup, ...]:
    """Each of another server, or of another client."""
    addresses = [f"10.{20 + n // 65_025}.{n // 255 % 255}.{n % 255}" for n in range(MANY)]
    if server:
        return tuple(end(1, "opened", server=Endpoint(address, 80)) for address in addresses)
    return tuple(accepted(1, "closed-here", client=address) for address in addresses)


def test_thousands_of_servers_are_as_many_rows_as_were_asked_for_and_one_for_the_rest() -> None:
    table = tabulate_connections(recording(many(server=True)), top=7)
    assert len(table.rows) == 7
    assert table.rest is not None
    assert (table.rest.label, table.rest.counts.opened) == (f"{MANY - 7:,} others", MANY - 7)


def test_thousands_of_clients_of_one_server_are_the_largest_and_how_many_more() -> None:
    table = tabulate_connections(recording(many(server=False)))
    row = only(table)
    assert (len(row.other_ends), row.other_ends_total, row.counts.ended) == (OTHER_ENDS, MANY, MANY)
    shown = printed(lambda console: render_connection_table(table, console), 100)
    assert f"- {MANY - OTHER_ENDS:,} more clients" in shown
    assert len(shown.splitlines()) < 20


def test_rows_come_in_the_order_that_was_asked_for() -> None:
    slow, fails, busy = (Endpoint("10.7.0.1", port) for port in (1, 2, 3))
    groups = (
        end(2, "opened", 9.0, server=slow),
        end(5, "opened", 0.1, server=fails), connecting(4, "refused", server=fails),
        end(90, "opened", 0.1, server=busy),
    )  # fmt: skip
    for sort, first in (("connections", busy), ("failed", fails), ("slow", slow)):
        assert tabulate_connections(recording(groups), sort=sort).rows[0].server == first  # type: ignore[arg-type]


def test_of_what_failed_only_rows_are_shown_in_which_something_did() -> None:
    groups = (opened(), end(1, "opened", server=Endpoint("10.7.0.1", 1)),
              connecting(1, "syn-retransmitted", server=Endpoint("10.7.0.1", 2)))  # fmt: skip
    table = tabulate_connections(recording(groups), failed=True)
    assert only(table).server == Endpoint("10.7.0.1", 2)
    assert table.healthy == 2


def test_both_ends_are_named_where_both_are_here() -> None:
    table = tabulate_connections(recording((opened(), accepted(9, "closed-here"))), by="pair")
    assert only(table).label == (
        "shop/web-0: web (77aa66190a2b) to 10.244.1.13:8080 (shop/api-7d9f: api (933d66190a2b))"
    )


def test_who_has_the_address_of_a_port_at_which_nobody_listens_is_not_said_to_serve_there() -> None:
    refused = connecting(4, "refused", server=Endpoint(API_ADDRESS, 9))
    row = only(tabulate_connections(recording((refused,))))
    assert "(address of shop/api-7d9f" in row.label
    assert [side.by_address for side in row.servers] == [True]
    queue = AcceptQueue(netns=API, local=Endpoint(None, 9), owner_pid=30, waiting=0, limit=9)
    listening = Sockets(method="bpf", groups=(), accept_queues=(queue,))
    row = only(tabulate_connections(recording((refused,), sockets=listening)))
    assert "(shop/api-7d9f" in row.label


def test_loopback_of_two_namespaces_is_two_servers() -> None:
    home = {"server": Endpoint("127.0.0.1", 80), "client": "127.0.0.1"}
    groups = (end(1, "opened", **home), end(2, "opened", **home, netns=HOST, owner_pid=41, comm="agent"))
    table = tabulate_connections(recording(groups))
    assert [(row.netns, row.counts.opened) for row in table.rows] == [(HOST, 2), (WEB, 1)]
    assert table.rows[0].label == f"127.0.0.1:80 in netns {HOST}"


def test_one_address_in_two_networks_has_the_names_of_both_and_not_of_one() -> None:
    groups = (
        end(3, "opened", client="10.244.1.12"), accepted(3, "closed-here", client="10.244.1.12"),
        accepted(2, "closed-here", client="10.9.9.9", owner_pid=40, comm="kubelet", netns=HOST),
    )  # fmt: skip
    label = only(tabulate_connections(recording(groups))).label
    assert "shop/api-7d9f" in label
    assert "kubelet" in label


def test_a_service_with_several_endpoints_has_the_name_of_none() -> None:
    groups = (end(3, "opened", server=tracked.SERVICE), accepted(3, "closed-here"))
    (row,) = (row for row in tabulate_connections(recording(groups)).rows if row.server == tracked.SERVICE)
    assert row.label == "10.96.0.1:80"
    assert row.answered_by_total == 3
    assert [side.workload.pod for side in row.servers if side.workload] == [tracked.API_POD]


def test_processes_that_came_and_went_are_one_client_with_their_number() -> None:
    gone = tuple(
        end(1, "opened", owner_pid=pid, comm="curl", netns=HOST, process_started_seconds=float(pid))
        for pid in range(900, 920)
    )
    assert only(tabulate_connections(recording(gone), by="workload")).label == "curl (20 processes)"


def calling(pids: range, *, seconds: float) -> tuple[tuple[ConnectionGroup, ...], Workloads]:
    """Processes that live, and began so long after the window did; one connect of each."""
    groups, by_pid = [], {}
    for pid in pids:
        after = seconds + pid / 1000
        group = connecting(1, "given-up", 2.0, owner_pid=pid, comm="curl", netns=HOST)
        groups.append(msgspec.structs.replace(group, process_started_seconds=100.0 + after))
        process = Process(pid=pid, comm="curl", started=tracked.BEGIN + timedelta(seconds=after))
        by_pid[pid] = Workload(process=process, netns=HOST)
    return tuple(groups), Workloads(by_pid=by_pid)


def test_a_script_that_calls_a_program_is_one_client_whether_that_was_gone_or_was_seen() -> None:
    groups, alive = calling(range(900, 909), seconds=1.0)
    gone = connecting(4, "refused", owner_pid=800, comm="curl", netns=HOST, process_started_seconds=99.0)
    row = only(tabulate_connections(recording((*groups, gone), workloads=alive), by="workload"))
    assert row.label == "curl (10 processes)"
    assert row.counts.failed == 13


def test_processes_that_were_there_before_are_clients_of_their_own() -> None:
    groups, alive = calling(range(900, 903), seconds=-5.0)
    table = tabulate_connections(recording(groups, workloads=alive), by="workload")
    assert [row.label for row in table.rows] == [f"curl (pid {pid})" for pid in range(900, 903)]


def test_a_client_elsewhere_has_the_name_of_its_pod_by_the_file() -> None:
    found = recording((accepted(3, "closed-here", client="10.244.3.77"),))
    row = only(tabulate_connections(found, by="workload"))
    assert row.label == "10.244.3.77, not on this node"
    assert row.find_command == "kubectl get pods -A -o wide --field-selector=status.podIP=10.244.3.77"
    row = only(tabulate_connections(found, by="workload", pods=tracked.PODS))
    assert (row.label, row.find_command) == ("monitoring/prometheus-0 (10.244.3.77), not on this node", None)


def test_a_server_elsewhere_has_the_name_of_its_pod_by_the_file() -> None:
    found = recording((connecting(3, "refused", server=Endpoint("10.244.3.9", 8080)),))
    assert only(tabulate_connections(found, pods=tracked.PODS)).label == (
        "10.244.3.9:8080 (shop/api-9k2c), not on this node"
    )


def test_an_address_of_this_node_is_no_pod_of_another() -> None:
    pods = PodNames([(WEB_ADDRESS, Pod(namespace="far", name="liar")), (HERE, Pod(namespace="far", name="liar"))])
    groups = (accepted(3, "closed-here"), accepted(1, "closed-here", client=HERE))
    for by in ("endpoint", "workload", "pair"):
        table = tabulate_connections(recording(groups), by=by, pods=pods)  # type: ignore[arg-type]
        assert not [row.label for row in table.rows if "liar" in row.label]


def test_a_client_in_a_container_is_one_row_whether_its_end_was_seen_or_its_address() -> None:
    groups = (end(3, "opened"), accepted(2, "closed-here", server=Endpoint(HERE, 443), netns=HOST, owner_pid=40))
    row = only(tabulate_connections(recording(groups), by="workload"))
    assert (row.counts.opened, row.counts.ended) == (3, 2)


@pytest.mark.parametrize("unread", [0, 3])
def test_who_is_not_found_may_be_here_where_addresses_were_not_read(unread: int) -> None:
    places = msgspec.structs.replace(tracked.ADDRESSES, netns_unread=unread)
    found = recording((accepted(3, "closed-here", client="203.0.113.9"),), addresses=places)
    label = only(tabulate_connections(found, by="workload")).label
    assert label == f"203.0.113.9, not {'found here' if unread else 'on this node'}"


def test_a_client_that_is_only_known_by_its_namespace_keeps_that() -> None:
    process = Workload(process=Process(pid=77, comm="loner"), netns=99)
    merged = end(3, "opened", None, client=None, netns=99, owner_pid=None)
    row = only(tabulate_connections(recording((merged,), workloads=Workloads(by_pid={77: process})), by="workload"))
    assert row.label == "netns 99"
