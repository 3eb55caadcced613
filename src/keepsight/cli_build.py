"""`keepsight build ...`: `qa` makes questions on class pages, with a language model; `episodes` rows that an expert says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepsight.options import (
    OUT,
    PARTIAL,
    BatchSize,
    Device,
    Dtype,
    ModelArgs,
    OutputPath,
    lm_eval_model,
    pairs_of,
)

if TYPE_CHECKING:
    from keepsight.building import BuildPlan, Built

__all__ = ["build_app"]

build_app = typer.Typer(
    help="Make what a task asks, or what a model learns.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
)


@build_app.callback()
def build() -> None:
    """Make what a task asks, or what a model learns."""


@build_app.command()
def qa(
    pages: Annotated[Path, typer.Argument(help="Folder with a text per class: guinea_pig.txt.")],
    model: Annotated[
        str, typer.Option("--model", help="Who writes and tries the questions: api:MODEL@BASE_URL, hf:PATH.")
    ],
    data: Annotated[
        str, typer.Option("--data", help="Set to draw pictures of the classes from; default: none.")
    ] = "",
    output_path: OutputPath = OUT,
    seed: Annotated[int, typer.Option("--seed", help="Of the letters and the pictures.")] = 0,
    max_page_chars: Annotated[
        int, typer.Option("--max_page_chars", min=1, help="Of a longer page the beginning is shown.")
    ] = 24_000,
    batch_size: BatchSize = None,
    device: Device = None,
    dtype: Dtype = None,
    model_args: ModelArgs = "",
    task_args: Annotated[
        str, typer.Option("--task_args", help="k=v,k=v for the set, e.g. path=data/cifar10.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry_run", help="Say how much would be asked, at most.")] = False,
) -> None:
    """Multiple-choice questions on "this object", from class pages."""
    from keepsight.building import build_questions, plan_questions, read_pages
    from keepsight.console import progress_bar, resumable
    from keepsight.store import require_place
    from keepsight.verbs import load_models

    require_place(output_path)
    texts, pictures = read_pages(pages), _pictures(data, pairs_of("task_args", task_args))
    ref, model_args = lm_eval_model(model, model_args)
    (writer,) = load_models([ref], device, dtype, pairs_of("model_args", model_args))
    plan = plan_questions(texts, writer, max_page_chars=max_page_chars)
    typer.echo(_plan_line(plan), err=not dry_run)
    if dry_run:
        return
    with resumable(), progress_bar() as progress:
        built = build_questions(
            texts,
            writer,
            output_path,
            pictures=pictures,
            seed=seed,
            max_page_chars=max_page_chars,
            batch_size=batch_size,
            progress=progress,
        )
    _tell(built)
    _leave(built)


@build_app.command()
def episodes(
    environment: Annotated[str, typer.Argument(metavar="ENV", help="env:numberline, env:points24, ...")],
    n: Annotated[
        int, typer.Option("--n", min=1, help="Episodes; those without a solution do not count.")
    ] = 1000,
    output_path: OutputPath = OUT,
    env_args: Annotated[
        str, typer.Option("--env_args", help="k=v,k=v of the environment, e.g. thoughts=false.")
    ] = "",
    mistakes: Annotated[
        int, typer.Option("--mistakes", min=0, help="Most wrong answers before each right one; not learnt.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of the episodes.")] = 0,
) -> None:
    """An expert's episodes as rows to learn (LLaVA JSON)."""
    from keepsight.console import progress_bar
    from keepsight.envs.demonstrations import build_demonstrations
    from keepsight.store import require_place

    require_place(output_path)
    name, arguments = environment.removeprefix("env:"), pairs_of("env_args", env_args)
    with progress_bar() as progress:
        built = build_demonstrations(
            name,
            output_path,
            episodes=n,
            arguments=arguments,
            mistakes=mistakes,
            seed=seed,
            progress=progress,
        )
    told = built.manifest
    typer.echo(
        f"{told['episodes']:,} episodes: {told['rows']:,} rows, {told['pictures']:,} pictures"
        + (f"; {told['left_out']:,} hands without a solution left out" if told["left_out"] else "")
    )
    typer.echo(f"written: {built.path}")


def _pictures(data: str, arguments: dict[str, Any]) -> Any:
    from keepsight.tasks import set_of

    if arguments and not data:
        raise typer.BadParameter("--task_args are for the set of --data, and none is given")
    return set_of(data, **arguments) if data else None


def _plan_line(plan: BuildPlan) -> str:
    told = f"{plan.pages} pages: {plan.requests} to {plan.most_requests} requests"
    if plan.tokens is None:
        return f"{told}, at most {plan.prompt_characters:,} characters of prompts"
    money = "prices were not given" if plan.cost is None else f"{plan.cost:.4g} at the prices given"
    return f"{told}, at most {plan.tokens:,} tokens; {money}"


def _tell(built: Built) -> None:
    report = built.report
    counts = ("made", "invalid", "unanswerable", "guessable", "unreadable", "no_reply", "kept")
    typer.echo(", ".join(f"{name.replace('_', ' ')} {report[name]}" for name in counts))
    typer.echo("right letters: " + ", ".join(f"{name} {n}" for name, n in report["letters"].items()))
    typer.echo(f"written: {built.path}")


def _leave(built: Built) -> None:
    """Names the classes that failed, and leaves with the code that tells a script. (All of them: `build_questions` raises.)"""
    from keepsight.report.wording import printable

    report = built.report
    for name in report["failed"]:
        _warn(printable(f"no question on {name}: {report['faults'][name][0]}"))
    if report["no_reply"]:
        _warn(f"{report['no_reply']} questions got no reply from a filter and are left out; run it again")
    if not report["kept"]:
        _warn("no question passed both filters; read report.json, and try another model")
    if report["failed"] or report["no_reply"]:
        raise typer.Exit(PARTIAL)


def _warn(line: str) -> None:
    typer.echo(f"keepsight: {' '.join(line.split())}", err=True)
