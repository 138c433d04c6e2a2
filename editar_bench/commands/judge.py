"""`editar-bench judge`: stored edits graded by a vision-language model."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated

import typer

from editar_bench.commands import options

if TYPE_CHECKING:
    from editar_bench.judging.work import Job

KEY_VARIABLE = "OPENAI_API_KEY"


def judge(
    model: Annotated[
        str,
        typer.Option(
            help="Whose stored pictures to grade: a comma list, as the leaderboard names models."
        ),
    ],
    judge: Annotated[str, typer.Option(help="The model that is asked, as its endpoint names it.")],
    form: Annotated[str, typer.Option(help="viescore, gedit or imgedit.")] = "viescore",
    dataset: Annotated[str, typer.Option(help="The data set of the pictures.")] = "pie-bench",
    endpoint: Annotated[
        str, typer.Option(help="An OpenAI-compatible address, up to /chat/completions.")
    ] = "https://api.openai.com/v1",
    price_in: Annotated[
        float | None, typer.Option(help="Price in dollars per million tokens sent.", min=0)
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(help="Price in dollars per million tokens answered.", min=0)
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="How often to ask each question; the mean counts.", min=1, max=100)
    ] = 1,
    yes: Annotated[
        bool, typer.Option("--yes", help="Send it; without it only the estimate.")
    ] = False,
    limit: options.Limit = None,
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """Let a vision-language model grade pictures that runs have stored; first it says what that costs.

    \b
    Examples:
      editar-bench judge --model editar,copy-source --judge gpt-4o --price-in 2.5 --price-out 10
      editar-bench judge --model editar --judge Qwen2.5-VL-72B --endpoint http://gpu:8000/v1 --yes

    The key is read from OPENAI_API_KEY and stored nowhere. Every reply is stored as it came, with the judge's
    snapshot and the hash of the question. Failed calls are counted, never a score, and asked again next time.

    An endpoint that answers none of 40 calls is asked no further.

    Exit code 1: some calls failed, the others are stored.
    """
    from editar_bench.errors import UserError
    from editar_bench.judging.endpoint import Endpoint
    from editar_bench.judging.forms import FORMS
    from editar_bench.judging.work import Job
    from editar_bench.registry import near_matches

    if form not in FORMS:
        raise UserError(f"There is no form '{form}'; {near_matches(form, FORMS)}")
    if limit is not None and limit < 1:
        raise UserError(f"--limit is {limit}; it must be at least 1.")
    if not judge.strip() or not judge.isprintable():
        raise UserError(f"--judge is {judge!r}; write the model's name at its endpoint.")
    _check_price("--price-in", price_in)
    _check_price("--price-out", price_out)
    labels = tuple(_labels(model))
    asked = Endpoint(endpoint, judge, os.environ.get(KEY_VARIABLE, ""))
    job = Job(
        dataset=dataset,
        models=labels,
        form=FORMS[form],
        judge=judge,
        repeats=repeats,
        limit=limit,
    )
    _print_estimate(job, out, price_in, price_out)
    if not yes:
        typer.echo("Nothing was sent; the same command with --yes sends it.")
        return
    _carry_out(job, asked, out)


def _check_price(option: str, price: float | None) -> None:
    from editar_bench.errors import UserError

    if price is not None and not math.isfinite(price):
        raise UserError(f"{option} is {price}; write dollars a million tokens, such as 2.5.")


def _labels(text: str) -> list[str]:
    """Labels hold commas between their settings: `a:x=1,y=2,b` is two of them."""
    from editar_bench.errors import UserError

    labels: list[str] = []
    for piece in options.listed(text):
        if "=" in piece and ":" not in piece and labels:
            labels[-1] += f",{piece}"
        else:
            labels.append(piece)
    if not labels:
        raise UserError("--model is empty; name models whose pictures are stored.")
    return labels


def _print_estimate(
    job: Job, out: options.Out, price_in: float | None, price_out: float | None
) -> None:
    from editar_bench.judging import work
    from editar_bench.judging.price import estimate
    from editar_bench.store import Reader

    reader = Reader(out)

    def query(sql: str, parameters: object) -> list[dict[str, object]]:
        frame = reader.frame(sql, parameters)  # type: ignore[arg-type]
        return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]

    rows = work.outputs(query, job)  # type: ignore[arg-type]
    calls = work.open_calls(job, rows, work.replies(query, job, rows))  # type: ignore[arg-type]
    found = estimate(
        (call.question, call.output["prompt"] or "", call.sizes(out)) for call in calls
    )
    typer.echo(
        f"{len(rows):,} pictures, {found.calls:,} calls of {job.judge} are open: about "
        f"{found.tokens_in:,} tokens sent and {found.tokens_out:,} answered"
    )
    if price_in is None or price_out is None:
        typer.echo("--price-in and --price-out (dollars a million tokens) turn this into a price.")
    else:
        typer.echo(f"about {found.dollars(price_in, price_out):.2f} dollars (an estimate)")


def _carry_out(job: Job, endpoint: object, out: options.Out) -> None:
    from editar_bench.judging.driver import judge
    from editar_bench.progress import choose_reporter
    from editar_bench.tables import interval, number

    verdict = judge(out, job, endpoint, choose_reporter())  # type: ignore[arg-type]
    for row in verdict.aggregates:
        if not row.slice:
            span = interval(row.ci_low, row.ci_high)
            counted = f"n {row.n}/{row.n_expected}"
            typer.echo(
                f"{row.model}  {row.metric}  {number(row.value)} {span}  {counted}  {row.protocol}"
            )
    if verdict.failed:
        typer.echo(f"{verdict.note}; the same command asks those again and the rest", err=True)
        raise typer.Exit(1)
