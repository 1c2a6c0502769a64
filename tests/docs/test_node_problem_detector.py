"""deploy/node-problem-detector.json against the contract of custom plugins, and the command in it for real."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from whodunnet.cli.judging import FINDING, HEALTHY, UNJUDGED
from whodunnet.report.npd import LIMIT_BYTES

from .pages import ROOT, text_of

CONFIG: dict[str, Any] = json.loads(text_of("deploy/node-problem-detector.json"))
PROGRAM = "/host/var/lib/whodunnet/whodunnet"
MINE = Path(sys.executable).with_name("whodunnet")
GLOBAL = {"invoke_interval", "timeout", "max_output_length", "concurrency", "skip_initial_status",
          "enable_message_change_based_condition_update"}  # fmt: skip
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> float:
    """Of one number with its unit, as Go writes it."""
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", duration).groups()  # type: ignore[union-attr]
    return float(number) * SECONDS[unit]


def breaches(config: dict[str, Any]) -> list[str]:
    """What node-problem-detector would refuse or ignore (custom_plugin_monitor.md, Validate in config.go)."""
    settings, rules, conditions = config["pluginConfig"], config["rules"], config["conditions"]
    found = [] if config["plugin"] == "custom" else ["plugin"]
    found += [f"unknown {key}" for key in config.keys() - {"plugin", "pluginConfig", "source", "metricsReporting",
                                                           "conditions", "rules"}]  # fmt: skip
    found += [f"unknown {key}" for key in settings.keys() - GLOBAL]
    found += [
        f"duration {text}"
        for text in (settings["timeout"], settings["invoke_interval"], *(rule["timeout"] for rule in rules))
        if not DURATION.fullmatch(text)
    ]
    if found:
        return found
    found += [] if config["source"] else ["source"]
    for rule in rules:
        found += [f"unknown {key}" for key in rule.keys() - {"type", "condition", "reason", "path", "args", "timeout"}]
        found += [] if seconds(rule["timeout"]) <= seconds(settings["timeout"]) else ["timeout above the global one"]
        found += [] if Path(rule["path"]).exists() else ["path does not exist"]
        found += [] if rule["type"] in ("permanent", "temporary") else ["type"]
        if rule["type"] == "permanent" and rule["condition"] not in [c["type"] for c in conditions]:
            found.append("no such condition")
    return found


def test_the_configuration_is_accepted() -> None:
    assert breaches(CONFIG) == []
    assert [sorted(condition) for condition in CONFIG["conditions"]] == [["message", "reason", "type"]]


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ((), "plugin", "journald"),
        ((), "source", ""),
        (("pluginConfig",), "timeout", "2s"),
        (("pluginConfig",), "timeout", "5"),
        (("pluginConfig",), "interval", "5s"),
        (("rules", 0), "path", "/nowhere/whodunnet"),
        (("rules", 0), "condition", "Fault"),
        (("rules", 0), "type", "lasting"),
    ],
)
def test_what_is_not_accepted_is_noticed_here(place: tuple[str | int, ...], key: str, value: str) -> None:
    config: Any = deepcopy(CONFIG)
    part = config
    for step in place:
        part = part[step]
    part[key] = value
    assert breaches(config)


def test_a_condition_has_one_rule_for_two_would_set_it_in_turn() -> None:
    conditions = [rule["condition"] for rule in CONFIG["rules"]]
    assert len(conditions) == len(set(conditions))
    reasons = [one["reason"] for one in (*CONFIG["conditions"], *CONFIG["rules"])]
    assert len(reasons) == len(set(reasons))
    assert all(reason.isalnum() and reason[0].isupper() for reason in reasons)


def test_the_answer_fits_into_the_message() -> None:
    assert CONFIG["pluginConfig"]["max_output_length"] == LIMIT_BYTES


@pytest.fixture(scope="module")
def compiled() -> None:
    """Python compiles what it first imports; the bundle that a node has is compiled."""
    subprocess.run([MINE, "diagnose", "--for", "0s", "--format", "npd"], check=False, capture_output=True, timeout=60)


def run(command: str) -> tuple[int, str, float]:
    """As node-problem-detector does; it would end what takes longer than the timeout."""
    (rule,) = CONFIG["rules"]
    (option, script) = rule["args"]
    assert script.count(PROGRAM) == 1
    begin = time.monotonic()
    done = subprocess.run(
        [rule["path"], option, script.replace(PROGRAM, command)], check=False, capture_output=True, cwd="/",
        stdin=subprocess.DEVNULL, timeout=seconds(rule["timeout"]),
    )  # fmt: skip
    assert done.stderr == b""
    return done.returncode, done.stdout.decode().strip(), time.monotonic() - begin


def run_in_time(command: str) -> tuple[int, str, float]:
    """In one of three tries: while a machine does other work it may be too slow, and the answer is Unknown."""
    for _ in range(2):
        try:
            return run(command)
        except subprocess.TimeoutExpired:
            pass
    return run(command)


@pytest.mark.usefixtures("compiled")
def test_the_command_answers_in_time_with_one_line() -> None:
    status, line, took = run_in_time(str(MINE))
    assert status in (HEALTHY, FINDING, UNJUDGED)
    assert line.isprintable()
    assert 0 < len(line.encode()) <= CONFIG["pluginConfig"]["max_output_length"]
    assert 2 <= took < seconds(CONFIG["rules"][0]["timeout"])


def test_where_there_is_no_whodunnet_nothing_is_known() -> None:
    status, line, _ = run("/nowhere/whodunnet")
    assert status not in (HEALTHY, FINDING)
    assert "/nowhere/whodunnet" in line


def test_an_error_is_the_message() -> None:
    status, line, _ = run(f"{MINE} --unheard-of")
    assert status == UNJUDGED
    assert line.startswith("whodunnet: there is no option --unheard-of")


def test_the_page_is_about_this_configuration() -> None:
    page = text_of("docs/node-problem-detector.md")
    (condition,), (rule,) = CONFIG["conditions"], CONFIG["rules"]
    for word in (condition["type"], condition["reason"], condition["message"], rule["reason"]):
        assert word in page
    assert PROGRAM.removeprefix("/host") in page
    assert (ROOT / "deploy/node-problem-detector.json").exists()
