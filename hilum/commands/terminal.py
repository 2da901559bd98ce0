"""What commands share at a terminal: common options, where they print, progress bars and summaries."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from hilum.core.config import Settings, load_settings
from hilum.core.log import configure_logging

out = Console()
err = Console(stderr=True)

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.  [default: ./hilum-data]", show_default=False)
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


def read_settings(data: Path | None, **given: object) -> Settings:
    """Read the settings, and from here on log as they say, to standard error: standard output is the command's own."""
    loaded = load_settings(data, **given)
    configure_logging(loaded, "command")
    return loaded


def print_summary(counts: dict[str, int], reasons: list[dict[str, object]], seconds: float) -> None:
    """Print what a command has done, and why something was left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, count in counts.items():
        if count:
            table.add_row(name.replace("_", " "), f"{count:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    out.print(table)
    for reason in reasons:
        out.print(f"{reason['count']:,} x {reason['reason']}", markup=False, highlight=False, soft_wrap=True)
        for example in cast("list[str]", reason["examples"]):
            out.print(f"    {example}", markup=False, highlight=False, soft_wrap=True, style="dim")


@contextmanager
def progress_bar(text: str, *, hidden: bool = False) -> Generator["Step"]:
    """Show a progress bar on a terminal, and nothing elsewhere."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Bar(*columns, console=err, transient=True, disable=hidden or not err.is_terminal) as shown:
        yield Step(shown, text)


class Step:
    """A progress bar as the rooms see it: a function of what is done and how much there is."""

    def __init__(self, bar: Bar, text: str) -> None:
        self._bar = bar
        self._task = bar.add_task(text, total=None, rate="")
        self._begin = time.monotonic()

    def __call__(self, done: int, total: int | None, text: str | None = None) -> None:
        seconds = time.monotonic() - self._begin
        rate = f"{done / seconds:,.0f}/s" if seconds > 1 else ""
        self._bar.update(self._task, completed=done, total=total, rate=rate, description=text)
