"""Recordings with anything in them that the types allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

from hypothesis import strategies as st

from whodunnet.errors import FailureCode
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.bounds import INT64_MAX, UINT64_MAX
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup
from whodunnet.model.devices import Device, Devices
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups
from whodunnet.model.sample import CollectorCost, Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, Endpoint, SocketGroup, Sockets, StuckSocket
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
queue = st.builds(AcceptQueue, owner_pid=maybe, netns=number, local=endpoint, waiting=number, limit=number)
sockets = st.builds(
    Sockets, method=st.sampled_from(["bpf", "sock_diag"]), groups=st.lists(group, max_size=2).map(tuple),
    stuck=st.lists(stuck, max_size=2).map(tuple), accept_queues=st.lists(queue, max_size=1).map(tuple),
    stuck_total=number, not_seen=st.lists(text, max_size=2).map(tuple), longest_step_seconds=seconds,
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
        lines=st.lists(st.builds(LogLine, text, st.none() | seconds, text), max_size=2).map(tuple),
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
