"""What the command line shows besides the result matrix: a progress bar with the time left, and narrow tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten, wrap
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from keepsight.options import INTERRUPTED
from keepsight.ranks import launched
from keepsight.report.episode_figures import episode_figures, in_per_cent, told_figures
from keepsight.report.episodes import has_episodes
from keepsight.report.wording import (
    MISSING,
    count,
    figure,
    interval,
    p_value,
    percent,
    points,
    printable,
    span,
)

if TYPE_CHECKING:
    from keepsight.evaluate import Progress
    from keepsight.explaining import PlannedQuestion
    from keepsight.gating import Gate, Gated
    from keepsight.judge_checks import Calibrated
    from keepsight.report.claims import Claim
    from keepsight.scoring.judges.attack import AttackReport
    from keepsight.types import ResultMatrix, Run, Sample, Score
    from keepsight.verbs import Comparison, Planned

__all__ = [
    "attack_lines",
    "attack_table",
    "calibration_lines",
    "calibration_table",
    "claim_lines",
    "comparison_lines",
    "episode_lines",
    "figures_table",
    "gate_lines",
    "judging_lines",
    "plan_table",
    "price_line",
    "progress_bar",
    "questions_table",
    "repeat_lines",
    "resumable",
    "scorers_table",
    "summary_lines",
]


VERDICT_WORDS = {"holds": "holds", "does_not_hold": "does not hold", "no_evidence": "no evidence"}


def claim_lines(claims: Sequence[Claim], width: int) -> list[str]:
    """Each published finding and what was measured, wrapped to `width` columns."""
    lines = []
    for claim in claims:
        low, high = claim.interval
        found = f"{claim.measured:+.1f} {claim.unit} [{low:+.1f}, {high:+.1f}], n {claim.n}: {VERDICT_WORDS[claim.verdict]}"
        for text, indent in ((claim.claim, "- "), (found, "  ")):
            lines += wrap(text, max(width, 20), initial_indent=indent, subsequent_indent="  ")
    return lines


@contextmanager
def resumable() -> Iterator[None]:
    """An interrupt says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("keepsight: interrupted; run the same command again to go on", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A callback that draws one bar on a terminal's stderr; None where there is none, or another rank draws."""
    console = Console(stderr=True)
    if not (console.is_terminal and launched().is_first):
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True, expand=True) as bars:
        bar = bars.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bars.update(bar, description=_short(printable(what), 24), completed=done, total=total)

        yield show


def _short(text: str, width: int) -> str:
    """The end of a long name: it tells more than the beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]


def _table(*titles: str, names: int = 1) -> Table:
    """A table without a frame. Its first columns are `names`, which fold where it is narrow; the others never break."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    for i, title in enumerate(titles):
        table.add_column(title, justify="left" if i < names else "right", overflow="fold", no_wrap=i >= names)
    return table


def figures_table(matrix: ResultMatrix) -> Table:
    """Every metric of every run: value in per cent, its interval, and how many of the samples were scored."""
    runs = [
        (col, matrix.runs[row, col])
        for col in matrix.cols
        for row in matrix.rows
        if (row, col) in matrix.runs
    ]
    if any(has_episodes(run) for _, run in runs):
        return _played_table(runs)
    table = _table("task", "metric", "%", "interval", "n", names=2)
    for col, run in runs:
        for metric in run.metrics:
            n = count(metric.n) if metric.n == metric.total else f"{metric.n}/{metric.total}"
            cells = (metric.name, figure(metric.value), interval(metric.low, metric.high), n)
            table.add_row(Text(printable(col)), *map(Text, cells))
    return table


def _played_table(runs: Sequence[tuple[str, Run]]) -> Table:
    """The same where tasks are environments: with every scorer's figure, since a success says little of its own."""
    table = _table("task", "figure", "value", "interval", "n", names=2)
    for col, run in runs:
        for place, each in enumerate(episode_figures(run)):
            cells = (each.name, each.value, each.ends.replace(" to ", "…"), each.n)
            table.add_row(Text(printable(col) if not place else ""), *map(Text, cells))
    return table


def episode_lines(matrix: ResultMatrix) -> list[str]:
    """What every checkpoint makes of every environment, beside an expert and a random player."""
    return [
        printable(f"{row} on {col}: {told_figures(run)}")
        for (row, col), run in matrix.runs.items()
        if has_episodes(run)
    ]


def scorers_table(before: Sequence[Run], after: Sequence[Run]) -> Table:
    """What every scorer of a run makes of the same answers, and which of them scored only now."""
    from keepsight.scoring.metrics import mean_score

    table = _table("checkpoint", "task", "judge", "%", "interval", "n", "scored", names=3)
    for old, run in zip(before, after, strict=True):
        samples = [record.sample for record in run.records]
        for name, version in run.manifest["scorers"].items():
            found = mean_score(samples, run.scores(name))
            share = in_per_cent(name, found.value, found.low, found.high)
            names = (run.manifest["checkpoint"], run.manifest["task"], name)
            n = count(found.n) if found.n == found.total else f"{found.n}/{found.total}"
            when = "before" if old.manifest["scorers"].get(name) == version else "now"
            figures = figure(found.value, share=share), interval(found.low, found.high, share=share)
            cells = (*figures, n, when)
            table.add_row(*(Text(printable(cell)) for cell in (*names, *cells)))
    return table


def plan_table(plan: Sequence[Planned]) -> Table:
    """How much would be asked, and how long that may take judging by what was asked before."""
    table = _table("checkpoint", "task", "to ask", "of", "time", names=2)
    for cell in plan:
        seconds = "unknown" if cell.seconds is None else _duration(cell.seconds)
        names = (printable(cell.row), printable(cell.col))
        table.add_row(*map(Text, (*names, count(cell.asked), count(cell.total), seconds)))
    known = [cell.seconds for cell in plan if cell.seconds is not None]
    total = _duration(sum(known)) if len(known) == len(plan) else "unknown"
    table.add_row("all", "", count(sum(c.asked for c in plan)), count(sum(c.total for c in plan)), total)
    return table


def questions_table(plan: Sequence[PlannedQuestion]) -> Table:
    """What a diagnosis would do, question by question."""
    table = _table("question", "what it does", "requests", "trains", names=2)
    for each in plan:
        requests = "unknown" if each.requests is None else count(each.requests)
        cells = (each.question, each.work, requests, "yes" if each.trains else "no")
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def price_line(plan: Sequence[Planned]) -> str | None:
    """What the served models of a plan would be asked, in requests, tokens and money; None if there are none."""
    served = [cell for cell in plan if cell.tokens is not None]
    if not served:
        return None
    costs = [cell.cost for cell in served if cell.cost is not None]
    money = f"about {sum(costs):.4g} at the prices given" if costs else "at prices that were not given"
    requests, tokens = sum(cell.requests for cell in served), sum(cell.tokens or 0 for cell in served)
    episodes = requests > sum(cell.asked for cell in served)
    return (
        f"served models: {'at most ' if episodes else ''}{count(requests)} requests, about {count(tokens)} tokens, {money} "
        f"(4 characters a token, image_tokens a picture, every answer{' and episode' if episodes else ''} as long as it "
        "may be, no retries)"
    )


def _duration(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def summary_lines(matrix: ResultMatrix) -> list[str]:
    """What could not be scored, which cells failed, and which cannot be compared with the first row."""
    from keepsight.scoring.forgetting import incomparable_cells

    lines = []
    unscored = list(_unscored(matrix))
    if unscored:
        lines.append(f"not scored: {count(len(unscored))} answers, the first {unscored[0]}")
    lines += judging_lines(list(matrix.runs.values()))
    lines += [
        f"failed: {cell['row']} on {cell['col']}: {cell['error']}" for cell in matrix.meta.get("failed", ())
    ]
    lines += [
        f"not comparable: {row} on {col}: {why}" for (row, col), why in incomparable_cells(matrix).items()
    ]
    return [printable(line) for line in lines]


def judging_lines(runs: Sequence[Run]) -> list[str]:
    """Which judges beside the headline gave no verdict on how many answers, and the first of them with the reason."""
    failed: dict[str, list[str]] = {}
    asked: Counter[str] = Counter()
    for run in runs:
        for record in run.records:
            for name, score in record.scores.items():
                asked[name] += 1
                if score.status == "judge_failed" and name != run.scorer:
                    failed.setdefault(name, []).append(f"{record.sample.id}: {score.explanation}")
    return [
        printable(
            f"judge {name} gave no verdict on {count(len(lines))} of {count(asked[name])} answers,"
            f" the first {shorten(lines[0], 160, placeholder=' …')}"
        )
        for name, lines in failed.items()
    ]


def repeat_lines(runs: Sequence[Run]) -> list[str]:
    """How far each judge that was asked several times agrees with itself, or its models with each other, over all runs."""
    from keepsight.scoring.judges.general_knowledge import rating_spread
    from keepsight.scoring.judges.repeats import self_agreement

    judged: dict[str, list[tuple[Sample, Score]]] = {}
    for run in runs:
        for record in run.records:
            for name, score in record.scores.items():
                judged.setdefault(name, []).append((record.sample, score))
    lines = []
    for name, pairs in judged.items():
        found = self_agreement([sample for sample, _ in pairs], [score for _, score in pairs])
        if found.n:
            span_of = interval(found.low, found.high)
            lines.append(
                f"judge {name} agrees with itself on {figure(found.value)} % [{span_of}] of repeats,"
                f" n {count(found.n)}"
            )
        spread = rating_spread([sample for sample, _ in pairs], [score for _, score in pairs])
        if spread.n:
            lines.append(
                f"judge {name}: the ratings of one answer lie {spread.value:.1f} [{spread.low:.1f}, {spread.high:.1f}]"
                f" of 10 apart, n {count(spread.n)}"
            )
    return lines


def attack_table(report: AttackReport) -> Table:
    """What came of the attacks, family by family."""
    silent = ("no reply",) if report.silence else ()
    table = _table("attacks", "resisted %", "interval", "fooled", "no verdict", *silent, "n")
    for name, found in [*report.families.items(), ("all", report.outcome)]:
        cells = [figure(found.share), interval(found.low, found.high), found.fooled, found.none]
        table.add_row(name, *(Text(str(cell)) for cell in (*cells, *[found.silent for _ in silent], found.n)))
    return table


def attack_lines(report: AttackReport, most: int = 8) -> list[str]:
    """What the judge makes of plain answers, and what fooled it."""
    (right, of_right), (wrong, of_wrong) = report.right, report.wrong
    lines = [
        f"plain answers: {right} of {of_right} right ones called correct,"
        f" {wrong} of {of_wrong} wrong ones incorrect"
    ]
    if right < of_right or wrong < of_wrong:
        lines.append("this judge errs without any attack, so the share above says little")
    fooled = list(dict.fromkeys(a.attack.name for a in report.attempts if a.score.value == 1))
    if fooled:
        more = f" and {len(fooled) - most} more" if len(fooled) > most else ""
        lines.append(f"fooled by: {', '.join(fooled[:most])}{more}")
    failed = next((a for a in report.attempts if not a.score.scored and not a.silent), None)
    if failed is not None:
        lines.append(
            printable(f"the first without a verdict, {failed.attack.name}: {failed.score.explanation}")
        )
    return lines


def calibration_table(found: Calibrated) -> Table:
    """The judge beside a person, and the runs' accuracies as judged and as corrected."""
    table = _table("figure", "value", "interval", "n")
    of = found.calibration
    shares = {
        "agreement %": of.agreement,
        "precision %": of.precision,
        "recall %": of.recall,
        "specificity %": of.specificity,
    }
    for name, share in shares.items():
        table.add_row(
            name, *map(Text, (figure(share.value), interval(share.low, share.high), count(share.n)))
        )
    kappa = of.kappa
    table.add_row(
        "Cohen's kappa", f"{kappa.value:.2f}", f"{kappa.low:.2f} to {kappa.high:.2f}", count(kappa.n)
    )
    for each in found.runs:
        name = f"{each.run.manifest['checkpoint']} on {each.run.manifest['task']}"
        judged, corrected = each.judged, each.corrected
        cells = (figure(judged.value), interval(judged.low, judged.high), f"{judged.n}/{judged.total}")
        table.add_row(Text(printable(f"{name}, judged %")), *map(Text, cells))
        if corrected is not None:
            told = (figure(corrected.value), interval(corrected.low, corrected.high), count(corrected.n))
            table.add_row(Text(printable(f"{name}, corrected %")), *map(Text, told))
    return table


def calibration_lines(found: Calibrated) -> list[str]:
    """What the table rests on, and what is not in it."""
    of = found.calibration
    lines = [
        f"judge {found.judge.name} {found.judge.version}; both correct {of.correct_correct}, judge alone"
        f" {of.correct_incorrect}, person alone {of.incorrect_correct}, neither {of.incorrect_incorrect}"
    ]
    lines += [f"{status}: {count(n)}" for status, n in of.not_ok.items()]
    if found.unlabelled:
        lines.append(f"not labelled: {count(found.unlabelled)} rows")
    if any(each.corrected is None for each in found.runs):
        lines.append("no correction: the labels do not show this judge to be better than chance")
    elif found.runs:
        lines.append("corrected: if the judge errs on these runs as often as on the labelled answers")
    return lines


def _unscored(matrix: ResultMatrix) -> Iterator[str]:
    """Sample and reason of every answer without a value."""
    for run in matrix.runs.values():
        for record in run.records:
            score = record.scores[run.scorer]
            if not score.scored:
                yield f"{record.sample.id}: {score.explanation or score.status}"


def gate_lines(gate: Gate) -> Sequence[Table | str]:
    """A table of what was held to the limit, what could not be compared, and the decision."""
    table = _table("checkpoint", "task", "lost", "interval", "n", "outcome", names=2)
    for cell in gate.cells:
        outcome = cell.outcome.replace("too little ", "too little\n")  # leaves the names room
        cells = (cell.row, cell.col, *_forgotten(cell), count(cell.n), outcome)
        table.add_row(*(Text(printable(text)) for text in cells))
    notes = [f"{cell.row} on {cell.col}: {cell.why}" for cell in gate.cells if cell.why]
    left = sum(cell.unpaired for cell in gate.cells)
    notes += [f"left out: {count(left)} samples that were not scored in both runs"] if left else []
    return [table, "", *map(printable, notes), _decision(gate)]


def _forgotten(cell: Gated) -> tuple[str, str]:
    if cell.forgotten is None or cell.low is None or cell.high is None:
        return MISSING, MISSING
    return points(cell.forgotten), span(cell.low, cell.high)


def _decision(gate: Gate) -> str:
    limit = f"{100 * gate.max_forgetting:g} points"
    counts = Counter(cell.outcome for cell in gate.cells)
    told = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    rule = "ruled out everywhere" if gate.strict else "not shown anywhere"
    return {
        "passed": f"passed: forgetting beyond {limit} is {rule} ({told})",
        "failed": f"failed: forgetting beyond {limit} ({told})",
        "too little data": f"too little data to judge forgetting beyond {limit} ({told})",
    }[gate.decision]


def comparison_lines(comparison: Comparison, top: int = 10) -> Sequence[Table | str]:
    """The paired difference in words, what was left out, and tables of the classes and answers that changed most."""
    drop = comparison.drop
    test = {"mcnemar": "exact McNemar", "sign flip": "sign flips of clusters"}.get(drop.method, drop.method)
    before, after = (run.manifest["checkpoint"] for run in (comparison.before, comparison.after))
    words = [
        f"{before} → {after}",
        f"{drop.col}: {figure(drop.reference)} → {figure(drop.current)} %, n {count(drop.n)}",
        f"lost {points(drop.difference).lstrip('+')} points ({span(drop.low, drop.high)}), {test} p {p_value(drop.p)}: {drop.verdict}",
        f"{count(drop.lost)} samples fell, {count(drop.gained)} rose",
        *_left_out(comparison),
        *_format_lines(comparison),
    ]
    parts: list[Table | str] = [printable(line) for line in words]
    if any(change.lost or change.gained for change in comparison.classes):
        parts += ["", _classes_table(comparison, top)]
    changed = [flow for flow in comparison.flow if flow.before != flow.after]
    if not changed:
        return [*parts, "no answer changed"]
    table = _table("truth", "said before", "says now", "times", names=3)
    for flow in sorted(changed, key=lambda flow: -flow.count)[:top]:
        cells = (flow.truth, flow.before, flow.after, str(flow.count))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return [*parts, "", table]


def _format_lines(comparison: Comparison) -> list[str]:
    """Where both runs were scored for general knowledge, too: which of the lost answers lost their form alone."""
    from keepsight.scoring.forgetting import NotComparable
    from keepsight.scoring.format_loss import format_loss

    before, after = comparison.before, comparison.after
    lines = []
    for judge in ("semantic", "general_knowledge"):
        if judge == before.scorer or any(judge not in run.manifest["scorers"] for run in (before, after)):
            continue
        try:
            found = format_loss(before, after, knowledge=judge)
        except NotComparable as error:
            lines.append(f"form and knowledge by {judge}: {error}")
            continue
        told = ", ".join(
            f"{part.name} {figure(part.value)} % [{interval(part.low, part.high)}]"
            for part in (found.lost, *found.parts)
        )
        lines.append(f"of all by {judge}, n {count(found.n)}: {told}")
    return lines


def _left_out(comparison: Comparison) -> list[str]:
    counts = {
        "only in the first run": comparison.only_before,
        "only in the second run": comparison.only_after,
        "not scored in both": comparison.unscored,
    }
    told = ", ".join(f"{count(n)} {why}" for why, n in counts.items() if n)
    return [f"left out: {told}"] if told else []


def _classes_table(comparison: Comparison, top: int) -> Table:
    """The classes that changed most, largest loss first."""
    table = _table("class", "before", "now", "lost", "interval", "n", "verdict")
    moved = [change for change in comparison.classes if change.lost or change.gained]
    for change in sorted(moved, key=lambda change: -abs(change.difference))[:top]:
        figures = (percent(change.before), percent(change.after), points(change.difference))
        cells = (change.label, *figures, span(change.low, change.high), str(change.n), change.verdict)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
