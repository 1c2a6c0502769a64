from __future__ import annotations

from whodunnet.report.page import render_page

from .golden import printed

PAGE = """# socket-leak

Reads `skmem` of **every** socket, see [the facts](https://example.org/facts).

| shape | means |
|---|---|
| response-never-read | the body is never closed |
"""


def test_a_piped_page_is_its_markdown() -> None:
    assert printed(lambda console: render_page(PAGE, console), 20) == PAGE


def test_a_page_on_a_terminal_is_typeset_and_keeps_its_links() -> None:
    text = printed(lambda console: render_page(PAGE, console), 80, force_terminal=True, color_system="standard")
    assert "**" not in text
    assert "https://example.org/facts" in text
    assert "\x1b]8" not in text
