"""`keepsight diagnose`: why a model is bad at a picture set, question by question."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
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
    from keepsight.tune.config import SFTConfig

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
        list[str] | None,
        typer.Option(
            "--corpus", help="PATH or NAME=PATH: what the model was trained on, one per stage; repeatable."
        ),
    ] = None,
    answers_only: Annotated[
        bool,
        typer.Option(
            "--answers_only", help="Of a corpus count what the model had to say, not the questions."
        ),
    ] = False,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", help="Does guinea pig name pig, too? longest (no) or all (yes)."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", help="Of a corpus, where its text stands; default: the usual ones."),
    ] = None,
    world: Annotated[
        str | None, typer.Option("--world", help="Of decoding: closed (the labels in the prompt) or open.")
    ] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="Of linear probes: lbfgs or adam.")] = None,
    sizes: Annotated[str, typer.Option("--sizes", help="Labels offered at once, e.g. 2,5,20,100.")] = "",
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Of objective: paper or small; default: small for tiny.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Of objective, in place of the recipe's.")
    ] = None,
    shares: Annotated[
        str, typer.Option("--shares", help="Of mixing: classification data in the mixture, e.g. 0,0.1.")
    ] = "",
    total: Annotated[
        int | None, typer.Option("--total", min=1, help="Of mixing: samples in every mixture.")
    ] = None,
    instructions: Annotated[
        Path | None,
        typer.Option("--instructions", help="Of mixing: rows of the instruction data, as for tune."),
    ] = None,
    others: Annotated[
        str, typer.Option("--others", help="Of mixing: tasks that must not be forgotten, as for --tasks.")
    ] = "",
    tuning: Annotated[
        str, typer.Option("--tuning", help="Of mixing: k=v,k=v with the settings of keepsight tune.")
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
        "corpora": _named_corpora(corpus or ()),
        "data_args": pairs_of("task_args", task_args),
    }
    if dry_run:
        _preview(data, chosen)
        return
    settings = _settings(
        question_args,
        answers_only=answers_only,
        overlap=overlap,
        column=column,
        world=world,
        solver=solver,
        sizes=_numbers("sizes", sizes, int),
        recipe=recipe,
        epochs=epochs,
        shares=_numbers("shares", shares, float),
        total=total,
        **_mixed(instructions, others, tuning),
    )
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


def _settings(question_args: str, **options: Any) -> dict[str, Any]:
    """What is said to single questions: options that were given, and `--question_args`."""
    from keepsight.explaining import explain

    given = pairs_of("question_args", question_args)
    if known := sorted(set(given) & {*inspect.signature(explain).parameters, *options}):
        raise typer.BadParameter(f"--question_args {known[0]}: this one has an option of its own")
    return {**given, **{name: value for name, value in options.items() if value}}


def _named_corpora(corpora: Sequence[str]) -> dict[str, str]:
    """NAME=PATH or PATH, which is then called as its file. A file whose own name has a `=` is a path."""
    named: dict[str, str] = {}
    for given in corpora:
        name, sign, path = given.partition("=")
        if not (sign and name and path) or os.path.exists(given):
            name, path = Path(given).stem, given
        if name in named:
            raise typer.BadParameter(f"--corpus: two are called {name!r}; write NAME=PATH")
        named[name] = path
    return named


def _mixed(instructions: Path | None, others: str, tuning: str) -> dict[str, Any]:
    """What `mixing` takes: rows, tasks and the settings of a fine-tune."""
    from keepsight import tasks
    from keepsight.data.messages import read_training_rows

    return {
        "instructions": None if instructions is None else read_training_rows(instructions),
        "others": [tasks.get(name) for name in listed(others)],
        "config": _tuning(pairs_of("tuning", tuning)),
    }


def _tuning(given: dict[str, Any]) -> SFTConfig | None:
    """The settings of a fine-tune by LoRA, with those that are given in their places."""
    from dataclasses import fields

    from pydantic import TypeAdapter, ValidationError

    from keepsight.tune.config import SFTConfig

    if not given:
        return None
    if unknown := sorted(set(given) - {field.name for field in fields(SFTConfig)}):
        raise typer.BadParameter(f"--tuning {unknown[0]}: keepsight tune has no such setting")
    try:
        return TypeAdapter(SFTConfig).validate_python({"method": "lora", **given})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(map(str, wrong["loc"]))
        raise typer.BadParameter(f"--tuning {name}={given.get(name)}: {wrong['msg']}") from error


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
