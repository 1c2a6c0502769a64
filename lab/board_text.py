"""The score board as a page, from its cells alone: the same cells give the same page."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import median

from lab.catalogue import find, names
from lab.markdown import table
from lab.outcome import Outcome

MISSES = Path(__file__).with_name("misses.toml")
WORDS = {"right": "right", "wrong": "**wrong**", "not-scored": "not scored"}
HEAD = """\
# Score board

How often is a diagnosis right? Each row is a fault, or a healthy node that looks like one, made real with real
programs (`lab/faults`), one at a time on a kernel; whodunnet was asked, and its answer held against what the case says
beforehand. Written by `make lab` from [scoreboard.json](scoreboard.json), never by hand.

"""
MEANING = """
A case is *right* only if whoever has to be named is, each in the right role, a culprit by the right rule and in the
right shape and severity; if nobody else is called culprit by any rule; and if there is no other finding of warning or
above: of a fault by the rules it is about (`rules` in its file), of a healthy node by any but those that the case says
are true. Findings of other rules on faults are counted *beside*, and not judged: a fault may have more consequences
than its case speaks of. *As info only*: said, but `diagnose` ends with status 0. No answer, or none that can be read,
is wrong. If a case was run several times with one commit, the worst is what counts; a run with newer code takes the
place of older ones, and says how many of those were wrong. A fault *that one machine cannot decide* may be told or
not, and nobody innocent may be blamed.

*Recall*: who has to be named and is, of all who have to be; where nobody is to be named, the fault itself counts for
one. *Precision*: right culprits of all who were called so, without those who may be and need not. *False findings*:
those of warning or above on healthy and look-alike nodes. *Seconds from fault to name* run from
the fault being there, as seen by other means, to the answer, of diagnoses that are right; in it are the age that the
case wants and the window, which are chosen beforehand. *Of asking* is what of it whodunnet took, its window included.
*Not scored*: the case could not be made real there, or the emulator itself failed. *Not run*: not tried there yet.
Where not *all rules* were *asked*, whom other rules would have blamed is not known. Look-alikes of stalls allow a stall
of which nobody is named where pings were late all the same: a virtual CPU was then not run.
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole page, Markdown."""
    if not outcomes:
        return HEAD + "No case was run yet.\n"
    machines = machines_of(outcomes)
    parts = [HEAD, totals(outcomes, machines), MEANING]
    for kind, title in (("fault", "Faults"), ("look-alike", "Healthy nodes that look like one")):
        parts.append(f"\n## {title}\n\n{cases([o for o in outcomes if o.kind == kind], machines)}")
    return "".join([*parts, misses(outcomes), besides(outcomes)])


def version(name: str) -> list[int]:
    return [int(part) for part in name.split(".") if part.isdigit()]


def totals(outcomes: Sequence[Outcome], machines: Sequence[str]) -> str:
    columns = [total([o for o in outcomes if o.machine.name == name]) for name in machines]
    return table(["", *machines], ([word, *(column[word] for column in columns)] for word in columns[0]))


def summary(outcomes: Sequence[Outcome]) -> str:
    """For the README: what the totals say, in a sentence for each machine."""
    parts = []
    for name in machines_of(outcomes):
        cells = [outcome for outcome in outcomes if outcome.machine.name == name]
        sums, where = total(cells), "" if name == "host" else "an emulated "
        quiet = int(sums["of these as info only"])
        told = f"{sums['faults right']} are right{f', {quiet} of them as info only' if quiet else ''}; of the healthy"
        parts.append(
            f"On {where}{sums['kernel']} {sums['cases scored']} cases were scored: of the faults {told} nodes and "
            f"look-alikes {sums['healthy and look-alike right']}; innocents blamed {sums['innocents blamed']}, rules "
            f"asked: {sums['rules asked']}; {sums['median seconds from fault to name']} s from fault to name."
        )
    return " ".join(parts)


def machines_of(outcomes: Sequence[Outcome]) -> list[str]:
    """The host first, then kernels by age."""
    return sorted({outcome.machine.name for outcome in outcomes}, key=lambda name: (name != "host", version(name)))


def total(cells: Sequence[Outcome]) -> dict[str, str]:
    """The figures of one machine. cells: not empty."""
    return {**of_cells(cells), **of_answers(cells), **of_names(cells), **of_costs(cells)}


def of_cells(cells: Sequence[Outcome]) -> dict[str, str]:
    """Which they are."""
    known = {*names()}
    return {
        "machine": "this one" if cells[0].machine.name == "host" else f"emulated (qemu without KVM), {preempt(cells)}",
        "kernel": ", ".join(sorted({o.machine.kernel for o in cells})),
        "CPUs": ", ".join(sorted({str(o.machine.cpus) for o in cells})),
        "date": spread(o.at.date().isoformat() for o in cells),
        "commit": ", ".join(f"`{name}` {n}" for name, n in Counter(o.commit for o in cells).most_common()),
        "cases scored": f"{len(answered(cells))} of {len(known)}",
        "not run": str(len(known - {o.case for o in cells})),
        "not scored": str(len(cells) - len(answered(cells))),
        "not made real since": str(sum(bool(o.not_made_since) for o in cells)),
        "rules asked": asked(sum(o.beside is not None for o in cells), len(cells)),
    }


def of_answers(cells: Sequence[Outcome]) -> dict[str, str]:
    """How many are right."""
    told = answered(cells)
    faults, others = decidable(told), [o for o in told if o.kind != "fault"]
    unread = [o for o in told if is_known(o) and find(o.case).rules_unread]
    return {
        "faults right": rate(faults),
        "of these as info only": str(sum(o.info_only for o in faults)),
        "faults that one machine cannot decide, right": rate([o for o in told if o not in (*faults, *others)]),
        "healthy and look-alike right": rate(others),
        "of all, with late pings or CPUs taken away, so that a stall of nobody was allowed": str(
            sum(o.loosened for o in told)
        ),
        "right, and wrong with an earlier commit": str(sum(o.result == "right" and o.wrong_before > 0 for o in told)),
        f"right of the {sum(find(n).rules_unread for n in names())} written without a look at the rules": rate(unread),
        "right rule": share(sum(o.rule_right is True for o in faults), sum(o.rule_right is not None for o in faults)),
        "right shape, where asked": share(
            sum(o.shape_right is True for o in faults), sum(o.shape_right is not None for o in faults)
        ),
    }


def of_names(cells: Sequence[Outcome]) -> dict[str, str]:
    """Who was named, and who should not have been."""
    faults, others = decidable(answered(cells)), [o for o in answered(cells) if o.kind != "fault"]
    silent = [o for o in faults if not o.to_name and o.rule_right is not None]
    named = sum(o.named for o in faults) + sum(o.rule_right is True for o in silent)
    called = sum(o.called - o.called_tolerated for o in cells)
    asked_all = [o for o in cells if o.beside is not None]
    return {
        "recall": share(named, sum(o.to_name for o in faults) + len(silent)),
        "precision": share(called - sum(o.called_wrongly for o in cells), called),
        "innocents blamed": str(sum(len(o.blamed) for o in cells)),
        "false findings on healthy and look-alike": str(sum(len(o.extra) for o in others)),
        "findings beside, of other rules, on all": beside(asked_all),
    }


def of_costs(cells: Sequence[Outcome]) -> dict[str, str]:
    """How long it took, and what it used."""
    right = [o for o in decidable(answered(cells)) if o.result == "right"]
    memory = [o.peak_rss_bytes for o in cells if o.peak_rss_bytes is not None]
    return {
        "median seconds from fault to name": middle([o.seconds_to_name for o in right], 1),
        "median seconds of asking": middle([o.diagnose_seconds for o in cells], 1),
        "median seconds of CPU": middle([o.cpu_seconds for o in cells], 2),
        "most memory, MiB": f"{max(memory) / 2**20:.0f}" if memory else "–",
    }


def answered(cells: Sequence[Outcome]) -> list[Outcome]:
    return [o for o in cells if o.result != "not-scored"]


def is_known(outcome: Outcome) -> bool:
    return outcome.case in names()


def decidable(told: Sequence[Outcome]) -> list[Outcome]:
    """The faults, without those that one machine cannot decide."""
    return [o for o in told if o.kind == "fault" and not (is_known(o) and find(o.case).undecidable)]


def middle(numbers: Iterable[float | None], digits: int) -> str:
    known = [number for number in numbers if number is not None]
    return f"{median(known):.{digits}f}" if known else "–"


def preempt(cells: Sequence[Outcome]) -> str:
    """How the kernel was told to give way."""
    ways = Counter(o.machine.preempt or "preemption as Debian built it" for o in cells)
    return ", ".join(way if len(ways) == 1 else f"{way} in {n}" for way, n in ways.most_common())


def asked(all_rules: int, cells: int) -> str:
    """Of which rules an answer was wanted."""
    if all_rules == cells:
        return "all"
    return f"all in {all_rules}, else those the case is about" if all_rules else "those the case is about"


def beside(cells: Sequence[Outcome]) -> str:
    """By rule, in how many cases."""
    counts = Counter(rule for o in cells for rule in o.beside or ())
    found = ", ".join(f"{rule} {n}" for rule, n in counts.most_common())
    return f"{found}, of {len(cells)}" if found else "none" if cells else "–"


def share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "–"


def rate(cells: Sequence[Outcome]) -> str:
    """How many are right."""
    return share(sum(o.result == "right" for o in cells), len(cells))


def spread(dates: Iterable[str]) -> str:
    ordered = sorted({*dates})
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def cases(outcomes: Sequence[Outcome], machines: Sequence[str]) -> str:
    found = {(o.case, o.machine.name): o for o in outcomes}
    rows = []
    for case in sorted({o.case for o in outcomes}):
        columns = (found.get((case, name)) for name in machines)
        link = f"[{case}](../lab/faults/{case.replace('-', '_')}.py)"
        rows.append([link, *(cell(o) if o else "not run" for o in columns)])
    return table(["case", *machines], rows)


def cell(outcome: Outcome) -> str:
    """right, 6.6 s; with who was named of how many, if not all; and how often, if not always."""
    parts = [WORDS[outcome.result]]
    if outcome.result == "wrong":
        parts += [f"named {outcome.named} of {outcome.to_name}"] if outcome.to_name else []
        parts += [f"{len(outcome.blamed)} blamed"] if outcome.blamed else []
        parts += [f"{len(outcome.extra)} too many"] if outcome.extra else []
    elif outcome.seconds_to_name is not None:
        parts.append(f"{outcome.seconds_to_name:.1f} s")
        parts += ["info"] if outcome.info_only else []
    if outcome.right_runs not in (0, outcome.runs):
        parts.append(f"right in {outcome.right_runs} of {outcome.runs} runs")
    if outcome.wrong_before:
        parts.append(f"wrong in {outcome.wrong_before} of earlier commits")
    if outcome.not_made_since:
        parts.append("not made real since")
    return ", ".join(parts)


def misses(outcomes: Sequence[Outcome]) -> str:
    """What is wrong or could not be scored, with its explanation."""
    odd = [o for o in outcomes if o.result != "right"]
    rows = [[o.case, o.machine.name, plain("; ".join(o.complaints) or o.why), explanation(o)] for o in odd]
    head = ["case", "on", "what was said", "why"]
    return f"\n## What was not right, and why\n\n{table(head, rows)}" if rows else ""


def besides(outcomes: Sequence[Outcome]) -> str:
    """Findings of rules that a case does not speak of."""
    rows = [[o.case, o.machine.name, ", ".join(o.beside)] for o in outcomes if o.beside]
    return f"\n## Findings beside, of other rules\n\n{table(['case', 'on', 'rules'], rows)}" if rows else ""


def plain(text: str) -> str:
    """For a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())[:300]


def explanation(outcome: Outcome) -> str:
    """From lab/misses.toml; what has none is said to have none."""
    return plain(explanations().get(outcome.case, {}).get(outcome.machine.name, "not explained yet"))


@cache
def explanations() -> dict[str, dict[str, str]]:
    """By case and machine."""
    return tomllib.loads(MISSES.read_text())


def row(outcome: Outcome) -> str:
    """One line for a terminal."""
    what = "; ".join(outcome.complaints) or outcome.why
    return f"{outcome.machine.name:5} {outcome.case:38} {cell(outcome).replace('**', '')} {plain(what)}".rstrip()
