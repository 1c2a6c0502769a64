"""whodunnet called in this process, and the window and diagnosis that it gets."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from whodunnet.cli import diagnose, main
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.snapshot import Recording
from whodunnet.rules.overrides import Overrides

from .faked import Faked, FakeWatch, Result, Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point with arguments."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["whodunnet", *arguments])
        status: Any = 0
        try:
            main.run()
        except SystemExit as done:
            status = done.code
        return Result(status or 0, *capsys.readouterr())

    return call


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Faked:
    fake = Faked()

    def judge(recording: Recording, rules: list[str], required: list[str], overrides: Overrides) -> Diagnosis:
        assert recording is FakeWatch.recording
        fake.rules, fake.required, fake.overrides = list(rules), list(required), overrides
        return fake.diagnosis

    monkeypatch.setattr(diagnose, "Watch", FakeWatch)
    monkeypatch.setattr(diagnose, "diagnose", judge)
    monkeypatch.setattr(FakeWatch, "failure", None)
    return fake
