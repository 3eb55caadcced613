"""`keepsight diagnose`: why a model is bad at a picture set, question by question."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from keepsight.options import (
    FAILED,
    OUT,
    PARTIAL,
    BatchSize,
    Device,
    DryRun,
    Dtype,
    ModelArgs,
    OutputPath,
    listed,
    pairs_of,
)

if TYPE_CHECKING:
    from keepsight.scoring.findings import Diagnosis

__all__ = ["diagnose", "report_diagnosis"]

Number = TypeVar("Number", int, float)


def diagnose(
    model: Annotated[str, typer.Argument(help="tiny, hf:PATH-OR-HUB-ID, a directory, BASE+adapter:DIR.")],
    data: Annotated[
        str,
        typer.Option("--data", help="A set (keepsight ls sets), a folder of class folders, a file of rows."),
    ],
    questions: Annotated[
        str,
        typer.Option(
            "--questions", help="Names (keepsight ls questions), or all; default: those that train nothing."
        ),
    ] = "",
    output_path: OutputPath = OUT,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Test pictures; default: 300.")] = None,
    n_train: Annotated[int, typer.Option("--n_train", min=0, help="Pictures that probes learn from.")] = 1000,
    n_validation: Annotated[
        int, typer.Option("--n_validation", min=0, help="Pictures that settings are chosen by.")
    ] = 100,
    clip: Annotated[
        str, typer.Option("--clip", help="The baseline: clip:PATH, tiny or none; auto: tiny for tiny.")
    ] = "auto",
    corpus: Annotated[
        list[Path] | None, typer.Option("--corpus", help="What the model was trained on; repeatable.")
    ] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="Of linear probes.")] = None,
    sizes: Annotated[str, typer.Option("--sizes", help="Labels offered at once, e.g. 2,5,20,100.")] = "",
    shares: Annotated[
        str, typer.Option("--shares", help="Of classification data mixed in, e.g. 0,0.1.")
    ] = "",
    question_args: Annotated[
        str, typer.Option("--question_args", help="k=v,k=v for the questions that have them.")
    ] = "",
    task_args: Annotated[
        str, typer.Option("--task_args", help="k=v,k=v for the set, e.g. path=data/cifar10.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of every random choice.")] = 0,
    batch_size: BatchSize = None,
    device: Device = None,
    dtype: Dtype = None,
    model_args: ModelArgs = "",
    dry_run: DryRun = False,
) -> None:
    """Say why a model is bad at a picture set."""
    from keepsight.explaining import explain

    chosen: dict[str, Any] = {
        "questions": listed(questions),
        "limit": limit,
        "n_train": n_train,
        "n_validation": n_validation,
        "corpora": corpus or (),
        "data_args": pairs_of("task_args", task_args),
    }
    if dry_run:
        _preview(data, chosen)
        return
    settings = _settings(solver, sizes, shares, question_args)
    from keepsight.console import progress_bar, resumable
    from keepsight.report.diagnosis import DIAGNOSIS_PAGE

    with resumable(), progress_bar() as progress:
        found = explain(
            model,
            data,
            output_path=output_path,
            clip=clip,
            seed=seed,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
            model_args=pairs_of("model_args", model_args),
            progress=progress,
            **chosen,
            **settings,
        )
    _tell(found, output_path / DIAGNOSIS_PAGE)
    _leave(found)


def report_diagnosis(path: Path, html: Path | None) -> bool:
    """Writes the page of a diagnosis again, if `path` is its findings.json or the directory; says whether that was all."""
    if path.name != "findings.json" and not os.path.isfile(path / "findings.json"):
        return False
    audited = os.path.isfile(path / "matrix.json")
    if audited and html is not None:
        raise typer.BadParameter(f"{path} holds an audit and a diagnosis; name matrix.json or findings.json")
    from keepsight.report.diagnosis import DIAGNOSIS_PAGE, write_diagnosis_page
    from keepsight.report.findings_file import read_findings

    found = read_findings(path)
    page = html or (path if os.path.isdir(path) else path.parent) / DIAGNOSIS_PAGE
    _tell(found, write_diagnosis_page(found, page))
    if audited:
        return False
    _leave(found)
    return True


def _preview(data: str, chosen: dict[str, Any]) -> None:
    from rich.console import Console

    from keepsight.console import questions_table
    from keepsight.explaining import plan_questions

    Console(highlight=False, markup=False, emoji=False).print(questions_table(plan_questions(data, **chosen)))


def _settings(solver: str | None, sizes: str, shares: str, question_args: str) -> dict[str, Any]:
    """What is said to single questions."""
    from keepsight.explaining import explain

    given = pairs_of("question_args", question_args)
    if known := sorted(set(given) & set(inspect.signature(explain).parameters)):
        raise typer.BadParameter(f"--question_args {known[0]}: this one has an option of its own")
    own = {
        "solver": solver,
        "sizes": _numbers("sizes", sizes, int),
        "shares": _numbers("shares", shares, float),
    }
    return {**given, **{name: value for name, value in own.items() if value}}


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(part) for part in listed(text))
    except ValueError as error:
        raise typer.BadParameter(f"--{option} {text!r} is no list of numbers") from error


def _tell(found: Diagnosis, page: Path) -> None:
    from keepsight.report.diagnosis_text import diagnosis_text
    from keepsight.report.wording import printable

    typer.echo(diagnosis_text(found))
    if found.findings:  # a diagnosis without an answer leaves the earlier page
        typer.echo(f"\nwritten: {page}")
    for each in found.failed:
        told = f"keepsight: question {each.question} failed: {each.error}"
        typer.echo(printable(" ".join(told.split())), err=True)


def _leave(found: Diagnosis) -> None:
    """Leaves with the code that tells a script."""
    if found.failed:
        raise typer.Exit(PARTIAL if found.findings else FAILED)
