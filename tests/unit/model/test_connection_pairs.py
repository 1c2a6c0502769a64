"""Both ends of connections joined, and who is at each: right, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.connection_pairs import Pair, pairs_of
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.snapshot import AnySample
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Container, Process, Workload, Workloads

from .endings import BOOT, CLIENT, SERVER, accepted, ended, recording


def pairs(groups: Sequence[ConnectionGroup], **also: AnySample) -> list[Pair]:
    found = pairs_of(recording([[], groups], **also))
    assert found is not None
    return list(found.pairs)


def process(pid: int, comm: str, started: float = 10.0, netns: int = 2, container: str | None = None) -> Workload:
    return Workload(
        process=Process(pid=pid, comm=comm, started=BOOT + timedelta(seconds=started)),
        container=Container(id=container, cgroup="/c") if container else None,
        netns=netns,
    )


def met(pid: int, comm: str, started: float = 10.0, **fields: object) -> dict[str, object]:
    return {"owner_pid": pid, "comm": comm, "process_started_seconds": started, **fields}


def names(pair: Pair) -> tuple[str | None, str | None]:
    def name(workload: Workload | None) -> str | None:
        return workload.process.comm if workload is not None and workload.process is not None else None

    return name(pair.client.workload), name(pair.server_end.workload)


def pid_of(pair: Pair) -> int | None:
    """Of the client."""
    workload = pair.client.workload
    return workload.process.pid if workload is not None and workload.process is not None else None


def test_both_ends_on_this_node_are_one_pair_with_both_names() -> None:
    workloads = Workloads(by_pid={7: process(7, "caller"), 8: process(8, "server", netns=1)})
    (pair,) = pairs([ended(3, **met(7, "caller")), accepted(3, **met(8, "server"))], workloads=workloads)
    assert names(pair) == ("caller", "server")
    assert pair.count("closed-by-peer") == 3
    assert [g.ending for g in pair.there] == ["closed-here"]
    assert pair.parts[0]["closed-by-peer"] == 3


def test_of_an_accepting_end_alone_the_client_is_an_address() -> None:
    (pair,) = pairs([accepted(3, **met(8, "server"))])
    assert (pair.here, pair.client.workload, pair.client.address) == ((), None, CLIENT)
    assert (names(pair)[1], pair.count("closed-here")) == ("server", 3)


def test_loopback_of_another_namespace_is_not_the_other_end() -> None:
    home = {"server": Endpoint("127.0.0.1", 80), "client": "127.0.0.1"}
    found = pairs([ended(3, **home, **met(7, "caller")), accepted(3, **home, **met(8, "stranger"))])
    assert sorted(names(p) for p in found if p.here) == [("caller", None)]
    (pair,) = pairs([ended(3, **home, **met(7, "caller")), accepted(3, **home, **met(8, "server", netns=2))])
    assert names(pair) == ("caller", "server")


def test_networks_with_the_same_addresses_are_not_mixed_up() -> None:
    groups = [ended(3, **met(7, "one")), ended(4, **met(9, "two", netns=3)), accepted(3, **met(8, "server"))]
    assert [p.server_end.workload for p in pairs(groups) if p.here] == [None, None]


def test_of_several_owners_only_where_they_are_is_known() -> None:
    here = ended(3, **met(7, "caller"))
    (pair,) = [p for p in pairs([here, accepted(1, **met(8, "one")), accepted(2, **met(9, "two"))]) if p.here]
    assert (pair.server_end.workload, pair.server_end.netns) == (None, 1)
    apart = [accepted(1, **met(8, "one")), accepted(2, **met(9, "two", netns=3))]
    (pair,) = [p for p in pairs([here, *apart]) if p.here]
    assert (pair.server_end.workload, pair.server_end.netns) == (None, None)


def test_an_endpoint_of_several_owners_has_none() -> None:
    (pair,) = pairs([ended(3, **met(7, "caller")), accepted(1, **met(8, "one")), accepted(2, **met(9, "two"))])
    assert names(pair) == ("caller", None)


def test_the_workers_of_one_server_are_one_server() -> None:
    workers = [accepted(1, **met(n, "gunicorn", started=float(n))) for n in (12, 11, 13)]
    (pair,) = pairs([ended(3, **met(7, "caller")), *workers])
    assert (names(pair)[1], pair.server_end.several) == ("gunicorn", True)
    queue = AcceptQueue(netns=1, local=Endpoint(None, 80), owner_pid=10, waiting=0, limit=9, shared=True)
    sockets = Sockets(method="bpf", groups=(), accept_queues=(queue,))
    workloads = Workloads(by_pid={10: process(10, "gunicorn", netns=1)})
    (pair,) = pairs([ended(3, **met(7, "caller")), *workers], sockets=sockets, workloads=workloads)
    assert pair.server_end.workload == workloads.by_pid[10]


def test_a_service_is_followed_to_the_endpoint_that_answered() -> None:
    service = Endpoint("10.96.0.1", 443)
    flow = FlowGroup(
        family=4, protocol="tcp", source=CLIENT, destination=service, answered_by=SERVER, state="established",
        entries=1, assured=True, replied=True,
    )  # fmt: skip
    table = Conntrack(loaded=True, netns=1, count=1, max_entries=9, groups=(flow,))
    groups = [ended(3, server=service, **met(7, "caller")), accepted(3, **met(8, "server"))]
    (pair,) = pairs(groups, conntrack=table)
    assert (names(pair), pair.server, pair.answered_by) == (("caller", "server"), service, (SERVER,))
    assert len(pairs(groups)) == 2


def test_a_number_that_another_process_has_now_keeps_the_name_taken_then() -> None:
    workloads = Workloads(by_pid={7: process(7, "newcomer", started=900.0)})
    (pair,) = pairs([ended(3, **met(7, "caller"))], workloads=workloads)
    assert names(pair)[0] == "caller"


def test_processes_that_are_gone_are_one_client_if_they_had_one_name() -> None:
    gone = [ended(1, **met(pid, "curl", started=float(pid))) for pid in range(100, 120)]
    (pair,) = pairs(gone)
    assert (names(pair)[0], pair.count("closed-by-peer")) == ("curl", 20)


def test_processes_that_nobody_could_look_up_are_one_client_if_they_had_one_name() -> None:
    """As in a snapshot: of who was gone before it, it has the name only."""
    by_name = {pid: Workload(process=Process(pid=pid, comm="curl"), netns=2) for pid in range(100, 120)}
    gone = [ended(1, **met(pid, "curl", started=float(pid))) for pid in by_name]
    (pair,) = pairs(gone, workloads=Workloads(by_pid=by_name))
    assert (names(pair)[0], pair.count("closed-by-peer")) == ("curl", 20)
    alive = {pid: process(pid, "curl", started=float(pid)) for pid in (100, 101)}
    assert len(pairs(gone[:2], workloads=Workloads(by_pid=alive))) == 2


def test_each_part_of_the_window_has_its_own_processes_of_one_client() -> None:
    each = [ended(1, **met(pid, "curl", started=float(pid))) for pid in range(100, 106)]
    found = pairs_of(recording([[], each[:1], each[:3], each]))
    assert found is not None
    (pair,) = found.pairs
    assert [part["closed-by-peer"] for part in pair.parts] == [1, 2, 3]


def test_one_name_in_two_namespaces_is_two_clients() -> None:
    assert len(pairs([ended(1, **met(5, "curl")), ended(1, **met(6, "curl", netns=3))])) == 2


def test_all_processes_of_a_container_are_one_client() -> None:
    workloads = Workloads(by_pid={n: process(n, "worker", container="c" * 64) for n in (5, 6)})
    (pair,) = pairs([ended(1, **met(5, "worker")), ended(2, **met(6, "worker"))], workloads=workloads)
    assert pair.count("closed-by-peer") == 3


def test_who_only_listens_is_found_by_the_listener_or_by_the_address() -> None:
    queue = AcceptQueue(netns=1, local=Endpoint(None, 80), owner_pid=8, waiting=0, limit=9)
    sockets = Sockets(method="bpf", groups=(), accept_queues=(queue,))
    workloads = Workloads(by_pid={8: process(8, "server", netns=1)})
    (pair,) = pairs([accepted(3)], sockets=sockets, workloads=workloads)
    assert names(pair)[1] == "server"
    addresses = Addresses(
        by_netns={
            n: (DeviceAddress(address=a, prefix_length=24, device="eth0"),) for n, a in ((1, "10.0.0.1"), (2, CLIENT))
        }
    )
    refused = [ended(3, ending="refused", **met(7, "caller"))]
    (pair,) = pairs(refused, sockets=sockets, workloads=workloads, addresses=addresses)
    assert names(pair) == ("caller", "server")
    (pair,) = pairs(refused, sockets=sockets, workloads=workloads)
    assert pair.server_end.local is None


def test_what_was_merged_without_client_is_counted() -> None:
    found = pairs([ended(3, client=None, spans=(), **met(7, "caller")), accepted(3, client=None, spans=())])
    assert sorted(p.count("closed-by-peer", "closed-here") for p in found) == [3, 3]


def merged(n: int, ending: str = "refused", **fields: object) -> ConnectionGroup:
    """By the name of the program, for lack of room: no process."""
    return ended(n, ending=ending, **{"comm": "caller", **fields})


def test_what_was_merged_by_name_or_without_client_is_of_whoever_has_that_name_there() -> None:
    """Else all connects of a second client would be refused."""
    groups = [ended(100, **met(7, "caller")), merged(3), merged(4, "reset-received", client=None, spans=())]
    (pair,) = pairs(groups)
    assert (names(pair)[0], pair.client.address) == ("caller", CLIENT)
    assert [pair.count(e) for e in ("closed-by-peer", "refused", "reset-received")] == [100, 3, 4]  # type: ignore[arg-type]


def test_a_name_that_is_known_only_from_before_the_window_is_known() -> None:
    before = [ended(1, **met(n, "caller", started=float(n))) for n in (7, 8)]
    found = pairs_of(recording([[*before, merged(1)], [*before, merged(4)]]))
    assert found is not None
    (pair,) = found.pairs
    assert (names(pair)[0], pair.count("refused")) == ("caller", 3)


def test_what_was_merged_of_a_name_that_several_have_makes_them_one_client_of_that_server() -> None:
    other = Endpoint("10.0.0.9", 80)
    alive = {n: process(n, "caller", started=float(n)) for n in (5, 6)}
    own = [ended(n, server=s, **met(n, "caller", started=float(n))) for n in alive for s in (SERVER, other)]
    found = pairs([*own, merged(2)], workloads=Workloads(by_pid=alive))
    shared = [p for p in found if p.server == SERVER]
    assert [(names(p)[0], p.count("closed-by-peer"), p.count("refused")) for p in shared] == [("caller", 11, 2)]
    assert [(p.client.several, pid_of(p)) for p in shared] == [(True, 0)]
    assert sorted((names(p)[0], p.count("closed-by-peer")) for p in found if p.server == other) == [
        ("caller", 5), ("caller", 6),
    ]  # fmt: skip


def test_of_a_program_that_a_script_calls_and_a_container_runs_there_is_only_the_name() -> None:
    gone = [ended(1, **met(n, "curl", started=float(n))) for n in (7, 8)]
    alive = {9: process(9, "curl", started=900.0)}
    (pair,) = pairs(
        [*gone, ended(1, **met(9, "curl", 900.0)), merged(4, comm="curl")], workloads=Workloads(by_pid=alive)
    )
    assert (names(pair)[0], pair.count("closed-by-peer", "refused")) == ("curl", 7)
    boxed = {9: process(9, "curl", started=900.0, container="c" * 64)}
    (pair,) = pairs(
        [*gone, ended(1, **met(9, "curl", 900.0)), merged(4, comm="curl")], workloads=Workloads(by_pid=boxed)
    )
    assert pair.client.workload is not None
    assert (names(pair)[0], pid_of(pair), pair.client.workload.container) == ("curl", 0, None)
    assert pair.count("closed-by-peer", "refused") == 7


def test_a_name_of_which_no_process_was_met_is_a_client_without_a_name() -> None:
    (pair,) = pairs([merged(2), merged(3, client=None, spans=())])
    assert (pair.client.workload, pair.client.address, pair.count("refused")) == (None, CLIENT, 5)
    assert len(pairs([merged(2), merged(3, comm="another")])) == 2


def test_a_client_with_several_addresses_is_one_without_address() -> None:
    (pair,) = pairs([ended(1, **met(7, "caller")), ended(2, client="10.0.0.3", **met(7, "caller"))])
    assert (pair.client.address, pair.count("closed-by-peer")) == (None, 3)


def test_of_several_processes_of_a_container_none_is_named_but_for_its_own_groups() -> None:
    workloads = Workloads(by_pid={n: process(n, name, container="c" * 64) for n, name in ((5, "prober"), (6, "app"))})
    fine, late = ended(9, **met(5, "prober")), ended(1, ending="reset-received", **met(6, "app"))
    (pair,) = pairs([fine, late], workloads=workloads)
    assert pair.client.workload is not None
    assert (pair.client.workload.process, pair.client.workload.container is not None) == (None, True)
    assert pair.client_of([late]).workload == workloads.by_pid[6]
    assert pair.client_of([fine, late]) == pair.client_of([]) == pair.client
    (pair,) = pairs([fine, late, merged(1, comm="app")], workloads=workloads)
    assert pair.client_of(g for g in pair.here if g.ending == "refused").workload == pair.client.workload


def test_the_acceptor_of_what_was_merged_by_name_is_whoever_has_that_name_there() -> None:
    home = Workload(container=Container(id="d" * 64, cgroup="/d"), netns=1)
    workloads = Workloads(by_pid={8: process(8, "server", netns=1)}, by_netns={1: home})
    groups = [ended(3, **met(7, "caller")), accepted(3, **met(8, "server")), accepted(1, comm="server")]
    (pair,) = pairs(groups, workloads=workloads)
    assert names(pair) == ("caller", "server")
