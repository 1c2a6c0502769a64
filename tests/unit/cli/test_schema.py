from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from whodunnet.cli.schema import DOCUMENTS, command
from whodunnet.report import schema
from whodunnet.report.json import encode


def printed(*arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "whodunnet", "schema", *arguments]
    return subprocess.run(whole, check=False, capture_output=True, text=True)


def test_the_documents_of_the_command_are_those_that_have_a_schema() -> None:
    (argument,) = command.params
    assert isinstance(argument.type, click.Choice)
    assert tuple(argument.type.choices) == DOCUMENTS == tuple(schema.DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_of_each_document_is_printed(name: str) -> None:
    shown = printed(name)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout) == json.loads(encode(schema.schema_of(name)))


def test_without_a_name_it_is_that_of_a_diagnosis() -> None:
    assert json.loads(printed().stdout)["title"] == "whodunnet/diagnosis/v1"


def test_an_unknown_document_is_told_the_known_ones() -> None:
    shown = printed("finding")
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert not [name for name in DOCUMENTS if name not in shown.stderr]
