from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodunnet.kernel.roots import Roots


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host/run/docker").mkdir(parents=True)
    (tmp_path / "host/data/docker").mkdir(parents=True)
    (tmp_path / "host/var/lib").mkdir(parents=True)
    return tmp_path / "host"


@pytest.mark.parametrize(
    ("link", "target", "path", "expected"),
    [
        ("var/run", "/run", "var/run/docker", "run/docker"),
        ("var/run", "../run", "var/run/docker", "run/docker"),
        ("var/lib/docker", "/data/docker", "var/lib/docker/containers", "data/docker/containers"),
        ("var/lib/docker", "../../../../../data/docker", "var/lib/docker", "data/docker"),
        ("var/lib/docker", "/var/lib/docker", "var/lib/docker/a", "var/lib/docker/a"),
        ("var/lib/docker", "/nowhere", "var/lib/docker/a", "nowhere/a"),
    ],
)
def test_links_are_followed_as_the_machine_would(host: Path, link: str, target: str, path: str, expected: str) -> None:
    (host / link).symlink_to(target)
    assert Roots.below(host).resolve(host / path) == host / expected


def test_our_own_machine_needs_no_help() -> None:
    assert Roots().resolve(Path("/proc/self")) == Path("/proc/self")


_NAMES = st.sampled_from(["a", "b", "..", "run", "c"])
_TARGETS = st.tuples(st.booleans(), st.lists(_NAMES, max_size=4)).map(lambda t: ("/" if t[0] else "") + "/".join(t[1]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_NAMES, _NAMES, _TARGETS), max_size=6), st.lists(_NAMES, max_size=6))
def test_no_link_leads_out_of_the_machine(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, str, str]], path: list[str]
) -> None:
    top = tmp_path_factory.mktemp("host")
    for directory, name, target in links:
        place = top / directory if directory != ".." else top
        place = place if place.is_dir() and not place.is_symlink() else top
        if name != ".." and target and not (place / name).is_symlink():
            (place / name).symlink_to(target)
    found = Roots.below(top).resolve(top.joinpath(*path))
    assert found.is_relative_to(top)
