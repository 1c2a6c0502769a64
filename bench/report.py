"""The table that a run of the benchmark prints, and the numbers behind it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Row(NamedTuple):
    """One line of the table. met: None where there is nothing to reach."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


class Report:
    """The table and the numbers behind it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.numbers: dict[str, Any] = {}

    def seconds(self, what: str, value: float, limit: float | None = None) -> None:
        """A time, which should be below its limit."""
        self.keep(what, value, f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.2f} s")
        if limit is not None:
            self._judge(f"< {limit * 1000:g} ms", value < limit)

    def mebibytes(self, what: str, value: float, limit: float | None = None) -> None:
        """Memory in bytes, which should be below its limit in MB."""
        self.keep(what, value, f"{value / 1e6:,.1f} MB")
        if limit is not None:
            self._judge(f"< {limit:g} MB", value < limit * 1e6)

    def ratio(self, what: str, value: float, at_least: float) -> None:
        """How many times faster."""
        self.keep(what, value, f"{value:,.1f} times")
        self._judge(f"≥ {at_least:g} times", value >= at_least)

    def within(self, what: str, value: float, limit: float, unit: str) -> None:
        """Something whose size should not pass a limit."""
        self.keep(what, value, f"{value:,.3g} {unit}")
        self._judge(f"≤ {limit:,.3g} {unit}", abs(value) <= limit)

    def keep(self, what: str, value: Any, shown: str) -> None:
        self.numbers[what] = value
        self.rows.append(Row(what, shown))

    def heading(self, text: str) -> None:
        self.rows.append(Row(f"\n{text}", ""))

    def _judge(self, target: str, met: bool) -> None:
        self.rows[-1] = self.rows[-1]._replace(target=target, met=met)

    def table(self) -> str:
        """Aligned columns."""
        width = max(len(row.what) for row in self.rows)
        marks = {None: "", True: "met", False: "MISSED"}
        return "\n".join(
            f"{row.what:{width + row.what.count(chr(10))}}  {row.value:>16}  {row.target:14}{marks[row.met]}".rstrip()
            for row in self.rows
        )
