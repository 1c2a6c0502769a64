from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.finding import STANDS_FOR_OTHERS, Party
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod
from whodunnet.report.layout import Sheet
from whodunnet.report.party import write_parties

from .examples import NOW, incident_4
from .golden import printed


def shown(**fields: Any) -> list[str]:
    """The lines of one party that stands beside the culprit."""
    finding = incident_4().findings[0]
    culprit = next(party for party in finding.parties if party.role == "culprit")
    party = Party(role="peer", **fields)
    both = type(finding)(**{name: getattr(finding, name) for name in finding.__struct_fields__} | {
        "parties": (culprit, party)
    })  # fmt: skip
    text = printed(lambda console: write_parties(Sheet(console), both, NOW, False), 80)
    lines = text.splitlines()
    return lines[next(n for n, line in enumerate(lines) if line.startswith("Far end")) :]


@pytest.mark.parametrize(("address", "written"), [("10.244.3.9", "10.244.3.9:80"), ("fd00::9", "[fd00::9]:80")])
def test_an_address_that_may_be_a_pod_comes_with_the_command_that_finds_its_name(address: str, written: str) -> None:
    assert shown(endpoint=Endpoint(address, 80)) == [
        f"Far end      {written}",
        "             if that is a pod, this finds its name (--pods tells it here):",
        f"             kubectl get pods -A -o wide --field-selector=status.podIP={address}",
    ]


@pytest.mark.parametrize("address", ["203.0.113.9", "not an address", None])
def test_an_address_that_is_no_pod_has_no_command(address: str | None) -> None:
    assert len(shown(endpoint=Endpoint(address, 80))) == 1


def test_a_pod_that_is_named_needs_no_command() -> None:
    lines = shown(endpoint=Endpoint("10.244.3.9", 80), pod=Pod(namespace="shop", name="web-0"))
    assert lines == ["Far end      pod shop/web-0", "             at 10.244.3.9:80"]


@pytest.mark.parametrize("effect", sorted(STANDS_FOR_OTHERS))
def test_the_address_of_a_service_is_no_pods(effect: str) -> None:
    assert shown(endpoint=Endpoint("10.96.0.20", 80), effect=effect) == [f"Far end      10.96.0.20:80: {effect}"]


def test_a_namespace_of_which_only_the_address_is_known_is_that_address() -> None:
    lines = shown(endpoint=Endpoint("198.51.100.5", None), netns=4_026_532_315, process=None, pod=None)
    assert lines == ["Far end      198.51.100.5"]


def test_an_address_without_a_port_is_the_address_alone() -> None:
    assert shown(endpoint=Endpoint("203.0.113.9", None)) == ["Far end      203.0.113.9"]
