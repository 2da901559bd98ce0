"""The command line: every command of Hilum, gathered from ``commands``, and how an error ends one."""

import sys
from typing import Annotated

import typer

import hilum
from hilum.commands import administration, archive, cdm, datasets, deid, processes, remote, tags
from hilum.commands.terminal import err, out
from hilum.core.errors import HilumError, Invalid
from hilum.core.supervise import exit_on_signals

app = typer.Typer(
    name="hilum",
    help="The gate through which medical imaging enters clinical research.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for room in (processes, archive, remote, tags, cdm, deid, datasets, administration):
    app.add_typer(room.commands)


def main() -> None:
    """Run the command line; an error with a sentence becomes that sentence and an exit code."""
    try:
        with exit_on_signals():
            app()
    except Invalid as error:
        _say_error(error)
        sys.exit(2)
    except HilumError as error:
        _say_error(error)
        sys.exit(1)


def _say_error(error: HilumError) -> None:
    err.print(f"hilum: {error}", style="red", markup=False, highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The gate through which medical imaging enters clinical research."""
    if show:
        out.print(f"hilum {hilum.__version__}", highlight=False)
        raise typer.Exit
