"""`python -m bench [--large]`, as root: one run, a table on standard output, and the numbers in bench/results.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import connections, flows, stalls
from bench.commands import (
    DIAGNOSE,
    PLOT,
    REPLAY,
    REPORT,
    SS_MEMORY,
    SS_OWNERS,
    VERSION,
    environments,
    in_each,
    run,
    runs,
)
from bench.crowd import Container, crowd
from bench.report import Report
from bench.suspects import measure_suspects

RESULTS = Path(__file__).parent / "results.json"
NAMESPACES, LARGE_NAMESPACES = 100, 500
ENTRIES, LARGE_ENTRIES = 1_000_000, 2_000_000
SOCKETS_EACH = 2000
UNREAD_EVERY = 10
PASSES = 7
COMMANDS = 7
OWNERS_SAMPLE = 5
BYTES_A_SOCKET = 5_000  # with its file, inode and dentry, measured on 6.18
MEMORY_SHARE = 0.6
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PAGES_A_UNREAD = 12  # an upper bound: 20,000 bytes over loopback are charged with that, measured on 6.18


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="bench", description="whodunnet against what a user would run instead")
    parser.add_argument(
        "--large", action="store_true", help="also a million sockets, and two million tracked connections"
    )
    options = parser.parse_args(arguments)
    if os.geteuid():
        parser.error("network namespaces and BPF programs need root")
    for namespaces in (NAMESPACES, LARGE_NAMESPACES) if options.large else (NAMESPACES,):
        if missing := no_room(namespaces):
            parser.error(missing)
    report = Report()
    report.numbers["machine"] = machine()
    report.heading(f"{report.numbers['machine']}")
    measure_recording(report)
    small = measure_small(report)
    if options.large:
        measure_large(report, small)
    measure_conntrack(report, large=options.large)
    measure_connections(report)
    measure_stalls(report)
    measure_suspects(report)
    print(report.table())
    RESULTS.write_text(json.dumps(report.numbers, indent=1) + "\n")
    return any(row.met is False for row in report.rows)


def machine() -> str:
    """What the numbers belong to; other work on the machine makes them worse."""
    load = os.getloadavg()[0]
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {load:.1f}"


def no_room(namespaces: int) -> str | None:
    """Why so many sockets should not be made here."""
    sockets = namespaces * SOCKETS_EACH
    available = os.sysconf("SC_AVPHYS_PAGES") * PAGE_BYTES
    wanted = sockets * BYTES_A_SOCKET + unread(namespaces) * PAGES_A_UNREAD * PAGE_BYTES
    if wanted > available * MEMORY_SHARE:
        return f"{sockets:,} sockets need {wanted / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free"
    pages, limit = unread(namespaces) * PAGES_A_UNREAD, tcp_memory_low()
    if pages > limit:
        return f"what is unread in {sockets:,} sockets needs {pages:,} pages, and tcp_mem begins to press at {limit:,}"
    return None


def tcp_memory_low() -> int:
    return int(Path("/proc/sys/net/ipv4/tcp_mem").read_text().split()[0])


def unread(namespaces: int) -> int:
    """Sockets that get something to read."""
    return namespaces * SOCKETS_EACH // unread_every(namespaces)


def unread_every(namespaces: int) -> int:
    """One in so many; the same number of sockets in all for a larger crowd, because TCP memory is limited."""
    return UNREAD_EVERY * namespaces // NAMESPACES


def measure_small(report: Report) -> dict[str, Any]:
    """Everything with NAMESPACES namespaces."""
    with environments() as (cold, warm):
        measure_start(report, cold, warm)
        with crowd(NAMESPACES, SOCKETS_EACH, UNREAD_EVERY) as containers:
            report.heading(f"{NAMESPACES * SOCKETS_EACH:,} TCP sockets in {NAMESPACES} network namespaces")
            found = take_passes(warm)
            show_passes(report, found)
            compare_with_ss(report, containers, statistics.median(found["passes"]))
            measure_command(report, warm)
    return found


def measure_recording(report: Report) -> None:
    """A day of a generated node: how large, and what it takes to store and to read it."""
    report.heading("A recording of 24 hours, a snapshot every 10 s, of 250 containers (generated)")
    with tempfile.TemporaryDirectory() as folder, environments() as (_, warm):
        path = Path(folder) / "day"
        command = [sys.executable, "-m", "bench.day", str(path)]
        day = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=warm).stdout)
        report.numbers["day"] = day
        report.mebibytes("size of the recording", day["bytes"], 100)
        report.seconds("to store a snapshot, mean", day["mean_seconds"])
        report.seconds("to store a snapshot, longest", day["longest_seconds"])
        replayed = run((*REPLAY, str(path)), warm)
        report.seconds("replay of all of it", replayed.seconds)
        report.mebibytes("replay of all of it, peak memory", replayed.peak_bytes)
        plotted = run((*PLOT, str(path)), warm)
        report.seconds("plot of all of it", plotted.seconds)
        report.mebibytes("plot of all of it, peak memory", plotted.peak_bytes)


def measure_start(report: Report, cold: dict[str, str], warm: dict[str, str]) -> None:
    report.heading("Start")
    report.seconds("whodunnet --version, without bytecode", run(VERSION, cold).seconds)
    report.seconds("whodunnet --version", min(r.seconds for r in runs(VERSION, warm, COMMANDS)), 0.15)
    report.seconds("diagnose, idle node, without bytecode", run(DIAGNOSE, cold).seconds)
    report.seconds("diagnose, idle node", min(r.seconds for r in runs(DIAGNOSE, warm, COMMANDS)))


def take_passes(environment: dict[str, str]) -> dict[str, Any]:
    """bench.passes in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "bench.passes", str(PASSES)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show_passes(report: Report, found: dict[str, Any]) -> None:
    report.numbers[f"passes {found['tcp_sockets']}"] = found
    report.keep("method", found["method"], found["method"])
    report.keep("sockets found", found["tcp_sockets"], f"{found['tcp_sockets']:,}")
    report.seconds("load of the BPF programs, median", statistics.median(found["load"]))
    report.seconds("one pass with attribution, median", statistics.median(found["passes"]))
    report.seconds("one pass with attribution, best", min(found["passes"]))
    report.seconds("... of it in BPF programs", found["kernel_seconds"])
    report.seconds("longest step of the hash walk", found["longest_step"], 0.001)
    report.seconds(f"mean of {found['steps']} steps, as the kernel counted", found["mean_step"], 0.001)
    report.within(
        "largest difference to sockstat", max(found["difference_pages"], key=abs), found["allowed_pages"], "pages"
    )
    report.mebibytes("peak memory of the passes", found["peak_bytes"])


def compare_with_ss(report: Report, containers: list[Container], ours: float) -> None:
    theirs = in_each(containers, SS_MEMORY)
    report.seconds("nsenter … ss -tm, each namespace", theirs)
    report.ratio("faster than ss -tm", theirs / ours, 15)
    sample = in_each(containers[:: len(containers) // OWNERS_SAMPLE][:OWNERS_SAMPLE], SS_OWNERS)
    theirs = sample / OWNERS_SAMPLE * len(containers)
    report.seconds(f"nsenter … ss -tmnp, scaled up from {OWNERS_SAMPLE}", theirs)
    report.ratio("faster than ss -tmnp", theirs / ours, 300)


def measure_command(report: Report, warm: dict[str, str]) -> None:
    whole = runs(DIAGNOSE, warm, COMMANDS)
    report.seconds("diagnose --for 0s, median", statistics.median(r.seconds for r in whole), 0.6)
    report.mebibytes("diagnose --for 0s, peak memory", max(r.peak_bytes for r in whole), 100)
    lines = [r.first_line_seconds for r in runs(REPORT, warm, 3)]
    report.seconds("diagnose --for 1s, first line, median", statistics.median(lines), 0.5)


def measure_large(report: Report, small: dict[str, Any]) -> None:
    """A million sockets: the time of each and the memory stay the same."""
    with crowd(LARGE_NAMESPACES, SOCKETS_EACH, unread_every(LARGE_NAMESPACES)):
        report.heading(f"{LARGE_NAMESPACES * SOCKETS_EACH:,} TCP sockets in {LARGE_NAMESPACES} network namespaces")
        with environments() as (_, warm):
            found = take_passes(warm)
            show_passes(report, found)
            whole = runs(DIAGNOSE, warm, 3)
    each = [statistics.median(f["passes"]) / f["tcp_sockets"] for f in (small, found)]
    report.keep("time for each socket, small and large", each, " ".join(f"{s * 1e9:,.0f}" for s in each) + " ns")
    report.within("large to small, time for each socket", each[1] / each[0], 1.5, "times")
    report.within("large to small, peak memory", found["peak_bytes"] / small["peak_bytes"], 1.25, "times")
    report.seconds("diagnose --for 0s, median", statistics.median(r.seconds for r in whole))
    report.mebibytes("diagnose --for 0s, peak memory", max(r.peak_bytes for r in whole), 100)


def measure_conntrack(report: Report, *, large: bool) -> None:
    """A full table of tracked connections; of twice as many, that the memory stays the same."""
    report.heading("No tracked connections")
    report.seconds("conntrack, first reading", flows.empty_seconds(), 0.005)
    small = flows.measure(ENTRIES)
    show_flows(report, small)
    if large:
        twice = flows.measure(LARGE_ENTRIES)
        show_flows(report, twice)
        report.within("large to small, peak memory of the reading", twice.peak_bytes / small.peak_bytes, 1.1, "times")


def show_flows(report: Report, found: flows.Numbers) -> None:
    report.heading(f"{found.entries:,} tracked connections of {found.owners} owners")
    report.numbers[f"flows {found.entries}"] = found._asdict()
    report.keep("attributed", found.attributed, f"{found.attributed:,}")
    report.seconds("conntrack -L >/dev/null", found.conntrack_seconds)
    report.seconds("netlink dump, nothing decoded", found.raw_seconds)
    report.seconds("conntrack collector", found.collect_seconds)
    report.seconds("collected and attributed", found.ours_seconds)
    report.within("... to conntrack -L", found.ratio, 0.6, "times")
    report.seconds("longest wait of a received packet", found.softirq_seconds, 0.001)
    report.mebibytes("peak memory of reading and attributing", found.peak_bytes, 150)


def measure_connections(report: Report) -> None:
    """What each new connection costs while we watch."""
    found = connections.measure()
    report.heading(f"{found.rate:,.0f} new connections a second on one CPU, which has both ends of each")
    report.numbers["connections"] = found._asdict()
    report.seconds("to load and attach the programs, median", found.load_seconds)
    report.within("rate lost while they are attached", found.lost_share * 100, 2, "%")
    report.within("... in BPF for each connection", found.bpf_seconds * 1e9, 1000, "ns")
    report.keep("... runs of a program for each", found.runs, f"{found.runs:.1f}")
    report.within("user space, collecting once a second", found.user_share * 100, 1, "% of a CPU")


def measure_stalls(report: Report) -> None:
    """What waiting packets cost to watch."""
    found = stalls.measure()
    report.heading("Watching for stalls: a TCP connection over a veth pair, both ends on one CPU")
    report.numbers["stalls"] = found._asdict()
    for what, cost, limit in (
        ("request/response rate lost", found.exchange, 2.0),
        ("throughput lost", found.send, 1.0),
        ("of a CPU that is busy otherwise", found.busy, 0.3),
    ):
        report.within(what, cost.lost * 100, limit, "%")
        report.keep("... to programs that return at once", cost.least_lost, f"{cost.least_lost * 100:.2g} %")
    if found.idle.busy is not None:
        report.within("of an idle CPU", found.idle.busy * 100, 0.1, "%")
    else:
        report.keep("of an idle CPU", None, "never idle here")
    on, off = found.idle.interrupts
    report.keep("... interrupts of its clock in a second", found.idle.interrupts, f"{on:,.0f}, not {off:,.0f}")
    for name, nanoseconds in stalls.own_nanoseconds(found).items():
        report.keep(f"... in BPF for each {name}", nanoseconds, f"{nanoseconds:,.0f} ns")
    report.keep("... of that, the count itself", found.counting_nanoseconds, f"{found.counting_nanoseconds:,.0f} ns")
    report.seconds("to load and attach the programs", found.load_seconds)


if __name__ == "__main__":
    raise SystemExit(main())
