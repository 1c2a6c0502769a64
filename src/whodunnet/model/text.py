"""Text that came from the node is hostile until cleaned."""

from __future__ import annotations

import shlex
import unicodedata

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str, limit: int = 256) -> str:
    """One line without control, format, surrogate or private characters, at most `limit` characters.

    Bidirectional overrides and zero-width characters are format characters (category Cf), escape is Cc.
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    safe = "".join(_REPLACEMENT if unicodedata.category(c)[0] in "CZ" and c != " " else c for c in text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def shell_quote(text: str) -> str:
    """One shell word that means exactly `text` after cleaning."""
    return shlex.quote(clean(text, 4096))


def shorten_bytes(text: str, limit: int) -> str:
    """The longest prefix that fits in `limit` bytes of UTF-8, ending in an ellipsis if anything was cut."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode(errors="ignore") + "…"
