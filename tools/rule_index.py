"""Writes docs/rules/README.md from the catalogue and from the question at the top of each rule's page.

python tools/rule_index.py          after a rule was added or changed; needs the package to be installed
"""

from __future__ import annotations

import re
from pathlib import Path

from whodunnet.diagnosis.links import LINKS, TIES, Link
from whodunnet.rules.catalogue import Entry, catalogue

RULES = Path(__file__).resolve().parent.parent / "docs/rules"
HEAD = """# Rules

| rule | question | worst severity | names |
|---|---|---|---|
"""
CAUSES = """
## Causes and consequences

What follows from another finding stands under it, where these two are tied:

| cause | explains | if |
|---|---|---|
"""
TAIL = """
Where several causes are possible, each is named with what speaks for it; the consequence stands under the one for which
most does. Where nothing ties two findings, each stands alone.

This page is made by `python tools/rule_index.py`. Texts, inputs, thresholds and their reasons are in
`src/whodunnet/rules/catalogue.toml`; the tests compare the pages with it. `whodunnet explain RULE` shows a page in the
terminal. Thresholds can be [set otherwise](../configuration.md), and the answer of all rules can be [a condition of the
node](../node-problem-detector.md).
"""


def page() -> str:
    """The whole page."""
    rules = "".join(f"{_row(rule, entry)}\n" for rule, entry in catalogue().items())
    return HEAD + rules + CAUSES + "".join(f"{_link(link)}\n" for link in LINKS) + TAIL


def _row(rule: str, entry: Entry) -> str:
    return f"| [{rule}]({rule}.md) | {question_of(rule)} | {entry.severity} | {entry.names} |"


def _link(link: Link) -> str:
    cause, consequence = _kind(link.cause, link.cause_shapes), _kind(link.consequence, link.shapes)
    return f"| {cause} | {consequence} | {TIES[link.tie]} |"


def _kind(rule: str, shapes: tuple[str, ...]) -> str:
    return f"{rule} ({', '.join(shapes)})" if shapes else rule


def question_of(rule: str) -> str:
    """The first paragraph of its page, on one line."""
    path = RULES / f"{rule}.md"
    if not path.exists():
        raise SystemExit(f"there is no docs/rules/{rule}.md")
    text = path.read_text(encoding="utf-8")
    found = re.search(r"^\*\*Question\.\*\* (.+?)\n\n", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"docs/rules/{rule}.md has no line that begins with **Question.**")
    return " ".join(found[1].split())


if __name__ == "__main__":
    (RULES / "README.md").write_text(page(), encoding="utf-8")
