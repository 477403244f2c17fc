"""The funnel as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from metaclip_core.funnel import Funnel


def show_funnel(funnel: Funnel) -> None:
    """Print what came to each stage, what went on, and what each reason took."""
    table = Table(title="funnel")
    for heading in ("stage", "in", "out", "dropped"):
        table.add_column(heading, justify="left" if heading in {"stage", "dropped"} else "right")
    for record in funnel.to_records():
        dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in record["dropped"].items())
        table.add_row(record["stage"], f"{record['rows_in']:,}", f"{record['rows_out']:,}", dropped)
    Console().print(table)
