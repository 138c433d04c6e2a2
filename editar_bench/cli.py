"""The command `editar-bench`. Nothing heavy is imported before a command has begun its work."""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any

import typer
import typer.core

from editar_bench.commands import (
    compare,
    doctor,
    judge,
    leaderboard,
    ls,
    overlap,
    prepare,
    report,
    run,
    score,
    train,
)
from editar_bench.errors import UserError

HELP = """Compare models that edit pictures and that follow depth maps, edge maps and label maps.

\b
Begin with:
  editar-bench run --task all --limit 24      every task and model, 24 samples each
  editar-bench leaderboard                    look at the results
  editar-bench compare editar-scenes instruct-pix2pix-scenes --task edit
  editar-bench run --task depth --model oracle,editar-scenes:guidance=1
  editar-bench score --images my-pictures --task edit --dataset scenes --name MY-MODEL
  editar-bench ls models                      what there is

A run that was stopped goes on when the same command is given again.
"""


# What the machine refuses and a person can mend.
_MENDABLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EROFS: "a folder cannot be written",
    errno.EACCES: "a file or folder may not be used",
    errno.EPERM: "a file or folder may not be used",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
    errno.ENOENT: "a file or folder is not there",
    errno.ENAMETOOLONG: "a name is too long for this machine",
    errno.ELOOP: "a link leads back to itself",
}


def _say(text: str) -> None:
    typer.echo(text, err=True)


class Commands(typer.core.TyperGroup):
    """The group of commands; turns what a user can mend into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command. Exit codes: 2 for a mistake, 130 after Ctrl-C, 1 from partly failed runs."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            _say(f"editar-bench: {error}")
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            _say(
                "editar-bench: stopped; what was done is kept, the same command goes on from there."
            )
            raise SystemExit(130) from error
        except BrokenPipeError as error:  # `editar-bench ls metrics | head`
            sys.stderr.close()
            raise SystemExit(0) from error
        except OSError as error:
            if error.errno not in _MENDABLE:
                raise
            where = f" ({error.filename})" if error.filename else ""
            _say(
                f"editar-bench: {_MENDABLE[error.errno]}{where}; what was done is kept, "
                "mend this and give the same command again."
            )
            raise SystemExit(2) from error


class Checked(typer.core.TyperCommand):
    """A command that imports other rooms, and first makes sure that these are ours; its help needs none of them."""

    def invoke(self, ctx: Any) -> Any:
        """Check, then run."""
        from editar_bench import provenance

        provenance.check_rooms()
        return super().invoke(ctx)


app = typer.Typer(
    name="editar-bench",
    cls=Commands,
    help=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from editar_bench.provenance import package_version

        typer.echo(f"editar-bench {package_version()}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Options of the command itself; the help text stands in HELP."""


app.command("run", cls=Checked)(run.run)
app.command("ls", cls=Checked)(ls.ls)
app.command("prepare", cls=Checked)(prepare.prepare)
app.command("score", cls=Checked)(score.score)
app.command("judge", cls=Checked)(judge.judge)
app.command("overlap", cls=Checked)(overlap.overlap)
app.command("compare", cls=Checked)(compare.compare)
app.command("report", cls=Checked)(report.report)
app.command("leaderboard", cls=Checked)(leaderboard.leaderboard)
app.command(
    "train",
    cls=Checked,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(train.train)
app.command("doctor")(doctor.doctor)  # it makes the same check, and goes on


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="editar-bench")


if __name__ == "__main__":
    main()
