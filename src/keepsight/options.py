"""Options and exit codes that several verbs share, and how text is read. Names are those of lm-eval and lmms-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "FAILED",
    "GATE_FAILED",
    "INTERRUPTED",
    "JUDGES",
    "OUT",
    "PARTIAL",
    "USAGE",
    "BatchSize",
    "Device",
    "DryRun",
    "Dtype",
    "Embedder",
    "FailOnError",
    "GenKwargs",
    "IncludePath",
    "JudgeArgs",
    "Judges",
    "LLMJudge",
    "Limit",
    "LogSamples",
    "ModelArgs",
    "OutputPath",
    "PrintPrompts",
    "Seed",
    "TaskArgs",
    "Tasks",
    "error_limit",
    "judges_of",
    "listed",
    "lm_eval_model",
    "one_model",
    "pairs_of",
    "settings_of",
]

Tasks = Annotated[
    str, typer.Option("--tasks", help="Comma-separated names (keepsight ls tasks), or file.py:function.")
]
OutputPath = Annotated[
    Path, typer.Option("--output_path", help="Where runs and reports go; rerun to resume.")
]
Limit = Annotated[
    str | None, typer.Option("--limit", help="Samples per task: 10, a share 0.1, or a range 10-20.")
]
BatchSize = Annotated[int | None, typer.Option("--batch_size", min=1, help="Samples asked at once.")]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda:0, mps or auto; default: the fastest.")
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="float32, bfloat16 or float16; default: the model's.")
]
ModelArgs = Annotated[
    str,
    typer.Option(
        "--model_args", help="k=v,k=v for the model, e.g. image_backend=pil; of a served one max_cost=5."
    ),
]
GenKwargs = Annotated[str, typer.Option("--gen_kwargs", help="k=v,k=v for decoding, e.g. max_new_tokens=64.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of decoding.")]
TaskArgs = Annotated[
    str, typer.Option("--task_args", help="k=v,k=v for every task that has it, e.g. split=train,share=0.2.")
]
IncludePath = Annotated[
    Path | None, typer.Option("--include_path", help="Folder that file.py:function starts from.")
]
Judges = Annotated[
    str,
    typer.Option("--judges", help="Of label, embedding, taxonomy, llm, verdict, ... (keepsight ls judges)."),
]
LLMJudge = Annotated[
    str | None,
    typer.Option(
        "--llm_judge", help="Model that llm, verdict and general_knowledge ask; a,b: the last asks both."
    ),
]
JudgeArgs = Annotated[
    str,
    typer.Option(
        "--judge_args",
        help="k=v,k=v for verdict and general_knowledge, e.g. repeats=3; embedding.margin=0.1; for a served one max_cost=5.",
    ),
]
Embedder = Annotated[str, typer.Option("--embedder", help="Text embedder: tiny, clip:PATH or st:PATH.")]
FailOnError = Annotated[
    str | None, typer.Option("--fail_on_error", help="Stop at: true, a share 0.1, or a count 5.")
]
DryRun = Annotated[
    bool, typer.Option("--dry_run", help="Say how much would be asked and how long it may take.")
]
PrintPrompts = Annotated[
    int, typer.Option("--print_prompts", help="Show the first N prompts as the model sees them.")
]
LogSamples = Annotated[bool, typer.Option("--log_samples", help="Accepted for lm-eval's sake: always on.")]

# exit codes
FAILED = 1
USAGE = 2
PARTIAL = 3
GATE_FAILED = 4
INTERRUPTED = 130

OUT = Path("keepsight-out")
JUDGES = "label,embedding,taxonomy"


def settings_of(
    tasks: str,
    judges: str,
    llm_judge: str | None,
    judge_args: str,
    embedder: str,
    limit: str | None,
    device: str | None,
    dtype: str | None,
    model_args: str,
    gen_kwargs: str,
    seed: int | None,
    task_args: str,
    include_path: Path | None,
) -> dict[str, Any]:
    """The arguments that audit and eval pass on as they are."""
    return {
        "tasks": [_included(name, include_path) for name in listed(tasks)],
        "task_args": pairs_of("task_args", task_args),
        "judges": listed(judges),
        "llm_judge": judges_of(llm_judge),
        "judge_args": pairs_of("judge_args", judge_args),
        "embedder": embedder,
        "limit": limit,
        "device": device,
        "dtype": dtype,
        "model_args": pairs_of("model_args", model_args),
        "gen_kwargs": {**pairs_of("gen_kwargs", gen_kwargs), **({} if seed is None else {"seed": seed})},
    }


def listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def judges_of(refs: str | None) -> str | list[str] | None:
    """The models of `--llm_judge`: one as it is written, several as a list."""
    named = listed(refs or "")
    return named if len(named) > 1 else refs


def _included(task: str, folder: Path | None) -> str:
    return (
        str(folder / task) if folder is not None and ".py:" in task and not Path(task).is_absolute() else task
    )


def pairs_of(option: str, text: str) -> dict[str, Any]:
    """ "a=1,b=x" as {"a": 1, "b": "x"}: numbers, true, false and null are read, everything else is text."""
    pairs: dict[str, Any] = {}
    for part in listed(text):
        name, sign, value = part.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"--{option} {part!r} is not of the form name=value")
        try:
            pairs[name] = json.loads(
                value.lower() if value in ("True", "False") else value, parse_constant=_as_text
            )
        except (ValueError, RecursionError):
            pairs[name] = value
    return pairs


def _as_text(constant: str) -> float:
    raise ValueError(
        f"{constant} is no JSON"
    )  # a setting that is not a number cannot be compared with its bounds


def one_model(argument: str | None, option: str | None) -> str:
    """The model of `eval`, given by position or as `--model`."""
    given = argument if option is None else option
    if given is None or (argument is not None and option is not None):
        raise typer.BadParameter("name one model: keepsight eval MODEL --tasks ..., or --model MODEL")
    return given


def lm_eval_model(model: str, model_args: str) -> tuple[str, str]:
    """`--model hf --model_args pretrained=X,peft=Y` as `hf:X+adapter:Y`, the way lm-eval's users write it."""
    if model != "hf":
        return model, model_args
    pairs = dict(part.partition("=")[::2] for part in listed(model_args))
    if "pretrained" not in pairs:
        raise typer.BadParameter(
            "--model hf needs --model_args pretrained=PATH-OR-HUB-ID (or --model hf:...)"
        )
    ref = f"hf:{pairs.pop('pretrained')}"
    ref += f"+adapter:{pairs.pop('peft')}" if "peft" in pairs else ""
    return ref, ",".join(f"{name}={value}" for name, value in pairs.items())


def error_limit(text: str | None) -> bool | float | None:
    if text is None or text.lower() in ("true", "false"):
        return None if text is None else text.lower() == "true"
    try:
        found = float(text) if "." in text else int(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"--fail_on_error {text!r} is neither true, false, a share nor a count"
        ) from error
    if not (0 < found < 1 if isinstance(found, float) else found >= 1):
        raise typer.BadParameter(
            f"--fail_on_error {text!r}: give a share between 0 and 1 (0.1), or a count (5)"
        )
    return found
