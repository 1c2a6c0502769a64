"""Names of pods by address, from what `kubectl get pods -A -o json` printed: pods of other nodes have no other name."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET

from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import STANDS_FOR_OTHERS, Party
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


_PATH = re.compile(r" - at `\$\.([^`]+)`")
_MISSING = re.compile(r"missing required field `([^`]+)`")
"""Where msgspec's sentences say what they are about."""


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


class _NoPodError(Exception):
    """An item that says to be a pod and does not look like one."""


class PodNames:
    """Pods that have an address of their own now. Those on the node's network share its address and are left out."""

    def __init__(self, pods: Iterable[tuple[str, Pod]] = ()) -> None:
        """pods: addresses as the kernel writes them, each with a pod."""
        self._pods: dict[str, dict[Pod, None]] = {}
        for address, pod in pods:
            self._pods.setdefault(address, {})[pod] = None

    def __len__(self) -> int:
        return len(self._pods)

    def __iter__(self) -> Iterator[Pod]:
        """Every pod, once for each of its addresses."""
        return (pod for pods in self._pods.values() for pod in pods)

    def of(self, address: str) -> tuple[Pod, ...]:
        """Every pod that has the address; several where the list was read while it changed hands."""
        return tuple(self._pods.get(address, ()))


def parse_pods(data: bytes, source: str) -> PodNames:
    """kubectl's list of pods. Raises UsageError naming source."""
    try:
        found = msgspec.json.decode(data, type=_List)
        pods = [pod for n, raw in enumerate(found.items, 1) if (pod := _item(raw, n)) is not None]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NoPodError) as error:
        raise UsageError(f"--pods {source} is not what `{COMMAND}` prints: {_what(data, error)}") from error
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


def may_have_pod(party: Party) -> bool:
    """Whether a pod on another node may be behind a party that is an address alone; not behind that of a Service."""
    address = bare_address(party)
    return address is not None and may_be_pod(address) and party.effect not in STANDS_FOR_OTHERS


def _named(party: Party, pods: PodNames) -> Party:
    """Only where one pod has the address: a party is one."""
    address = bare_address(party)
    found = pods.of(address) if address is not None else ()
    return msgspec.structs.replace(party, pod=found[0]) if len(found) == 1 else party


def _what(data: bytes, error: Exception) -> str:
    """What is the matter with a file, in words of ours."""
    if not data.strip():
        return "it is empty"
    match error:
        case _NoPodError():
            return str(error)
        case msgspec.ValidationError():
            return "it is JSON, but no list of pods"
        case RecursionError():
            return "it is nested too deep"
        case UnicodeDecodeError():
            return "it is not UTF-8 text"
    return "it ends too early" if "truncated" in str(error) else "it is not JSON"


def _item(raw: msgspec.Raw, position: int) -> _Pod | None:
    """The same as _pod. Raises _NoPodError, which says where in the list and what."""
    try:
        return _pod(raw)
    except msgspec.ValidationError as error:
        path, missing = _PATH.search(str(error)), _MISSING.search(str(error))
        field = ".".join(part[1] for part in (path, missing) if part is not None)
        wrong = "is missing" if missing else "is of another type than in Kubernetes"
        raise _NoPodError(f"{clean(field) or 'all'} of its item {position:,} {wrong}") from error


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
