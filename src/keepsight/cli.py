"""The command line. Flags have the names of lm-eval and of Hugging Face's trainers, with dashes or underscores.

Exit codes: 0 done, 1 failed, 2 usage, 3 partial (something could not be asked or scored), 4 gate failed.
Everything heavier than the option parser is imported inside the verb that needs it: `--help` answers at once.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from keepsight.cli_build import build_app
from keepsight.cli_diagnose import diagnose, report_diagnosis
from keepsight.cli_help import HelpContext, definition_lines, with_whole_help
from keepsight.cli_judge import judge_app
from keepsight.cli_tune import tune, tune_signature
from keepsight.options import (
    FAILED,
    GATE_FAILED,
    JUDGES,
    OUT,
    PARTIAL,
    USAGE,
    BatchSize,
    Device,
    DryRun,
    Dtype,
    Embedder,
    FailOnError,
    GenKwargs,
    IncludePath,
    JudgeArgs,
    Judges,
    Limit,
    LLMJudge,
    LogSamples,
    ModelArgs,
    OutputPath,
    PrintPrompts,
    Seed,
    TaskArgs,
    Tasks,
    error_limit,
    judges_of,
    listed,
    lm_eval_model,
    one_model,
    pairs_of,
    settings_of,
)
from keepsight.ranks import launched
from keepsight.telling import leave, print_audit, say, warn

if TYPE_CHECKING:
    pass

__all__ = ["VERBS", "app", "command_of", "main"]

SHARED = ("audit", "eval", "tune")  # verbs that several processes do together


class _Verbs(TyperGroup):
    """Lists all verbs and makes the options of the one that is named: those of all double the time that --help takes."""

    context_class = HelpContext

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: with_whole_help(TyperCommand(name, help=_help_of(verb))) for name, verb in VERBS.items()
        }

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        name, listed, rest = super().resolve_command(ctx, args)
        return name, command_of(name) if name else listed, rest

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(
                "Value error, "
            )  # what pydantic puts before an enum's choices
            raise


app = typer.Typer(
    cls=_Verbs,
    help="What did my vision-language model forget, is the drop real, and what does it say now?",
    rich_markup_mode=None,  # the rich help doubles the time that --help takes
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"token_normalize_func": lambda name: name.replace("-", "_")},
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"keepsight {version('keepsight')}")
        raise typer.Exit


@app.callback()
def keepsight(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and leave."),
    ] = False,
) -> None:
    """What did my vision-language model forget, is the drop real, and what does it say now?"""


class Shelf(str, Enum):
    """What can be listed."""

    tasks = "tasks"
    sets = "sets"
    models = "models"
    methods = "methods"
    envs = "envs"
    judges = "judges"
    questions = "questions"
    sequences = "sequences"


class ExportForm(str, Enum):
    """What runs can be written as."""

    csv = "csv"
    latex = "latex"
    inspect = "inspect"


def audit(
    base: Annotated[
        str,
        typer.Argument(
            help="The model before tuning: tiny, hf:PATH-OR-HUB-ID, a directory, api:MODEL@BASE_URL."
        ),
    ],
    checkpoints: Annotated[
        list[str], typer.Argument(help="Checkpoints in training order: directories or refs.")
    ],
    tasks: Tasks,
    output_path: OutputPath = OUT,
    tuned_on: Annotated[str, typer.Option("--tuned_on", help="Task the checkpoints were tuned on.")] = "",
    judges: Judges = JUDGES,
    llm_judge: LLMJudge = None,
    judge_args: JudgeArgs = "",
    embedder: Embedder = "tiny",
    limit: Limit = None,
    batch_size: BatchSize = None,
    device: Device = None,
    dtype: Dtype = None,
    model_args: ModelArgs = "",
    gen_kwargs: GenKwargs = "",
    seed: Seed = None,
    task_args: TaskArgs = "",
    include_path: IncludePath = None,
    fail_on_error: FailOnError = None,
    fail_on_forgetting: Annotated[
        bool, typer.Option("--fail_on_forgetting", help="Exit with 4 when anything was forgotten.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no_report", help="Write forgetting.html.")] = True,
    log_samples: LogSamples = True,
    dry_run: DryRun = False,
    print_prompts: PrintPrompts = 0,
) -> None:
    """Say what checkpoints forgot since their base."""
    from keepsight import verbs
    from keepsight.console import progress_bar, resumable

    settings = settings_of(
        tasks,
        judges,
        llm_judge,
        judge_args,
        embedder,
        limit,
        device,
        dtype,
        model_args,
        gen_kwargs,
        seed,
        task_args,
        include_path,
    )
    refs = [base, *checkpoints]
    if dry_run or print_prompts:
        _preview(refs, settings, output_path, print_prompts)
        return
    _announce_price(refs, settings, output_path)
    with resumable(), progress_bar() as progress:
        matrix = verbs.audit(
            refs,
            output_path=output_path,
            batch_size=batch_size,
            tuned_on=tuned_on or None,
            fail_on_error=error_limit(fail_on_error),
            report=report,
            progress=progress,
            **settings,
        )
    print_audit(matrix, output_path / "forgetting.html" if report else output_path / "matrix.json")
    forgotten = any(drop.verdict == "forgotten" for drop in matrix.forgetting())
    leave(matrix, gate_failed=fail_on_forgetting and forgotten)


def evaluate(
    tasks: Tasks,
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="tiny, hf:PATH-OR-HUB-ID, hf:BASE+adapter:DIR, a directory, api:MODEL@BASE_URL.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The same, as lm-eval names it.")] = None,
    output_path: OutputPath = OUT,
    judges: Judges = JUDGES,
    llm_judge: LLMJudge = None,
    judge_args: JudgeArgs = "",
    embedder: Embedder = "tiny",
    limit: Limit = None,
    batch_size: BatchSize = None,
    device: Device = None,
    dtype: Dtype = None,
    model_args: ModelArgs = "",
    gen_kwargs: GenKwargs = "",
    seed: Seed = None,
    task_args: TaskArgs = "",
    include_path: IncludePath = None,
    fail_on_error: FailOnError = None,
    log_samples: LogSamples = True,
    dry_run: DryRun = False,
    print_prompts: PrintPrompts = 0,
) -> None:
    """Ask one model the samples of tasks."""
    from keepsight import verbs
    from keepsight.console import figures_table, progress_bar, repeat_lines, resumable

    ref, model_args = lm_eval_model(one_model(ref, model), model_args)
    settings = settings_of(
        tasks,
        judges,
        llm_judge,
        judge_args,
        embedder,
        limit,
        device,
        dtype,
        model_args,
        gen_kwargs,
        seed,
        task_args,
        include_path,
    )
    if dry_run or print_prompts:
        _preview([ref], settings, output_path, print_prompts)
        return
    _announce_price([ref], settings, output_path)
    with resumable(), progress_bar() as progress:
        matrix = verbs.evaluate_tasks(
            ref,
            output_path=output_path,
            batch_size=batch_size,
            fail_on_error=error_limit(fail_on_error),
            progress=progress,
            **settings,
        )
    _print(figures_table(matrix), *repeat_lines(list(matrix.runs.values())))
    for run in matrix.runs.values():
        say(f"{run.manifest['task']}: {run.path}")
    if matrix.runs:
        say(f"the page of it: keepsight report {shlex.quote(str(output_path))}")
    leave(matrix)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Two run directories of one task, the reference first; or directories of tune --sequence."
        ),
    ],
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="Whose scores; default: the headline's.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Changed classes and answers to show.")] = 10,
    output_path: Annotated[
        Path | None, typer.Option("--output_path", help="Of sequences: where their page, methods.html, goes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Compare two runs of one task, or tuned sequences."""
    from keepsight import verbs
    from keepsight.comparing import is_sequence
    from keepsight.console import comparison_lines
    from keepsight.errors import UsageError

    told_apart = {is_sequence(run): run for run in runs}
    if len(told_apart) > 1:
        raise UsageError(
            f"{told_apart[True]} is of tune --sequence and {told_apart[False]} is not; compare what is alike"
        )
    if True in told_apart and len(runs) > 1:
        _compare_sequences(runs, scorer, output_path, as_json)
        return
    if len(runs) != 2 or output_path is not None:
        what = "--output_path is of sequences" if len(runs) == 2 else f"{len(runs)} given"
        raise UsageError(f"compare takes two runs, or several directories of tune --sequence; {what}")
    found = verbs.compare(*runs, scorer=scorer)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _print(*comparison_lines(found, top))


def _compare_sequences(
    directories: list[Path], scorer: str | None, output_path: Path | None, as_json: bool
) -> None:
    from keepsight.comparing import compare_sequences
    from keepsight.report.methods_page import methods_page
    from keepsight.report.methods_text import study_lines

    studies = compare_sequences(directories, scorer=scorer)
    if as_json:
        typer.echo(json.dumps({"studies": [study.as_dict() for study in studies]}, indent=1))
    else:
        width = max(get_terminal_size().columns, 40)
        typer.echo("\n\n".join("\n".join(study_lines(study, width)) for study in studies))
    if output_path is not None:
        page = methods_page(studies, output_path / "methods.html")
        say(f"written: {page}", err=as_json)


def gate(
    runs: Annotated[
        list[Path], typer.Argument(help="An audit's directory; or run directories, the base's first.")
    ],
    max_forgetting: Annotated[
        float, typer.Option("--max_forgetting", help="Share that may be lost on a task: 0.02 is two points.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Pass only when forgetting beyond the limit is ruled out.")
    ] = False,
    tasks: Annotated[str, typer.Option("--tasks", help="Only these tasks; default: all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Exit with 4 when a checkpoint forgot more than allowed."""
    from keepsight.console import gate_lines
    from keepsight.gating import gate as hold

    found = hold(runs, max_forgetting, strict=strict, tasks=listed(tasks))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _print(*gate_lines(found))
    code = {"passed": 0, "failed": GATE_FAILED, "too little data": PARTIAL}[found.decision]
    raise typer.Exit(code)


def score(
    runs: Annotated[list[Path], typer.Argument(help="Finished run directories, or whole audits.")],
    judges: Annotated[
        str,
        typer.Option(
            "--judges", "--judge", "--scorer", help="Names (keepsight ls judges), or file.py:function."
        ),
    ] = JUDGES,
    llm_judge: LLMJudge = None,
    judge_args: JudgeArgs = "",
    embedder: Embedder = "tiny",
) -> None:
    """Let judges score finished runs; the model is not asked."""
    from keepsight import verbs
    from keepsight.console import judging_lines, repeat_lines, scorers_table
    from keepsight.store import load_runs

    before = load_runs(dict.fromkeys(runs))
    scored = verbs.rescore(
        before,
        listed(judges),
        llm_judge=judges_of(llm_judge),
        judge_args=pairs_of("judge_args", judge_args),
        embedder=embedder,
    )
    _print(scorers_table(before, scored), *repeat_lines(scored))
    if failed := judging_lines(scored):
        for line in failed:
            typer.echo(f"keepsight: {line}", err=True)
        raise typer.Exit(PARTIAL)


def import_runs(
    logs: Annotated[
        list[Path], typer.Argument(help="Per model, base first: a directory, results file or samples file.")
    ],
    output_path: OutputPath = OUT,
    names: Annotated[str, typer.Option("--names", help="What to call the models, comma-separated.")] = "",
    metric: Annotated[
        str | None, typer.Option("--metric", help="The score to compare; default: the log's first.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Field of the document that samples on one picture share.")
    ] = None,
) -> None:
    """Make runs of logs by lm-eval, lmms-eval or Inspect."""
    from keepsight.exchange import import_logs

    found = import_logs(logs, output_path, names=listed(names), metric=metric, group=group)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    for run in found.matrix.runs.values():
        typer.echo(f"{run.manifest['checkpoint']}, {run.manifest['task']}: {run.path}")
    print_audit(found.matrix, output_path / "matrix.json")
    leave(found.matrix)


def export(
    path: Annotated[Path, typer.Argument(help="A run directory, or the directory of an audit.")],
    form: Annotated[ExportForm, typer.Option("--format", help="What to write.")],
    output: Annotated[Path, typer.Option("--output", help="File; for an audit's Inspect logs a directory.")],
) -> None:
    """Write a run or an audit as CSV, LaTeX or Inspect's log."""
    from keepsight.exchange import export as write

    for written in write(path, form.value, output):
        typer.echo(f"written: {written}")


def report(
    output_path: Annotated[
        Path,
        typer.Argument(help="Directory of an audit, a diagnosis or a run; or matrix.json or findings.json."),
    ],
    html: Annotated[
        Path | None, typer.Option("--html", help="The page; default: forgetting.html or diagnosis.html.")
    ] = None,
) -> None:
    """Write the page of an audit, a diagnosis or a run."""
    from keepsight.refs import with_row_names
    from keepsight.store import load_evaluation, load_matrix

    if report_diagnosis(output_path, html):
        return
    alone = os.path.isdir(output_path) and not os.path.exists(output_path / "matrix.json")
    matrix = with_row_names(load_evaluation(output_path)) if alone else load_matrix(output_path)
    folder = output_path if os.path.isdir(output_path) else output_path.parent
    print_audit(matrix, matrix.report(html or folder / "forgetting.html"))
    leave(matrix)


def list_names(
    shelf: Annotated[
        Shelf, typer.Argument(show_choices=False, help=f"One of {', '.join(each.value for each in Shelf)}.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON list of {name, description}.")] = False,
) -> None:
    """List tasks, sets, models, methods, judges and so on."""
    from keepsight.shelves import SHELVES

    rows = SHELVES[shelf.value]()
    if as_json:
        typer.echo(json.dumps([{"name": name, "description": text} for name, text in rows], indent=1))
        return
    # A pipe gets one line per entry, so that grep finds it whole.
    width = get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in definition_lines(rows, width):
        typer.echo(line)
    if not rows:
        typer.echo(f"no {shelf.value} yet")


def doctor(
    output_path: OutputPath = Path(),
    as_json: Annotated[
        bool, typer.Option("--json", help="As a JSON list of {name, level, detail, cure}.")
    ] = False,
) -> None:
    """Check this installation and say how to mend it."""
    from keepsight.doctor import checks

    found = checks(output_path)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=1))
    for check in () if as_json else found:
        level = check.level.upper() if check.level == "bad" else check.level
        typer.echo(f"{level:<4} {check.name}: {check.detail}{f'; {check.cure}' if check.cure else ''}")
    if any(check.level == "bad" for check in found):
        raise typer.Exit(FAILED)


def demo(
    output_path: OutputPath = Path("keepsight-demo"),
    limit: Annotated[int, typer.Option("--limit", min=10, help="Held-out pictures asked of each set.")] = 120,
    tuned: Annotated[
        str, typer.Option("--tuned", help="The drawn set to tune on (keepsight ls sets).")
    ] = "things",
) -> None:
    """Tune the embedded model on one set and audit it on all.

    Takes about two minutes.
    """
    from keepsight.console import claim_lines, progress_bar, resumable, summary_lines
    from keepsight.data.drawn import ALL_SETS
    from keepsight.demo import audit_demo, tune_demo
    from keepsight.errors import UsageError
    from keepsight.report.claims import read_claims
    from keepsight.tune.progress import console_progress

    # Two threads gain so small a model little, and lose much where the cores are shared.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if tuned not in ALL_SETS:
        raise UsageError(f"there is no drawn set {tuned!r}; choose from {', '.join(ALL_SETS)}")
    with resumable(), console_progress() as shown:
        tune_demo(output_path, tuned=tuned, progress=shown.learning)
    with resumable(), progress_bar() as progress:
        matrix = audit_demo(output_path, n=limit, tuned=tuned, progress=progress)
    print_audit(matrix, output_path / "forgetting.html")
    typer.echo("\nWhat EMT reports of large models, measured here:")
    for line in claim_lines(read_claims(output_path / "claims.json"), get_terminal_size().columns):
        typer.echo(line)
    for line in summary_lines(matrix):
        warn(line)
    if matrix.meta.get("failed"):  # a judge this small that is now and then at a loss is part of the story
        raise typer.Exit(PARTIAL)


# In the order of `--help`.
VERBS: dict[str, Callable[..., None] | typer.Typer] = {
    "audit": audit,
    "eval": evaluate,
    "compare": compare,
    "gate": gate,
    "score": score,
    "import": import_runs,
    "export": export,
    "report": report,
    "ls": list_names,
    "doctor": doctor,
    "demo": demo,
    "tune": tune,
    "judge": judge_app,
    "diagnose": diagnose,
    "build": build_app,
}


def _help_of(verb: Callable[..., None] | typer.Typer) -> str | None:
    return verb.info.help if isinstance(verb, typer.Typer) else inspect.getdoc(verb)


def command_of(name: str) -> Any:
    """The verb `name` as click's command, with all its options."""
    verb = VERBS[name]
    if isinstance(verb, typer.Typer):
        return with_whole_help(typer.main.get_command(verb))
    if verb is tune:
        tune.__signature__ = tune_signature()  # type: ignore[attr-defined]
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(name)(verb)
    return with_whole_help(typer.main.get_command(alone))


def _preview(refs: list[str], settings: dict[str, Any], output_path: Path, prompts: int) -> None:
    """What `--dry_run` and `--print_prompts` show; no weights are loaded."""
    from keepsight import verbs
    from keepsight.console import plan_table, price_line
    from keepsight.judging import ASKING, most_requests

    asking = _without_judges(settings)
    if prompts:
        from keepsight.report.wording import printable

        for text in verbs.rendered_prompts(refs[0], prompts, **asking):
            typer.echo(f"{printable(text)}\n{'-' * 20}")
        return
    plan = verbs.plan(refs, output_path=output_path, **asking)
    _print(plan_table(plan))
    if line := price_line(plan):
        typer.echo(line)
    if settings["llm_judge"] is not None:
        answers = sum(cell.total for cell in plan)
        for name in [name for name in settings["judges"] if name in ASKING] or ["llm"]:
            models = settings["llm_judge"] if isinstance(settings["llm_judge"], list) else [""]
            times = most_requests(name, answers, settings["judge_args"], len(models))
            typer.echo(f"the {name} judge would be asked at most {times} times")


def _without_judges(settings: dict[str, Any]) -> dict[str, Any]:
    """What decides about asking, of the settings of audit and eval."""
    judging = ("judges", "llm_judge", "judge_args", "embedder")
    return {name: value for name, value in settings.items() if name not in judging}


def _announce_price(refs: list[str], settings: dict[str, Any], output_path: Path) -> None:
    """Before a served model is asked anything: what it will be asked, and what that may cost."""
    from keepsight import verbs
    from keepsight.console import price_line

    if served := [ref for ref in refs if ref.startswith("api:")]:
        line = price_line(verbs.plan(served, output_path=output_path, **_without_judges(settings)))
        typer.echo(f"keepsight: {line}", err=True)


def _print(*parts: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))


def main() -> None:
    """Entry point of the `keepsight` command. KEEPSIGHT_TRACEBACK=1 shows where a failure came from."""
    rank = launched()
    try:
        if not rank.is_first:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # the first rank speaks for all
        if rank.size > 1 and not set(sys.argv[1:2]) & set(SHARED):
            from keepsight.types import KeepsightError

            shared = ", ".join(SHARED)
            raise KeepsightError(f"only {shared} run in several processes; start this one without a launcher")
        app()
    except Exception as error:
        from keepsight.errors import KeepsightError, UsageError, redacted

        if os.environ.get("KEEPSIGHT_TRACEBACK"):
            raise
        known = isinstance(error, KeepsightError)
        text = redacted(" ".join(str(error).split()))
        hint = "" if known else " (KEEPSIGHT_TRACEBACK=1 shows where)"
        warn(f"{text if known else f'{type(error).__name__}: {text}'}{hint}")
        sys.exit(USAGE if isinstance(error, UsageError) else FAILED)


if __name__ == "__main__":
    main()
