"""What stands around the figures: denominators, warnings, and how everything was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keepsight.report.comparisons import Audit
from keepsight.report.episodes import has_episodes
from keepsight.report.grid import headline
from keepsight.report.wording import count, listed, printable
from keepsight.types import ResultMatrix, Run

__all__ = [
    "Fact",
    "Note",
    "checkpoints",
    "date",
    "episodes_alone",
    "facts",
    "notes",
    "tasks",
    "version_of_keepsight",
    "warnings",
]

TOO_MANY_UNSCORED = 0.02  # a share of all answers; fewer are told among the facts, more are a warning


@dataclass(frozen=True)
class Fact:
    """A name, a value, and what to know about it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A paragraph on how things were measured."""

    name: str
    text: str


_ACCURACY = Note(
    "Accuracy and its interval",
    "Share of scored samples that the headline scorer calls right, with its 95 % interval. n counts the scored"
    " samples; an answer that nobody could score, a refusal and a failed judge are counted apart.",
)
_COMPARED = (
    Note(
        "Forgetting",
        "Reference minus current on the same samples, in points: positive is lost. The word forgotten stands only"
        " where the corrected interval excludes zero. No evidence does not mean that nothing was lost.",
    ),
    Note(
        "References",
        "Base: the first row. Own: the checkpoint that had just been tuned on the set. Best so far: the best row"
        " up to the cell; the best of several noisy figures is flattered, and so are these drops.",
    ),
)
_FAILURES = Note(
    "Failures and leaks",
    "Every answer is correct, incorrect, an intrinsic or an extrinsic hallucination, or no answer. A foreign"
    " label is a label of another audited set that is not one of this set: the answer leaks from elsewhere.",
)
_PICTURES = Note(
    "Pictures",
    "Chosen by rule, not by hand: lost by the most checkpoints first, classes in turn. The cap and the full"
    " number stand with each choice. Thumbnails are encoded anew, without the files' metadata.",
)
_EPISODES = Note(
    "Episodes",
    "The success rate is the share of played episodes that were solved; n counts them, and every figure has its 95 %"
    " interval. A step's reward and the verifier's word are the environment's. An answer that names no legal action is illegal, one in"
    " which nothing can be read unreadable; a random legal action is then done in its place where the environment says so."
    " Best play and random play are an expert and a player who guesses on the same episodes. Cut off: the steps or attempts ran out.",
)


def facts(audit: Audit) -> list[Fact]:
    """The denominators of the audit."""
    runs = list(audit.matrix.runs.values())
    answers = sum(len(run.records) for run in runs)
    scored = sum(headline(run).n for run in runs)
    sizes = sorted({len(run.records) for run in runs})
    asked = " to ".join(count(size) for size in dict.fromkeys((sizes[0], sizes[-1]))) if sizes else "no"
    tuned = [audit.cols[col] for col in sorted(set(audit.tuned.values()))]
    note = "" if scored == answers else f"{count(scored)} scored, {count(answers - scored)} not"
    sets, samples, outputs = (
        ("Environments", "episodes", "Episodes") if episodes_alone(audit) else ("Sets", "samples", "Answers")
    )
    told = [
        Fact("Checkpoints", count(len(audit.rows)), "base first" if len(audit.rows) > 1 else ""),
        Fact(sets, count(len(audit.cols)), f"{asked} {samples} each" if len(runs) > 1 else ""),
        Fact(outputs, count(answers), note),
    ]
    if tuned:
        told.append(Fact("Tuned on", printable(listed(tuned))))
    if audit.base:
        real = sum(drop.verdict == "forgotten" for drop in audit.base.values())
        told.append(Fact("Real drops", f"{real} of {len(audit.base)}", "comparisons with the base"))
    if len(audit.rows) > 1:
        told.append(Fact("Certainty", f"{100 * audit.level:.3g} %", "over all comparisons, Holm"))
    return told


def episodes_alone(audit: Audit) -> bool:
    """Whether all that was asked are episodes: nothing classifies then."""
    return bool(audit.matrix.runs) and all(map(has_episodes, audit.matrix.runs.values()))


def warnings(audit: Audit) -> list[str]:
    """What a reader must know before trusting the figures."""
    cells = len(audit.rows) * len(audit.cols)
    missing = cells - len(audit.matrix.runs)
    found = []
    if missing:
        failed = audit.failures()
        first = next(iter(failed.items()), None)
        example = (
            f" The first: {audit.rows[first[0][0]]} on {audit.cols[first[0][1]]}: {first[1]}" if first else ""
        )
        found.append(f"{missing} of {cells} cells have no result and enter no comparison.{example}")
    unfinished = [
        run for run in audit.matrix.runs.values() if run.manifest.get("status", "success") != "success"
    ]
    if unfinished:
        found.append(
            f"{len(unfinished)} of {cells} runs did not finish; their figures rest on fewer samples."
        )
    answers = sum(headline(run).total for run in audit.matrix.runs.values())
    unscored = answers - sum(headline(run).n for run in audit.matrix.runs.values())
    if unscored > TOO_MANY_UNSCORED * answers:
        of_all = f"{count(unscored)} of {count(answers)}"
        found.append(f"{of_all} answers could not be scored; they are neither right nor wrong.")
    if audit.references[0].why_not and len(audit.rows) > 1:
        found.append(f"Nothing is compared with the base: {audit.references[0].why_not}")
    return [printable(text) for text in found]


def notes(audit: Audit) -> list[Note]:
    """How the figures came about, in the words of a reader who was not there; what the page has nothing of is left out."""
    alone, compared = episodes_alone(audit), len(audit.rows) > 1
    runs = audit.matrix.runs.values()
    judged = any("taxonomy" in record.scores for run in runs for record in run.records)
    told = [] if alone else [_ACCURACY]
    told += _COMPARED if compared else ()
    told += [_FAILURES] if judged else []
    told += [] if alone else [_PICTURES]
    told += [_EPISODES] if any(map(has_episodes, runs)) else []
    told += [_correction(audit)] if compared else []
    libraries = _libraries(audit.matrix)
    return [*told, Note("Versions", libraries)] if libraries else told


def _correction(audit: Audit) -> Note:
    methods = sorted({drop.method for reference in audit.references for drop in reference.drops.values()})
    text = (
        f"Paired ({listed(methods) or 'no comparison'}); samples that share a picture count as one cluster."
        f" Holm's correction over the comparisons with the base, here {len(audit.base)}: with"
        f" {100 * audit.level:.3g} % certainty none of the verdicts is wrong. Each interval stands at its own"
        " corrected level, so that it always agrees with the verdict."
    )
    return Note("Interval and correction", text)


def _libraries(matrix: ResultMatrix) -> str:
    found: dict[str, set[str]] = {}
    for run in matrix.runs.values():
        libraries = run.manifest.get("libraries") or run.manifest.get("versions") or {}
        for name, version in libraries.items() if isinstance(libraries, Mapping) else ():
            found.setdefault(str(name), set()).add(str(version))
    return printable(
        ", ".join(f"{name} {' / '.join(sorted(versions))}" for name, versions in sorted(found.items()))
    )


def date(matrix: ResultMatrix) -> str:
    """The day on which the last run of the audit was written, as it says itself."""
    days = [str(run.manifest.get("updated") or "")[:10] for run in matrix.runs.values()]
    return printable(max([*days, str(matrix.meta.get("created") or "")[:10]]))


def checkpoints(audit: Audit) -> list[dict[str, str]]:
    """Every row with its digest and the set that it was tuned on."""
    found = []
    for row, name in enumerate(audit.matrix.rows):
        runs = [run for col in range(len(audit.cols)) if (run := audit.run(row, col)) is not None]
        digests = sorted({str(run.manifest.get("checkpoint_digest", "")) for run in runs} - {""})
        tuned = audit.tuned.get(row)
        found.append(
            {
                "name": printable(name),
                "digest": printable(", ".join(digests)) or "–",
                "tuned": printable(audit.cols[tuned]) if tuned is not None else "–",
            }
        )
    return found


def tasks(audit: Audit) -> list[dict[str, str]]:
    """Every column with its version, scorers, inference settings and first prompt."""
    return [_task(audit, col) for col in range(len(audit.cols))]


def _task(audit: Audit, col: int) -> dict[str, str]:
    runs = [run for row in range(len(audit.rows)) if (run := audit.run(row, col)) is not None]
    name = printable(audit.matrix.cols[col])
    if not runs:
        blank = dict.fromkeys(("version", "samples", "headline", "scorers", "inference", "prompt"), "–")
        return {"name": name, **blank}
    first = runs[0]
    prompt = first.records[0].sample.prompt if first.records else "–"
    scorers = first.manifest.get("scorers") or {}
    told = (
        [f"{scorer} {version}" for scorer, version in scorers.items()]
        if isinstance(scorers, Mapping)
        else list(scorers)
    )
    return {
        "name": name,
        "version": printable(str(first.manifest.get("task_version", "–"))),
        "samples": count(len(first.records)),
        "headline": printable(headline(first).name),
        "scorers": printable(", ".join(map(str, told))),
        "inference": printable(_settings(first)),
        "prompt": printable(prompt if len(prompt) <= 400 else f"{prompt[:400]} …"),
    }


def _settings(run: Run) -> str:
    settings = run.manifest.get("inference") or {}
    if not isinstance(settings, Mapping):
        return str(settings)
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def version_of_keepsight() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("keepsight")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
