"""What a case needs is read off its code: nothing that it starts is missed."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from lab import needs as module
from lab.catalogue import find
from lab.needs import MODULES, PROGRAMS, MissingNeedsError, check, how_to_get, missing, needs

LAB = Path(module.__file__).parent
STARTERS = {"run": 2, "inside": 1}
"""Function -> position of the program's name among its arguments."""

ALWAYS_THERE = {"cat", "nice", "python", "sh", "sleep", "tee", "test", "true"}
NOT_OF_A_CASE = ("board", "commit", "images", "kernel_packages", "machine", "series", "support")


@pytest.mark.parametrize(
    ("name", "wanted", "unwanted"),
    [
        ("response-never-read", {"nginx", "ip", "nsenter", "setpriv"}, {"nft", "haproxy", "requests"}),
        ("keepalive-through-proxy", {"uvicorn", "requests"}, {"httpx", "nginx"}),
        ("through-proxy", {"haproxy", "nginx"}, {"node"}),
        ("table-full-by-churn", {"conntrack", "nft"}, {"iptables"}),
        ("table-filling-by-churn", {"iptables", "node"}, {"haproxy"}),
        ("idle-tls-tickets", {"ssl", "openssl"}, {"nginx"}),
        ("never-connected", {"ip"}, {"nginx", "nft"}),
    ],
)
def test_a_case_needs_what_its_code_can_come_to(name: str, wanted: set[str], unwanted: set[str]) -> None:
    needed = needs(find(name))
    assert wanted <= needed
    assert not unwanted & needed


def started(path: Path) -> set[str]:
    """Programs that are named where one is started: in lists that are passed to subprocess, by run() and inside()."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("run", "Popen") and node.args and isinstance(node.args[0], ast.List):
            names |= words(node.args[0].elts[:1])
        elif name in STARTERS and len(node.args) > STARTERS[name]:
            names |= words(node.args[STARTERS[name] : STARTERS[name] + 1])
    return names


def words(nodes: list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_program_that_a_case_starts_is_known() -> None:
    found = {word for path in LAB.rglob("*.py") if not path.name.startswith(NOT_OF_A_CASE) for word in started(path)}
    assert {"nginx", "sysctl", "ip"} <= found
    assert found - ALWAYS_THERE <= PROGRAMS.keys()


def test_what_is_missing_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nginx" else f"/bin/{name}")
    with pytest.raises(MissingNeedsError) as error:
        check("response-never-read", find("response-never-read"))
    assert str(error.value) == "response-never-read needs nginx: apt-get install nginx-light"


def test_a_missing_package_of_python_is_installed_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.delenv("WHODUNNET_BUNDLE", raising=False)
    assert missing({*MODULES, "ssl"}) == {*MODULES, "ssl"}
    assert (
        how_to_get(["nginx", "grpc"]) == f"grpc and nginx: apt-get install nginx-light; {module.pip()} install grpcio"
    )


def test_to_the_one_file_bundle_none_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHODUNNET_BUNDLE", "/opt/whodunnet")
    assert how_to_get(["httpx"]) == "httpx: the one-file bundle has no packages of Python, the wheel can have them"
