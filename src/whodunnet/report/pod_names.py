"""Names of pods by address, from what `kubectl get pods -A -o json` printed: pods of other nodes have no other name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET

from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import Party
from whodunnet.model.text import clean, shell_quote
from whodunnet.model.workload import Pod

COMMAND = "kubectl get pods -A -o json"
ENDED = frozenset({"Succeeded", "Failed"})
"""Phases in which a pod has given its address back; another one may have it by now."""

_POD_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "240.0.0.0/4", "fc00::/7")
)
"""What clusters give to pods: RFC 1918, RFC 6598, class E (GKE), and unique local addresses."""


class _Metadata(msgspec.Struct):
    name: str
    namespace: str | None = None
    uid: str | None = None


class _Spec(msgspec.Struct, rename="camel"):
    host_network: bool = False


class _Address(msgspec.Struct):
    ip: str = ""


class _Status(msgspec.Struct, rename={"pod_ip": "podIP", "pod_ips": "podIPs"}):
    phase: str = ""
    pod_ip: str = ""
    pod_ips: list[_Address] = []


class _Pod(msgspec.Struct):
    metadata: _Metadata
    kind: str = "Pod"
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Kind(msgspec.Struct):
    kind: str = ""


class _List(msgspec.Struct):
    kind: str
    items: list[msgspec.Raw]


class PodNames:
    """Pods that have an address of their own now. Those on the node's network share its address and are left out."""

    def __init__(self, pods: Iterable[tuple[str, Pod]] = ()) -> None:
        """pods: addresses as the kernel writes them, each with a pod."""
        self._pods: dict[str, dict[Pod, None]] = {}
        for address, pod in pods:
            self._pods.setdefault(address, {})[pod] = None

    def __len__(self) -> int:
        return len(self._pods)

    def of(self, address: str) -> tuple[Pod, ...]:
        """Every pod that has the address; several where the list was read while it changed hands."""
        return tuple(self._pods.get(address, ()))


def parse_pods(data: bytes, source: str) -> PodNames:
    """kubectl's list of pods. Raises UsageError naming source."""
    try:
        found = msgspec.json.decode(data, type=_List)
        pods = [pod for raw in found.items if (pod := _pod(raw)) is not None]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what = clean(str(error), 160)
        raise UsageError(f"--pods {source} is not the output of {COMMAND}: {what}") from error
    if not pods:
        raise UsageError(f"--pods {source} has no pods; write it with: {COMMAND}")
    return PodNames(named for pod in pods for named in _addresses(pod))


def find_command(address: str) -> str:
    """What finds the name of a pod on another node."""
    return f"kubectl get pods -A -o wide --field-selector=status.podIP={shell_quote(address)}"


def may_be_pod(address: str) -> bool:
    """Whether clusters give such addresses to pods."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _POD_NETWORKS if network.version == parsed.version)


def with_pods(diagnosis: Diagnosis, pods: PodNames) -> Diagnosis:
    """The same diagnosis, where parties that are an address alone have the pod behind it."""
    findings = tuple(
        msgspec.structs.replace(finding, parties=tuple(_named(party, pods) for party in finding.parties))
        for finding in diagnosis.findings
    )
    return msgspec.structs.replace(diagnosis, findings=findings)


def bare_address(party: Party) -> str | None:
    """The address of a party of which nothing else is known."""
    if any(part is not UNSET and part is not None for part in (party.process, party.container, party.pod, party.unit)):
        return None
    return None if party.endpoint is UNSET else party.endpoint.address


def _named(party: Party, pods: PodNames) -> Party:
    """Only where one pod has the address: a party is one."""
    address = bare_address(party)
    found = pods.of(address) if address is not None else ()
    return msgspec.structs.replace(party, pod=found[0]) if len(found) == 1 else party


def _pod(raw: msgspec.Raw) -> _Pod | None:
    """One item; None if it is something else than a pod (kubectl get all). Raises msgspec.MsgspecError."""
    if msgspec.json.decode(raw, type=_Kind).kind not in ("", "Pod"):
        return None
    return msgspec.json.decode(raw, type=_Pod)


def _addresses(pod: _Pod) -> Iterator[tuple[str, Pod]]:
    if pod.spec.host_network or pod.status.phase in ENDED:
        return
    meta = pod.metadata
    named = Pod(namespace=meta.namespace, name=meta.name, uid=meta.uid)
    for text in dict.fromkeys((pod.status.pod_ip, *(a.ip for a in pod.status.pod_ips))):
        address = _canonical(text)
        if address is not None:
            yield address, named


def _canonical(text: str) -> str | None:
    """An address as the kernel's side writes it, None for what is no address."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return socket.inet_ntop(socket.AF_INET if parsed.version == 4 else socket.AF_INET6, parsed.packed)
