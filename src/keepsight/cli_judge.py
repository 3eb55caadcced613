"""`keepsight judge ...`: attack a judge, calibrate it, draw answers for a person to label."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from keepsight.errors import KeepsightError
from keepsight.options import OUT, PARTIAL, JudgeArgs, pairs_of

__all__ = ["judge_app"]

judge_app = typer.Typer(
    help="Attack or calibrate a judge that asks a model.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)

Ref = Annotated[str, typer.Argument(help="The model that the judge asks: tiny, hf:PATH-OR-HUB-ID, ...")]
OutputPath = Annotated[
    Path, typer.Option("--output_path", help="Where its replies are kept: asking again is free.")
]
Which = Annotated[
    str,
    typer.Option("--judge", help="verdict (shielded), llm (EMT's prompt) or general_knowledge (0 to 10)."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures there, too.")]


@judge_app.command()
def attack(
    model: Ref,
    judge: Which = "verdict",
    judge_args: JudgeArgs = "",
    output_path: OutputPath = OUT,
    json_file: JsonFile = None,
) -> None:
    """Show wrong answers that try to be called correct."""
    from keepsight.console import attack_lines, attack_table
    from keepsight.judge_checks import attack_judge

    if json_file is not None:
        _require_writable(json_file)
    report = attack_judge(model, output_path, judge=judge, judge_args=pairs_of("judge_args", judge_args))
    silent, tries = report.outcome.silent, len(report.attempts)
    if silent == tries:
        raise KeepsightError(f"the judge replied to none of {tries} attacks: {report.silence}")
    _print(attack_table(report), *attack_lines(report))
    if json_file is not None:
        _write(json_file, [_attempt_row(attempt) for attempt in report.attempts])
    if report.silence:
        told = f"{silent} of {tries} attacks got no reply, run again to ask them"
        _warn(f"{told}; the first answer without one: {report.silence}")
        raise typer.Exit(PARTIAL)


@judge_app.command()
def calibrate(
    model: Ref,
    labelled: Annotated[Path, typer.Argument(help="JSON lines: question, answer, target, correct.")],
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Runs, or whole audits, scored by the same judge, to correct.")
    ] = None,
    judge: Which = "verdict",
    judge_args: JudgeArgs = "",
    output_path: OutputPath = OUT,
) -> None:
    """Compare a judge with a person's labels."""
    from keepsight.console import calibration_lines, calibration_table
    from keepsight.judge_checks import calibrate_judge

    settings = pairs_of("judge_args", judge_args)
    found = calibrate_judge(model, labelled, runs or [], output_path, judge=judge, judge_args=settings)
    _print(calibration_table(found), *calibration_lines(found))
    if found.silent:
        answers = found.calibration.n + sum(found.calibration.not_ok.values())
        told = f"{len(found.silent)} of {answers} labelled answers got no reply, run again to ask them"
        _warn(f"{told}; the first without one: {found.silent[0]}")
        raise typer.Exit(PARTIAL)


@judge_app.command()
def sample(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or whole audits.")],
    to: Annotated[Path, typer.Option("--to", help="The file; it must not exist.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many answers.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Another random choice.")] = 0,
) -> None:
    """Draw answers for a person to label."""
    from keepsight.judge_checks import sample_answers

    drawn = sample_answers(runs, to, n, seed)
    typer.echo(f'{drawn} answers: {to}; write true or false for "correct" in each row')


def _attempt_row(attempt: Any) -> dict[str, Any]:
    verdict = {0.0: "resisted", 1.0: "fooled"}.get(attempt.score.value, "no verdict")
    return {
        "attack": attempt.attack.name,
        "family": attempt.attack.family,
        "question": attempt.sample.prompt,
        "target": attempt.sample.target[0],
        "outcome": "no reply" if attempt.silent else verdict,
        "explanation": attempt.score.explanation,
    }


def _require_writable(path: Path) -> None:
    """Refuses a file that could not be written afterwards, before anything is asked and paid for it."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        there = os.path.lexists(path)
        path.open("a").close()
        if not there:
            path.unlink()


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with _writing(path):
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeepsightError(f"{path} cannot be written: {error.strerror}; give another --json") from error


def _warn(line: str) -> None:
    from keepsight.report.wording import printable

    typer.echo(f"keepsight: {printable(line)}", err=True)


def _print(*parts: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))
