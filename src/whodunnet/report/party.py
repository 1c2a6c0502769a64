"""Who causes it, who only holds it, who suffers: the lines under the title of a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import UNSET, UnsetType

from whodunnet.model.finding import Finding, Party, PartyRole
from whodunnet.model.text import clean
from whodunnet.model.workload import Container, Process, Workload
from whodunnet.report.identity import endpoint_name, workload_name
from whodunnet.report.layout import Part, Sheet
from whodunnet.report.pod_names import bare_address, find_command, may_have_pod
from whodunnet.report.quantity import clock, count, duration, percent, size, utc

T = TypeVar("T")
ROLES: dict[PartyRole, tuple[str, str]] = {
    "culprit": ("Caused by", "bold red"),
    "reader": ("Should read", "bold"),
    "holder": ("Only holds", "bold"),
    "peer": ("Far end", "bold"),
    "victim": ("Suffers", "bold"),
}
HANG = 13
_SHOWN_PER_ROLE = 3


def write_parties(sheet: Sheet, finding: Finding, now: datetime, verbose: bool, known: Sequence[Party] = ()) -> None:
    """Culprit first; parties that were shown with the cause are left out."""
    fresh = [party for party in finding.parties if party not in known and not _is_among(party, known)]
    nobody = not any(party.role == "culprit" for party in finding.parties)
    if nobody and not known and finding.severity != "info":
        sheet.write("nobody can be named from these readings", lead=("Caused by", "bold"), hang=HANG)
    for role, (title, style) in ROLES.items():
        title = "Suspected" if role == "culprit" and finding.confidence == "possible" else title
        same = [party for party in fresh if party.role == role]
        shown = same if verbose else same[:_SHOWN_PER_ROLE]
        for position, party in enumerate(shown):
            _write_party(sheet, party, (title, style) if position == 0 else "", now, verbose)
        if len(same) > len(shown):
            sheet.write(f"and {len(same) - len(shown)} more, -v lists them", hang=HANG)


def _is_among(party: Party, known: Sequence[Party]) -> bool:
    """Whether that owner was shown already: a consequence need not list its cause as a holder once more."""
    owner = (party.process, party.container, party.pod, party.unit)
    return owner != (UNSET,) * 4 and any(owner == (p.process, p.container, p.pod, p.unit) for p in known)


def party_name(party: Party) -> str:
    """The most telling of its names."""
    workload = Workload(
        process=known(party.process),
        container=known(party.container),
        pod=known(party.pod),
        unit=known(party.unit),
        netns=known(party.netns) if party.endpoint is UNSET else None,
    )
    if workload != Workload():
        return workload_name(workload)
    if party.endpoint is not UNSET:
        return endpoint_name(party.endpoint)
    return f"node {clean(party.node)}" if party.node is not UNSET else "unknown owner"


def known(value: T | UnsetType | None) -> T | None:
    """None for what does not apply as well as for what is unknown."""
    return None if isinstance(value, UnsetType) else value


def _write_party(sheet: Sheet, party: Party, lead: Part, now: datetime, verbose: bool) -> None:
    effect = f": {party.effect}" if party.effect is not UNSET else ""
    sheet.write((party_name(party), "bold" if party.role == "culprit" else ""), effect, lead=lead, hang=HANG)
    lines = [", ".join(_facts(party)), ", ".join(_life(party, now)), *(_full_identity(party) if verbose else ())]
    for line in filter(None, lines):
        sheet.write(line, hang=HANG)
    address = bare_address(party)
    if address is not None and may_have_pod(party):
        sheet.write("if that is a pod, this finds its name (--pods tells it here):", hang=HANG)
        sheet.command(find_command(address), HANG)


def _facts(party: Party) -> Iterator[str]:
    process = known(party.process)
    if process and process.state not in (None, "running", "sleeping"):
        yield f"the process is {process.state}"
    share = known(party.share)
    if share is not None:
        yield f"{percent(share)} of {party.share_of}" if party.share_of is not UNSET else f"share {percent(share)}"
    if party.device is not UNSET:
        queues = f", receive queue {', '.join(map(str, party.queues[:8]))}" if party.queues is not UNSET else ""
        yield f"device {clean(party.device, 32)}{queues}"
    if party.sockets is not UNSET:
        yield count(party.sockets, "socket")
    if party.entries is not UNSET:
        yield f"{party.entries:,} tracked {'connection' if party.entries == 1 else 'connections'}"
    if party.memory_bytes is not UNSET:
        yield size(party.memory_bytes)
    if process and process.descriptor_limit and party.sockets is not UNSET:
        yield f"{percent(party.sockets, process.descriptor_limit)} of its {process.descriptor_limit:,} descriptors"
    workload = [party.process, party.container, party.pod, party.unit]
    if party.endpoint is not UNSET and any(known(part) for part in workload):
        yield f"at {endpoint_name(party.endpoint)}"


def _life(party: Party, now: datetime) -> Iterator[str]:
    """Since when it runs and from which image: what is compared with the begin of the fault."""
    owner: Process | Container | None = known(party.process)
    owner = owner if owner and owner.started else known(party.container)
    if owner and owner.started:
        age = duration(max((utc(now) - utc(owner.started)).total_seconds(), 0))
        yield f"running since {clock(owner.started, now)} ({age})"
    container = known(party.container)
    if container and container.image:
        yield f"image {clean(container.image)}"


def _full_identity(party: Party) -> Iterator[str]:
    process, container, pod = known(party.process), known(party.container), known(party.pod)
    if process and process.exe:
        yield f"program {clean(process.exe)}"
    if container:
        yield f"{clean(container.runtime or 'unknown runtime')} container {clean(container.id)}"
        yield f"cgroup {clean(container.cgroup, 1024)}"
    if pod and pod.uid:
        yield f"pod uid {clean(pod.uid)}"
    if known(party.netns) is not None:
        yield f"network namespace {known(party.netns)}"
