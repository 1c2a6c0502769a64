"""softnet_stat by the columns of each kernel, and lines that do not say which CPU they are of."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs import softnet_stat
from whodunnet.kernel.procfs.softnet_stat import SoftnetLine, parse_softnet_stat, read_softnet_stat
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "softnet-6.18/proc/self/net/softnet_stat").read_bytes()
WORD = st.integers(0, 2**32 - 1)


def written(columns: int, *cpus: SoftnetLine) -> bytes:
    """As a kernel with so many columns writes it."""
    lines = []
    for line in cpus:
        every = [line.processed, line.dropped, line.squeezed, 0, 0, 0, 0, 0, 0, line.steered or 0,
                 line.flow_limited or 0, line.waiting or 0, line.cpu or 0, 0, 0]  # fmt: skip
        lines.append(" ".join(f"{word:08x}" for word in every[:columns]))
    return "\n".join(lines).encode() + b"\n"


def machine(tmp_path: Path, data: bytes, online: str = "0-1") -> Roots:
    for name, content in (("proc/self/net/softnet_stat", data), ("sys/devices/system/cpu/online", online.encode())):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Roots.below(tmp_path)


def test_a_real_kernel_is_read() -> None:
    found = read_softnet_stat(Roots.below(MACHINES / "softnet-6.18"))
    assert found[0] == SoftnetLine(
        processed=0x0221BCBD, dropped=0x135575, squeezed=0x9A, steered=0x15A584, flow_limited=0, waiting=0, cpu=0
    )
    assert (found[1].processed, found[1].dropped, found[1].cpu) == (0x03F8243E, 0xAFA, 1)


@given(st.lists(st.builds(SoftnetLine, processed=WORD, dropped=WORD, squeezed=WORD, steered=WORD, flow_limited=WORD,
                          waiting=WORD, cpu=st.integers(0, 500)), min_size=1, max_size=5))  # fmt: skip
def test_all_columns_are_read_back(lines: list[SoftnetLine]) -> None:
    assert parse_softnet_stat(written(15, *lines), "f") == lines
    assert parse_softnet_stat(written(13, *lines), "f") == lines


@pytest.mark.parametrize(("columns", "missing"), [(11, ("waiting", "cpu")), (10, ("flow_limited", "waiting", "cpu"))])
def test_a_column_that_an_older_kernel_lacks_is_none_and_not_zero(columns: int, missing: tuple[str, ...]) -> None:
    (line,) = parse_softnet_stat(written(columns, SoftnetLine(processed=7, dropped=2, squeezed=1)), "f")
    assert (line.processed, line.dropped, line.squeezed, line.steered) == (7, 2, 1, 0)
    assert all(getattr(line, name) is None for name in missing)


def test_lines_without_a_number_are_those_of_the_cpus_online(tmp_path: Path) -> None:
    lines = [SoftnetLine(processed=n, dropped=0, squeezed=0) for n in (5, 6)]
    found = read_softnet_stat(machine(tmp_path, written(11, *lines), "0,3"))
    assert {cpu: line.processed for cpu, line in found.items()} == {0: 5, 3: 6}


def test_lines_that_fit_no_list_of_cpus_are_not_guessed(tmp_path: Path) -> None:
    line = SoftnetLine(processed=5, dropped=0, squeezed=0)
    with pytest.raises(UnreadableError, match="CPUs come and go") as error:
        read_softnet_stat(machine(tmp_path, written(11, line, line, line)))
    assert error.value.code == "vanished"


def test_cpus_that_change_meanwhile_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = machine(tmp_path, written(11, *[SoftnetLine(processed=n, dropped=0, squeezed=0) for n in (5, 6)]))
    online = iter([(0, 1, 2), (0, 1), (0, 1)])
    monkeypatch.setattr(softnet_stat, "read_online", lambda _roots: next(online))
    assert set(read_softnet_stat(roots)) == {0, 1}


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        assert all(line.processed < 2**32 for line in parse_softnet_stat(data, "f"))


@pytest.mark.parametrize("data", [b"", b"\n", b"0221bcbd 00000000\n", b"x" * 135, REAL.upper()])
def test_what_is_no_such_file_is_named(data: bytes) -> None:
    with pytest.raises(MalformedError, match="f: "):
        parse_softnet_stat(data, "f")
