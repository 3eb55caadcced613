"""`keepsight tune`: a fine-tune whose every epoch is audited, or a sequence of them whose every stage is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from keepsight.errors import UsageError
from keepsight.options import (
    JUDGES,
    OUT,
    PARTIAL,
    BatchSize,
    Device,
    Dtype,
    Embedder,
    JudgeArgs,
    Judges,
    Limit,
    LLMJudge,
    OutputPath,
    TaskArgs,
    error_limit,
    judges_of,
    listed,
    pairs_of,
)
from keepsight.telling import leave, print_audit, say, warn

__all__ = ["tune", "tune_signature"]


def tune(
    model: str,
    data: str | None,
    sequence: str | None,
    output_path: Path,
    **settings: Any,
) -> None:
    """Fine-tune a model, also task after task, and audit it."""
    if (data is None) == (sequence is None):
        raise UsageError("give --data, what is learnt, or --sequence, several of them in order; not both")
    for name in ("task_args", "judge_args", "method_args"):
        settings[name] = pairs_of(name, settings[name])
    settings["tasks"], settings["judges"] = listed(settings["tasks"]), listed(settings["judges"])
    settings["fail_on_error"] = error_limit(settings["fail_on_error"])
    settings["llm_judge"] = judges_of(settings["llm_judge"])
    settings["method"] = settings["method"] or ("linear" if sequence is None else "lora")
    if sequence is not None:
        _tune_sequence(model, sequence, output_path, settings)
    else:
        assert data is not None
        _tune_once(model, data, output_path, settings)


def _tune_once(model: str, data: str, output_path: Path, settings: dict[str, Any]) -> None:
    from keepsight import verbs
    from keepsight.console import resumable
    from keepsight.tune.progress import console_progress

    for name in ("order", "keep"):
        if settings.pop(name) is not None:
            raise UsageError(f"--{name} is of a --sequence, and --data is given")
    with resumable(), console_progress() as shown:
        tuned = verbs.fine_tune(
            model, data, output_path, progress=shown.learning, asking=shown.asking, **settings
        )
    if tuned.matrix is not None:
        print_audit(tuned.matrix, output_path / "forgetting.html")
    for checkpoint in tuned.checkpoints:
        say(f"checkpoint: {checkpoint}")
    _tell_left_out(tuned.left_out, output_path / "left_out.jsonl")
    if tuned.matrix is not None:
        leave(tuned.matrix)
    if tuned.left_out:
        raise typer.Exit(PARTIAL)


def _tune_sequence(model: str, sequence: str, output_path: Path, settings: dict[str, Any]) -> None:
    from keepsight.console import resumable
    from keepsight.sequencing import tune_sequence
    from keepsight.tune.progress import console_progress

    for name in ("image_folder", "remote_images"):
        if settings.pop(name):
            raise UsageError(f"--{name} is of --data; a stage names its own in the sequence's file")
    settings["keep"] = settings["keep"] or "all"
    with resumable(), console_progress() as shown:
        tuned = tune_sequence(
            model, sequence, output_path, learning=shown.learning, asking=shown.asking, **settings
        )
    print_audit(tuned.matrix, output_path / "forgetting.html")
    for stage in tuned.stages:
        kept = "checkpoint" if os.path.isdir(stage.checkpoint) else "not kept"
        say(f"{kept}: {stage.checkpoint}")
    for note in tuned.notes:
        say(note)
    _tell_left_out(tuned.left_out, output_path / "stages/*/left_out.jsonl")
    leave(tuned.matrix)
    if tuned.left_out:
        raise typer.Exit(PARTIAL)


def _tell_left_out(left_out: Sequence[str], where: Path) -> None:
    if left_out:
        rows = "1 row was" if len(left_out) == 1 else f"{len(left_out)} rows were"
        warn(f"{rows} not learnt, the first: {left_out[0]} (all: {where})")


def tune_signature() -> inspect.Signature:
    """The options of `tune`: its own, then one per field of SFTConfig."""
    from keepsight.tune.config import SFTConfig, help_of

    own: dict[str, tuple[Any, Any]] = {
        "model": (
            Annotated[str, typer.Argument(help="The base: tiny, hf:PATH-OR-HUB-ID, a directory.")],
            ...,
        ),
        "data": (
            Annotated[
                str | None,
                typer.Option(
                    "--data", help="LLaVA JSON, messages, or a task whose training split is learnt."
                ),
            ],
            None,
        ),
        "sequence": (
            Annotated[
                str | None,
                typer.Option(
                    "--sequence",
                    help="Stages instead of data: a YAML file, or a name (keepsight ls sequences).",
                ),
            ],
            None,
        ),
        "order": (
            Annotated[
                str | None,
                typer.Option("--order", help="Of the stages: reverse, seed:NUMBER, or their names."),
            ],
            None,
        ),
        "keep": (
            Annotated[
                str | None,
                typer.Option("--keep", help="Checkpoints of a sequence that stay: all, last or best."),
            ],
            None,
        ),
        "method_args": (
            Annotated[
                str, typer.Option("--method_args", help="k=v,k=v for the continual method, e.g. share=0.1.")
            ],
            "",
        ),
        "image_folder": (
            Annotated[Path | None, typer.Option("--image_folder", help="Where the rows' pictures lie.")],
            None,
        ),
        "remote_images": (
            Annotated[bool, typer.Option("--remote_images", help="Fetch pictures given as http addresses.")],
            False,
        ),
        "fail_on_error": (
            Annotated[
                str,
                typer.Option(
                    "--fail_on_error", help="Stop at bad rows: true, a share 0.1, a count 5; or false."
                ),
            ],
            "true",
        ),
        "output_path": (OutputPath, OUT),
        "tasks": (
            Annotated[str, typer.Option("--tasks", help="Tasks to audit at every epoch or stage.")],
            "",
        ),
        "task_args": (TaskArgs, ""),
        "judges": (Judges, JUDGES),
        "llm_judge": (LLMJudge, None),
        "judge_args": (JudgeArgs, ""),
        "embedder": (Embedder, "tiny"),
        "limit": (Limit, None),
        "batch_size": (BatchSize, None),
        "device": (Device, None),
        "dtype": (Dtype, None),
    }
    types, help_lines = {**get_type_hints(SFTConfig), "method": str | None}, help_of(SFTConfig)
    help_lines["method"] += " May be followed by +METHOD (keepsight ls methods)."
    for name, default in SFTConfig().__dict__.items():
        flag = f"--{name}/--no_{name}" if types[name] is bool else f"--{name}"
        own[name] = (Annotated[types[name], typer.Option(flag, help=help_lines[name])], default)
    own["method"] = own["method"][0], None
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, annotation=kind, default=inspect.Parameter.empty if d is ... else d)
        for name, (kind, d) in own.items()
    ]
    return inspect.Signature(parameters)
