"""What is kept of a target between runs: build/fuzz/NAME/ with corpus, seeds and crashes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Final

from fuzz.target import Target

_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.:-]{1,31}")
NUMBERS: Final = (b"-1", b"18446744073709551615", b"18446744073709551616", b"9223372036854775808", b"1e999", b"0x")
WORDS_MAX: Final = 256
KEPT: Final = Path(__file__).parents[1] / "build/fuzz"


def prepared(target: Target, kept: Path) -> Path:
    """The target's directory, with the seeds of the repository and of this machine in place of earlier ones."""
    place = kept / target.name
    for name in ("corpus", "seeds", "crashes", "scratch"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for path in (place / "seeds").iterdir():
        path.unlink()
    for seed in (*target.kept_seeds(), *target.live_seeds()):
        (place / "seeds" / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    (place / "words").write_text("".join(f'"{word.decode()}"\n' for word in words_of(target)))
    return place


def words_of(target: Target) -> list[bytes]:
    """What is put into inputs as a whole: comparisons of text are made in C, where the fuzzer cannot follow them."""
    found = Counter(word for seed in target.kept_seeds() for word in _WORD.findall(seed))
    return [*NUMBERS, *(word for word, _ in found.most_common(WORDS_MAX))]


def crashes(place: Path) -> set[Path]:
    """Inputs on which the decoder failed, by libFuzzer's names: crash-, timeout-, oom-."""
    return set((place / "crashes").iterdir())


def corpus_size(place: Path) -> int:
    return sum(1 for _ in (place / "corpus").iterdir())
