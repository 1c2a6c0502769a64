from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UsageError
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.report.owner import BYS, By
from whodunnet.report.owner_table import render_owner_json, render_owner_table
from whodunnet.report.owners import OwnerTable, tabulate

from .golden import compare, printed
from .populations import PAGE, WORKLOADS, group, kernel_totals, population


def table(by: By = "container", earlier: Sockets | None = None, **rest: Any) -> OwnerTable:
    now = population()
    return tabulate(now, WORKLOADS, kernel_totals(now), earlier, by=by, **rest)


def labels(by: By) -> list[str]:
    return [row.label for row in table(by).rows]


@pytest.mark.parametrize("by", BYS)
def test_each_view_reads_as_its_golden_file_says(by: By) -> None:
    compare(f"sockets-by-{by}.100", printed(lambda console: render_owner_table(table(by), console), 100))


def test_growth_on_a_narrow_terminal_reads_as_its_golden_file_says() -> None:
    grown = table(earlier=population(leaked=4700), sort="growth", top=5)
    compare("sockets-growth.80", printed(lambda console: render_owner_table(grown, console), 80))


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("top", [0, 1, 3, 100])
def test_no_socket_and_no_page_is_lost_in_any_view(by: By, top: int) -> None:
    result = table(by, top=top)
    rows = [*result.rows, *([result.rest] if result.rest else [])]
    assert sum(row.sockets for row in rows) == result.totals.found_sockets
    assert sum(row.memory_bytes for row in rows) == result.totals.found_pages * PAGE
    assert sum(sum(row.others.values()) for row in rows) == 33


def test_what_is_beyond_the_top_is_one_row() -> None:
    result = table(top=2)
    assert len(result.rows) == 2
    assert result.rest is not None
    assert result.rest.label == "9 others"
    assert result.rest.owner is None


def test_sockets_of_no_process_have_owners_of_their_own() -> None:
    assert {
        "orphans (closed by their process) in netns 12 (shop/web-0: web (77aa66190a2b))",
        "orphans (closed by their process) in netns 99",
        "accept queue of shop/web-0: web (77aa66190a2b)",
        "in flight or io_uring (no descriptor) in netns 11",
        "kernel",
        "pid 999 (vanished or unreadable)",
        "not grouped (tables of the collector were full)",
    } <= set(labels("container"))


def test_processes_outside_of_containers_are_their_unit_or_themselves() -> None:
    assert {"ssh.service", "nc (pid 301)"} <= set(labels("container"))


def test_the_processes_of_one_container_are_one_row_and_one_row_each_by_process() -> None:
    assert table("container").rows[0].sockets == 4790 + 7 + 12
    assert [row.sockets for row in table("process").rows if "payments/foo" in row.label] == [4797, 12]


def test_sockets_and_growth_can_lead() -> None:
    now, before = population(), population()
    before = msgspec.structs.replace(before, groups=before.groups[1:])
    assert tabulate(now, WORKLOADS, by="process", sort="sockets").rows[1].sockets == 801
    grown = tabulate(now, WORKLOADS, earlier=before, by="process", sort="growth").rows[0]
    assert (grown.growth_sockets, grown.growth_pages) == (4790, 4790 * 751)


def test_an_owner_that_has_no_socket_any_more_is_shown_as_shrunk() -> None:
    before = population()
    now = msgspec.structs.replace(before, groups=before.groups[1:2])
    rows = tabulate(now, WORKLOADS, earlier=before, by="process").rows
    gone = next(row for row in rows if row.label.startswith("nginx (pid 200)"))
    assert (gone.sockets, gone.growth_sockets, gone.growth_pages) == (0, -801, -900)


def test_sorting_by_growth_needs_an_earlier_reading() -> None:
    with pytest.raises(UsageError, match="two readings"):
        table(sort="growth")


def test_the_remainder_against_the_kernel_comes_with_the_kernels_own_error() -> None:
    totals = table().totals
    assert (totals.unexplained_pages, totals.unexplained_sockets, totals.drift_pages) == (300, 2, 512)
    text = printed(lambda console: render_owner_table(table(), console), 120)
    last = " ".join(line.strip() for line in text.splitlines()[-2:])
    assert "300 of the kernel's 3,598,624 pages (within the error of ±512 pages" in last
    assert "2 of its 5,653 sockets" in last


def test_without_the_kernels_totals_the_remainder_is_unknown_not_zero() -> None:
    result = tabulate(population(), WORKLOADS)
    assert result.totals.unexplained_pages is None
    assert printed(lambda c: render_owner_table(result, c), 80).endswith("the kernel's own totals were not read\n")


def test_the_json_form_has_full_identities_and_the_same_totals() -> None:
    document = json.loads(render_owner_json(table(top=3)))
    assert document["rows"][0]["owner"]["workload"]["container"]["id"] == "933d66190a2b5c0f4ae8"
    assert document["rest"]["label"] == "8 others"
    assert document["totals"]["unexplained_pages"] == 300


def test_an_empty_pass_is_a_table_without_rows() -> None:
    text = printed(lambda c: render_owner_table(tabulate(Sockets(method="bpf", groups=()), Workloads()), c), 80)
    assert "0 pages, 0 B, 0 TCP sockets" in text


@given(name=st.text(st.characters(), max_size=300))
def test_no_control_character_of_a_name_reaches_the_table(name: str) -> None:
    workloads = Workloads(by_pid={1: Workload(process=Process(pid=1, comm=name), unit=name)})
    result = tabulate(Sockets(method="bpf", groups=(group(1, 1, owner_pid=1),)), workloads, by="process")
    text = printed(lambda console: render_owner_table(result, console), 60)
    assert all(c.isprintable() or c == "\n" for c in text)
