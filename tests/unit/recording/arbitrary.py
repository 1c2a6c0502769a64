"""Recordings with anything in them that the types allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

from hypothesis import strategies as st

from whodunnet.errors import FailureCode
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.bounds import INT64_MAX, UINT64_MAX
from whodunnet.model.clock import Clock
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.counters import Counters
from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup
from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.devices import Device, Devices
from whodunnet.model.kernel_log import KernelLog, LogLine, RepeatedLine
from whodunnet.model.links import LinkCounters, Links, NamespaceLinks
from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups
from whodunnet.model.neighbours import DeviceNeighbours, Neighbours, NeighbourTable
from whodunnet.model.ports import NamespacePorts, Ports, PortUse, SourcePorts
from whodunnet.model.resolvers import Lookup, ResolvConf, Resolvers
from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.sample import CollectorCost, Failure, Moment
from whodunnet.model.settings import DeviceSettings, NamespaceSettings, Settings
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, Endpoint, NameSocket, SocketGroup, Sockets, StuckSocket
from whodunnet.model.softnet import CpuWork, Interrupt, ReceivingDevice, Softnet
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.integers(0, INT64_MAX)
signed = st.integers(-INT64_MAX, INT64_MAX)
unsigned_long = st.none() | st.integers(0, UINT64_MAX)
seconds = st.floats(0, 1e9)
maybe = st.none() | number
wall = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
counts = st.dictionaries(text, number, max_size=2)
endpoint = st.builds(Endpoint, st.none() | text, st.none() | st.integers(0, 65_535))
group = st.builds(
    SocketGroup, owner_pid=maybe, netns=maybe, protocol=st.sampled_from(["tcp", "udp"]), state=text,
    role=st.sampled_from(["listener", "accepted"]), holding=st.sampled_from(["descriptor", "orphan"]),
    symptom=st.sampled_from(["none", "unread"]), endpoint=st.none() | endpoint, sockets=number, memory_bytes=signed,
    unchanged=maybe, ages=st.lists(number, max_size=12).map(tuple),
)  # fmt: skip
stuck = st.builds(
    StuckSocket, owner_pid=maybe, netns=number, symptom=st.just("unread"), holding=st.just("descriptor"),
    role=st.just("initiated"), local=endpoint, remote=endpoint, memory_bytes=signed, unread_bytes=number,
    unsent_bytes=number, unchanged=st.none() | st.booleans(),
)  # fmt: skip
queue = st.builds(
    AcceptQueue, owner_pid=maybe, netns=number, local=endpoint, waiting=number, limit=number, requests=maybe
)
dropping = st.builds(
    DroppingSocket, owner_pid=maybe, netns=number, inode=number, local=endpoint, remote=st.none() | endpoint,
    dropped=number, unread_bytes=signed, limit_bytes=signed, shared=st.booleans(),
)  # fmt: skip
asking = st.builds(NameSocket, owner_pid=maybe, netns=number, inode=number, local=endpoint, remote=st.none() | endpoint)
sockets = st.builds(
    Sockets, method=st.sampled_from(["bpf", "sock_diag"]), groups=st.lists(group, max_size=2).map(tuple),
    stuck=st.lists(stuck, max_size=2).map(tuple), accept_queues=st.lists(queue, max_size=1).map(tuple),
    dropping=st.lists(dropping, max_size=1).map(tuple), dropping_cut=st.booleans(), stuck_total=number,
    names=st.none() | st.lists(asking, max_size=2).map(tuple), names_cut=st.booleans(),
    not_seen=st.lists(text, max_size=2).map(tuple), longest_step_seconds=seconds,
)  # fmt: skip
process = st.builds(
    Process, pid=number, comm=text, exe=st.none() | text, started=st.none() | wall, descriptor_limit=maybe
)
workload = st.builds(
    Workload, process=st.none() | process,
    container=st.none() | st.builds(Container, id=text, cgroup=text, image=st.none() | text, started=st.none() | wall),
    pod=st.none() | st.builds(Pod, namespace=st.none() | text, name=st.none() | text, static=st.booleans()),
    unit=st.none() | text,
)  # fmt: skip
by_number = st.dictionaries(number, workload, max_size=2)
failure = st.builds(
    Failure, code=st.sampled_from(get_args(FailureCode)), reason=text, missing_capability=st.none() | text
)
flow_group = st.builds(
    FlowGroup, family=st.sampled_from([4, 6]), protocol=text, source=text, destination=st.none() | endpoint,
    answered_by=st.none() | endpoint, source_as=st.none() | text, state=text, replied=st.booleans(),
    assured=st.booleans(), offloaded=st.booleans(), zone=number, merged=st.booleans(), entries=number,
    idle_seconds=number, ages=st.lists(number, max_size=12).map(tuple),
)  # fmt: skip
device_address = st.builds(
    DeviceAddress, address=text, prefix_length=number, device=text, kind=st.none() | text, up=st.booleans()
)
namespace_settings = st.builds(
    NamespaceSettings, values=st.dictionaries(text, st.lists(signed, max_size=3).map(tuple), max_size=2),
    ports_reserved=number, devices_left_out=number,
    devices=st.dictionaries(
        text, st.builds(DeviceSettings, rp_filter=st.none() | signed, forwarding=st.none() | signed), max_size=2
    ),
)  # fmt: skip
namespace_ports = st.builds(
    NamespacePorts, sockets=number, time_wait=number, bound=number, unread=st.none() | text,
    sources=st.lists(
        st.builds(SourcePorts, source=text, ports=number, shared=number, time_wait=number), max_size=2
    ).map(tuple),
    uses=st.none() | st.lists(
        st.builds(PortUse, source=text, destination=endpoint, open=number, closing=number, time_wait=number), max_size=2
    ).map(tuple),
)  # fmt: skip
destination = st.builds(
    Destination, netns=number, remote=text, port=st.integers(0, 65_535), accepted=st.booleans(), fast=number,
    timeouts=number, probes=number, closed=number, full=number, sent=number, duplicates=number, sockets=number,
    again_full=number, again_small=number, heard=number, refused=number, sacked=number, stuck=number, passed=number,
    mss=maybe, path_mtu=maybe, device=st.none() | text, device_mtu=maybe, first_seconds=seconds, last_seconds=seconds,
)  # fmt: skip
resolv_conf = st.builds(
    ResolvConf, netns=number, pid=number, servers=st.lists(text, max_size=3).map(tuple),
    search=st.lists(text, max_size=3).map(tuple), ndots=number, left_out=number,
)  # fmt: skip
lookup = st.builds(
    Lookup, netns=number, server=text, sent=number, seconds=seconds, rcode=st.none() | st.integers(0, 15), inode=number,
    outcome=st.sampled_from(["waiting", "answered", "refused", "not-sent"]),
)  # fmt: skip
consumer = st.builds(
    Consumer, pid=number, parent=number, comm=text, started_seconds=seconds, cpu_ms=number, kernel_ms=number,
    wait_ms=maybe, nice=signed, log_daemon=st.booleans(), kernel_thread=st.booleans(), on_cpu=maybe, realtime=number,
)  # fmt: skip
cpus = st.lists(number, max_size=2).map(tuple)
cpu_work = st.builds(
    CpuWork, processed=number, dropped=number, squeezed=number, steered=maybe, flow_limited=maybe, waiting=maybe,
    net_rx=maybe, total_ms=maybe, idle_ms=maybe, softirq_ms=maybe, irq_ms=maybe, steal_ms=maybe, thread_run_ns=maybe,
    thread_wait_ns=maybe,
)  # fmt: skip
interrupt = st.builds(
    Interrupt, number=number, name=text, cpus=cpus, by_cpu=st.dictionaries(number, number, max_size=2)
)
receiving = st.builds(
    ReceivingDevice, queues=st.lists(cpus, max_size=2).map(tuple), received=maybe,
    interrupts=st.lists(interrupt, max_size=2).map(tuple), threaded=st.none() | st.booleans(),
)  # fmt: skip
descriptor_use = st.builds(
    DescriptorUse, pid=number, comm=text, started_seconds=seconds, open=number, limit=number, sockets=number,
    files=number, other=number,
)  # fmt: skip
refused_files = st.builds(RefusedFiles, pid=number, comm=text, started_seconds=seconds, times=number)
link_counters = st.builds(
    LinkCounters, number=number, kind=st.none() | text, up=st.booleans(), carrier=st.none() | st.booleans(), peer=maybe,
    rx_packets=number, rx_missed=number, rx_dropped=number, tx_dropped=number, carrier_changes=maybe,
    carrier_downs=maybe, speed_mbps=maybe, duplex=st.sampled_from([None, "full", "half"]), queue=st.none() | text,
    queue_drops=number, rings=counts,
)  # fmt: skip
neighbour_table = st.none() | st.builds(
    NeighbourTable, entries=number, min_entries=maybe, soft_max=maybe, max_entries=maybe, table_fulls=maybe,
    forced_gcs=maybe, unresolved_discards=maybe, res_failed=maybe,
)  # fmt: skip
device_neighbours = st.builds(
    DeviceNeighbours, netns=number, device=text, family=st.sampled_from([4, 6]), answered=number, unanswered=number,
    unasked=number, exempt=number, asked=st.lists(text, max_size=2).map(tuple),
)  # fmt: skip
samples: dict[str, st.SearchStrategy[AnySample]] = {
    "sockets": sockets,
    "workloads": st.builds(
        Workloads, by_pid=by_number, by_netns=by_number, sole_by_netns=by_number, by_cgroup_id=by_number,
        unknown_pids=number,
    ),
    "tcp_memory": st.builds(
        TcpMemory, page_size_bytes=st.integers(512, 2**20), cpus=st.integers(1, 2**20), max_pages=unsigned_long,
        used_pages=signed, under_pressure=st.none() | st.booleans(), orphans=number, alloc_sockets=number,
        inuse_sockets=number, time_wait_sockets=signed, max_orphans=st.none() | signed,
        counters=st.dictionaries(number, counts, max_size=2),
    ),
    "conntrack": st.builds(
        Conntrack, loaded=st.booleans(), netns=maybe, count=maybe, max_entries=st.none() | signed, statistics=counts,
        timeouts=st.dictionaries(text, signed, max_size=2), counts=st.dictionaries(number, number, max_size=2),
        method=st.sampled_from([None, "ctnetlink", "procfs"]), dump_failure=st.none() | failure,
        groups=st.lists(flow_group, max_size=2).map(tuple), other_entries=number, dump_seconds=seconds,
        inner=st.dictionaries(number, st.lists(flow_group, max_size=2).map(tuple), max_size=2),
    ),
    "counters": st.builds(
        Counters, known=st.lists(text, max_size=2).map(tuple), by_netns=st.dictionaries(number, counts, max_size=2),
        netns_read=number, netns_unread=number,
    ),
    "settings": st.builds(
        Settings, by_netns=st.dictionaries(number, namespace_settings, max_size=2), netns_unread=number,
        read_seconds_ago=seconds,
    ),
    "resolvers": st.builds(
        Resolvers, files=st.lists(resolv_conf, max_size=2).map(tuple), netns_unread=number, left_out=number,
        asked=st.booleans(), lookups=st.lists(lookup, max_size=2).map(tuple), unasked=number,
    ),
    "cpu_pressure": st.builds(
        CpuPressure, cpus=number, some_us=maybe, some_avg10=st.none() | seconds, runnable=maybe,
        load=st.none() | seconds, total_ms=number, idle_ms=number, steal_ms=number, softirq_ms=number, delay_ms=maybe,
        measured_seconds=st.none() | seconds, consumers=st.lists(consumer, max_size=2).map(tuple), processes=number,
        used_ms=number, waited_ms=number,
    ),
    "clock": st.builds(
        Clock, wall_minus_boot=seconds, read_within=seconds, synchronised=st.none() | st.booleans(),
        offset_us=st.none() | signed, max_error_us=st.none() | signed, frequency_ppm=st.none() | seconds,
        hardware_ahead=st.none() | seconds,
    ),
    "descriptors": st.builds(
        Descriptors, fullest=st.lists(descriptor_use, max_size=2).map(tuple), near_left_out=number, processes=number,
        denied=number, left_out=number, open_files=maybe, max_files=maybe, refusals_watched=st.booleans(),
        refused=st.lists(refused_files, max_size=2).map(tuple), refused_left_out=number,
    ),
    "neighbours": st.builds(
        Neighbours, ipv4=neighbour_table, ipv6=neighbour_table, netns_unread=number, left_out=number,
        places=st.lists(device_neighbours, max_size=2).map(tuple),
        places_of=st.lists(st.sampled_from([4, 6]), max_size=2).map(tuple),
    ),
    "links": st.builds(
        Links, netns_unread=number, left_out=number,
        namespaces=st.dictionaries(
            number, st.builds(NamespaceLinks, devices=st.dictionaries(text, link_counters, max_size=2)), max_size=2
        ),
    ),
    "ports": st.builds(Ports, by_netns=st.dictionaries(number, namespace_ports, max_size=2), netns_unread=number),
    "retransmissions": st.builds(
        Retransmissions, destinations=st.lists(destination, max_size=2).map(tuple), watched_seconds=seconds,
        started_seconds=seconds, elsewhere=number, inside=number, other=number, untracked=number, missed=number,
        forgotten=number,
    ),
    "devices": st.builds(
        Devices, by_name=st.dictionaries(text, st.builds(Device, driver=text, allowances=counts), max_size=2),
        others=number, unread=number,
    ),
    "softnet": st.builds(
        Softnet, by_cpu=st.dictionaries(number, cpu_work, max_size=2), max_backlog=maybe, budget=maybe, budget_us=maybe,
        irq_pressure_us=maybe, devices=st.dictionaries(text, receiving, max_size=2), virtual=number, left_out=number,
    ),
    "memory_cgroups": st.builds(
        MemoryCgroups, version=st.sampled_from([None, "v1", "v2"]), live=maybe, dying=maybe, part=st.booleans(),
        of_memory=st.booleans(), most=st.lists(st.builds(DyingBelow, text, number), max_size=2).map(tuple),
        reclaim=st.sampled_from([None, "memory.reclaim", "memory.force_empty"]), stat_seconds=st.none() | seconds,
        stat_age_seconds=st.none() | seconds, stat_spared=st.booleans(), counted_seconds_ago=seconds,
    ),
    "cpu_quota": st.builds(
        CpuQuotas, version=st.sampled_from(["v1", "v2"]), read=number, left_out=number, unplaced=number,
        cgroups=st.lists(
            st.builds(
                LimitedCgroup, path=text, quota_us=maybe, period_us=maybe, periods=number, throttled=number,
                throttled_us=number, pids=cpus,
            ),
            max_size=2,
        ).map(tuple),
    ),
    "addresses": st.builds(
        Addresses, by_netns=st.dictionaries(number, st.lists(device_address, max_size=2).map(tuple), max_size=2),
        netns_unread=number, left_out=number,
    ),
    "kernel_log": st.builds(
        KernelLog, source=text, reaches_back_seconds=st.none() | seconds, counts=counts,
        lines=st.lists(st.builds(LogLine, text, st.none() | seconds, text), max_size=2).map(tuple), written=number,
        repeated=st.lists(st.builds(RepeatedLine, text, number), max_size=2).map(tuple),
    ),
}  # fmt: skip
recording = st.builds(
    Recording,
    node=st.builds(Node, hostname=text, kernel=text, boot_id=text, virtual_machine=st.none() | st.booleans()),
    snapshots=st.lists(
        st.builds(
            Snapshot, at=st.builds(Moment, wall=wall, boot_seconds=seconds),
            samples=st.fixed_dictionaries({}, optional={name: one | failure for name, one in samples.items()}),
        ),
        min_size=1, max_size=3,
    ).map(tuple),
    costs=st.dictionaries(
        text, st.builds(CollectorCost, wall_seconds=seconds, attributed_share=st.none() | st.floats(0, 1)), max_size=2
    ),
    wall_seconds=seconds, cpu_seconds=seconds, peak_rss_bytes=number,
)  # fmt: skip
