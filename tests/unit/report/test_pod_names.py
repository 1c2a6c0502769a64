from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from whodunnet.errors import UsageError
from whodunnet.model.finding import Party
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod, Process
from whodunnet.report.pod_names import PodNames, bare_address, find_command, may_be_pod, parse_pods, with_pods

from .examples import incident_4


def pod(name: str = "web-0", address: str = "10.244.3.9", phase: str = "Running", **spec: Any) -> dict[str, Any]:
    """As kubectl 1.31 prints one, shortened."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-of-{name}", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}], "nodeName": "n2"} | spec,
        "status": {"phase": phase, "hostIP": "192.168.7.5", "podIP": address, "podIPs": [{"ip": address}]},
    }


def listed(*items: Any) -> bytes:
    return json.dumps({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {}}).encode()


def names(found: PodNames, address: str = "10.244.3.9") -> list[str | None]:
    return [p.name for p in found.of(address)]


def test_a_pod_is_known_by_its_address() -> None:
    found = parse_pods(listed(pod()), "pods.json")
    assert found.of("10.244.3.9") == (Pod(namespace="shop", name="web-0", uid="uid-of-web-0"),)
    assert found.of("192.168.7.5") == ()


def test_each_of_several_addresses_leads_to_it_in_the_form_of_the_kernel() -> None:
    item = pod()
    item["status"]["podIPs"] = [{"ip": "10.244.3.9"}, {"ip": "FD00:0:0::0009"}, {"ip": "::ffff:10.1.2.3"}]
    found = parse_pods(listed(item), "pods.json")
    assert names(found) == names(found, "fd00::9") == names(found, "::ffff:10.1.2.3") == ["web-0"]
    assert len(found) == 3


def test_a_pod_on_the_network_of_its_node_has_no_address_of_its_own() -> None:
    assert names(parse_pods(listed(pod(hostNetwork=True), pod("other", "10.1.1.1")), "pods.json")) == []


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_has_given_its_address_back(phase: str) -> None:
    assert names(parse_pods(listed(pod("job", phase=phase), pod("web-1")), "pods.json")) == ["web-1"]


@pytest.mark.parametrize("phase", ["Running", "Pending", "Unknown", ""])
def test_a_pod_that_may_run_is_known(phase: str) -> None:
    """Pending is also a pod whose init containers run."""
    assert names(parse_pods(listed(pod(phase=phase)), "pods.json")) == ["web-0"]


def test_all_running_pods_of_one_address_are_kept() -> None:
    assert names(parse_pods(listed(pod("a"), pod("b"), pod("c", phase="Failed")), "pods.json")) == ["a", "b"]


def test_a_pod_without_an_address_or_with_none_that_is_one_is_left_out() -> None:
    waiting, odd = pod("waiting"), pod("odd", "not an address")
    del waiting["status"]["podIP"], waiting["status"]["podIPs"]
    assert len(parse_pods(listed(waiting, odd), "pods.json")) == 0


def test_what_is_no_pod_is_skipped() -> None:
    service = {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [80]}, "status": {"loadBalancer": {}}}
    assert names(parse_pods(listed(service, pod()), "pods.json")) == ["web-0"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"NAME READY STATUS", "it is not JSON"),
        (b'{"kind": "List", "items": [', "it ends too early"),
        (b"[]", "no list of pods"),
        (b"{}", "no list of pods"),
        (b"\xff\xfe", "it is not JSON"),
        (b'{"kind": "\xff", "items": []}', "it is not UTF-8 text"),
        (b'{"kind": "List", "items": {}}', "no list of pods"),
        (b'{"kind": "List", "items": [1]}', "all of its item 1 is of another type"),
        (b'{"kind": "List", "items": [{"kind": "Pod"}]}', "metadata of its item 1 is missing"),
        (
            b'{"kind": "List", "items": [{"kind": "Pod", "metadata": {"name": 7}}]}',
            "metadata.name of its item 1 is of another type",
        ),
        (b'{"kind": "List", "items": ' + b"[" * 100_000, "nested too deep"),
        (listed(), "has no pods"),
        (listed({"kind": "Service", "metadata": {"name": "web"}}), "has no pods"),
    ],
)
def test_what_kubectl_did_not_write_is_refused_in_one_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_pods(data, "pods.json")
    assert str(caught.value).startswith("--pods pods.json ")
    assert "kubectl get pods -A -o json" in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_names_or_one_sentence(data: bytes) -> None:
    _names_or_sentence(data)


@given(st.data())
def test_a_damaged_list_is_names_or_one_sentence(data: st.DataObject) -> None:
    whole = bytearray(listed(pod(), pod("b", "fd00::1")))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    _names_or_sentence(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "kind": st.one_of(st.just("Pod"), JSON),
                "metadata": st.one_of(st.fixed_dictionaries({"name": st.text()}), JSON),
                "spec": st.one_of(st.fixed_dictionaries({"hostNetwork": st.booleans()}), JSON),
                "status": st.one_of(
                    st.fixed_dictionaries({"podIP": st.one_of(st.text(), st.ip_addresses().map(str))}), JSON
                ),
            },
        )
    )
)
def test_any_list_is_names_or_one_sentence(items: list[Any]) -> None:
    _names_or_sentence(json.dumps({"kind": "List", "items": items}).encode())


def _names_or_sentence(data: bytes) -> None:
    sentence = ""
    try:
        found = parse_pods(data, "pods.json")
    except UsageError as error:
        sentence = str(error)
        found = PodNames()
    assert sentence.isprintable()
    assert bool(sentence) or len(found) >= 0


@pytest.mark.parametrize("address", ["10.0.0.1", "172.31.255.1", "192.168.0.9", "100.64.3.4", "240.1.1.1", "fd12::1"])
def test_addresses_that_clusters_give_to_pods(address: str) -> None:
    assert may_be_pod(address)


@pytest.mark.parametrize("address", ["203.0.113.9", "8.8.8.8", "127.0.0.1", "172.32.0.1", "2001:db8::1", "", "\x1b[2J"])
def test_addresses_that_are_no_pods(address: str) -> None:
    assert not may_be_pod(address)


def test_the_command_means_one_address_whatever_it_is() -> None:
    assert find_command("fd00::9").endswith("status.podIP=fd00::9")
    assert find_command("a; rm -rf /").endswith("status.podIP='a; rm -rf /'")


def test_a_party_that_is_an_address_gets_the_pod_behind_it() -> None:
    found = incident_4()
    (address,) = {p.endpoint.address for f in found.findings for p in f.parties if p.endpoint is not UNSET}
    assert address is not None
    far = Pod(namespace="cdn", name="edge-1")
    named = with_pods(found, PodNames([(address, far)]))
    before = [p for f in found.findings for p in f.parties]
    after = [p for f in named.findings for p in f.parties]
    assert [p.pod for p, old in zip(after, before, strict=True) if bare_address(old) == address] == [far]
    assert [p for p, old in zip(after, before, strict=True) if bare_address(old) is None] == [
        p for p in before if bare_address(p) is None
    ]


def test_an_address_of_several_pods_names_none_of_them() -> None:
    party = Party(role="peer", endpoint=Endpoint("203.0.113.9", 8443))
    twins = PodNames(("203.0.113.9", Pod(name=name)) for name in "ab")
    found = incident_4()
    assert with_pods(found, twins) == found
    assert bare_address(party) == "203.0.113.9"


def test_whoever_is_named_already_keeps_its_name() -> None:
    party = Party(role="culprit", process=Process(pid=1, comm="x"), endpoint=Endpoint("10.0.0.1", 80))
    assert bare_address(party) is None
