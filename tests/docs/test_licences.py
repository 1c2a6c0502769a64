"""Every file that is compiled says under which licence it stands, and the licences are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT, project, text_of

PROGRAMS = sorted((ROOT / "bpf").glob("*.bpf.c"))
HEADERS = sorted([*(ROOT / "bpf").glob("*.h"), *(ROOT / "bpf/include").glob("*.h")])


def first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


def test_there_are_programs() -> None:
    assert PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_a_program_has_its_licence_line_its_record_and_a_licence_for_the_kernel(program: Path) -> None:
    assert first_line(program) == "// SPDX-License-Identifier: GPL-2.0-only"
    text, record = program.read_text(encoding="utf-8"), program.name.replace(".bpf.c", ".h")
    assert program.with_name(record).exists()
    assert f'#include "{record}"' in text
    assert 'char LICENSE[] SEC("license") = "GPL";' in text


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_a_header_has_its_licence_line(header: Path) -> None:
    assert re.match(r"/\* SPDX-License-Identifier: GPL-2\.0-only( OR Apache-2\.0)? \*/$", first_line(header))


def test_a_record_that_the_extension_is_compiled_from_may_be_used_under_the_package_licence() -> None:
    records = [path for path in HEADERS if path.parent.name == "bpf"]
    assert all("OR Apache-2.0" in first_line(path) for path in records)
    assert "SPDX-License-Identifier: Apache-2.0" in first_line(ROOT / "tools/libbpf_binding.c")


def test_the_licences_are_whole() -> None:
    assert "Apache License" in text_of("LICENSE")
    assert "END OF TERMS AND CONDITIONS" in text_of("LICENSE")
    assert "GNU GENERAL PUBLIC LICENSE" in text_of("bpf/LICENSE.GPL-2.0")
    assert "END OF TERMS AND CONDITIONS" in text_of("bpf/LICENSE.GPL-2.0")


def test_the_package_carries_both() -> None:
    assert project()["project"]["license"] == "Apache-2.0 AND GPL-2.0-only"
    assert project()["project"]["license-files"] == ["LICENSE", "bpf/LICENSE.GPL-2.0"]
