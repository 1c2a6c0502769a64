"""What to do, with the workload's names put in. Commands are quoted: the names come from the node and are hostile."""

from __future__ import annotations

from whodunnet.model.finding import Remedy
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.text import shell_quote
from whodunnet.model.workload import Workload
from whodunnet.rules.leak_pace import Pace, duration

GONE = ("gone", "zombie")
CAPTURE = Remedy(
    action="capture",
    do="Keep the evidence first: a restart destroys it",
    command="whodunnet record /var/tmp/case --every 2s --for 60s",
    effect="a file to judge later or elsewhere: whodunnet replay /var/tmp/case",
    risk="none",
)


def restart(workload: Workload | None, frees: str, again: str) -> Remedy | None:
    """How to restart whatever it is; None where nobody is known. frees, again: effect and what happens next."""
    if workload is None:
        return None
    stateful = "its open requests fail; if it keeps state, follow its own procedure instead"
    risk = f"{again}; {stateful}"
    pod = workload.pod
    if pod is not None and pod.name is not None and pod.namespace is not None:
        if pod.static:
            return Remedy(
                action="restart-workload",
                do="Restart the static pod: move its manifest out of the kubelet's directory and back",
                command=None,
                effect=frees,
                risk=risk,
            )
        command = f"kubectl delete pod --namespace={shell_quote(pod.namespace)} -- {shell_quote(pod.name)}"
        return Remedy(action="restart-workload", do="Restart the pod", command=command, effect=frees, risk=risk)
    if workload.container is not None:
        return Remedy(
            action="restart-workload",
            do="Restart the container with its runtime",
            command=None,
            effect=frees,
            risk=risk,
        )
    if workload.unit is not None and workload.unit.endswith(".service"):
        command = f"systemctl restart -- {shell_quote(workload.unit)}"
        return Remedy(action="restart-workload", do="Restart the service", command=command, effect=frees, risk=risk)
    process = workload.process
    if process is not None and process.pid != 1 and process.started is not None and process.state not in GONE:
        command = f"kill {process.pid}"
        return Remedy(action="restart-workload", do="Restart the process", command=command, effect=frees, risk=risk)
    return None


def fix(text: str) -> Remedy:
    """What its developers change."""
    return Remedy(action="fix-application", do=text, command=None, effect="ends it for good", risk="none")


def raise_limit(m: TcpMemory, pace: Pace | None) -> Remedy | None:
    """Twice the limits of tcp_mem: buys time, cures nothing. None where the limits are unknown."""
    if m.low_pages is None or m.pressure_pages is None or m.max_pages is None:
        return None
    gained = m.max_pages * m.page_size_bytes
    risk = f"up to {gained / 2**30:.1f} GiB more of the node's memory goes to sockets"
    if m.memory_total_bytes is not None and 2 * gained > m.memory_total_bytes / 2:
        risk += ", more than half of all there is: processes may be killed for lack of memory"
    bought = "as long again as it took to fill, if it fills at a constant pace"
    if pace is not None and pace.bytes_per_second > 0:
        bought = f"{duration(gained / pace.bytes_per_second)} at the present pace"
    return Remedy(
        action="tune",
        do="Double the limits of TCP memory",
        command=f'sysctl -w net.ipv4.tcp_mem="{2 * m.low_pages} {2 * m.pressure_pages} {2 * m.max_pages}"',
        effect=f"buys {bought}",
        risk=risk,
    )
