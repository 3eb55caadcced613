"""Is it the data? Are the classes that the training corpus names more often the ones that the model answers better?

Source: Zhang et al., arXiv:2405.18415, section 3.3, Figure 3, appendix B.6 and Table 9.

1. Classes are counted as `scoring.mentions` says; every label keeps its count, 0 included (there, nine labels of ImageNet with
   punctuation counted nothing, and classes of the second stage alone were left out).
2. Each correlation has an interval over classes. Where all accuracies are equal there is none, and that is no evidence.
3. The controls (the vision encoder, a fine-tuned model) are compared with the model over the same classes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from keepsight.data.corpora import BytesRead, corpus_files, read_corpus
from keepsight.data.labelled import label_text
from keepsight.diagnose.study import Study
from keepsight.evaluate import evaluate
from keepsight.scoring.correlation import correlation, correlation_difference
from keepsight.scoring.findings import Finding, FindingVerdict, Line, Plot
from keepsight.scoring.mentions import MentionCounter, MentionCounts, Overlap, together
from keepsight.scoring.statistics import bootstrap_mean
from keepsight.tasks.emt import emt
from keepsight.types import KeepsightError, MetricValue, Run

__all__ = ["BINS", "Accuracies", "count_corpora", "count_mentions", "frequency", "per_class_accuracy"]

# Left edges of the bins of the seed's Figure 3.
BINS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 1_000, 10_000, 100_000)
MATTERS = 0.2  # a correlation below this explains less than a twenty-fifth of the ranks' variance
_NAMED = 10  # labels named in one note

Accuracies = Run | Mapping[str, float]  # answers, or {label: accuracy} where they were made elsewhere


def frequency(
    study: Study,
    *,
    corpora: Mapping[str, Path] | None = None,
    counts: Sequence[MentionCounts] = (),
    runs: Mapping[str, Accuracies] | None = None,
    overlap: Overlap = "longest",
    column: str | None = None,
    answers_only: bool = False,
    n_resamples: int = 2000,
) -> Finding:
    """Is it the data?

    Joins how often each class is named with how well it is answered.

    Args:
        corpora: name -> file or folder, one per stage of the training (default: `study.corpora`).
        counts: corpora that were counted already, instead.
        runs: name -> answers or {label: accuracy}; the first decides, the others are controls: the encoder alone, a
            fine-tuned model. Default: the model's closed-world answers, and `study.clip` if there is one.
        overlap, column, answers_only: see `count_mentions`.

    Raises:
        KeepsightError: no corpus, no row that can be read, or no label with an accuracy.
    """
    stages = list(counts) or count_corpora(
        study, corpora, overlap=overlap, column=column, answers_only=answers_only
    )
    total = stages[0] if len(stages) == 1 else together(stages)
    accuracies = {
        name: _accuracies(given)
        for name, given in (runs if runs is not None else _default_runs(study)).items()
    }
    labels, left_out = _joined(total, accuracies)
    model, *controls = accuracies
    mentioned = [total.sentences[label] for label in labels]
    right = {name: [values[label] for label in labels] for name, values in accuracies.items()}
    figures = _figures(mentioned, right[model], n_resamples)
    for stage in stages if len(stages) > 1 else ():
        own = [stage.sentences[label] for label in labels]
        figures += _figures(own, right[model], n_resamples, f" ({stage.name})")[:2]
    compared = []
    for name in controls:
        figures += _figures(mentioned, right[name], n_resamples, f" of {name}")[:2]
        compared.append(
            correlation_difference(
                mentioned,
                right[model],
                right[name],
                name=f"spearman, {model} minus {name}",
                n_resamples=n_resamples,
            )
        )
    return Finding(
        "frequency",
        "Is it the data?",
        _verdict(figures[0]),
        _answer(figures[0], len(labels)),
        (*figures, *compared),
        (_binned(mentioned, right), _scattered(mentioned, right)),
        (*_notes(stages, total, labels, left_out, right[model], figures[0]), *map(_control_note, compared)),
        {
            "corpora": [stage.name for stage in stages],
            "overlap": total.overlap,
            "answers_only": answers_only,
            "runs": list(accuracies),
            "mentions": {label: total.sentences[label] for label in labels},
            "n_resamples": n_resamples,
        },
    )


def count_mentions(
    path: str | Path,
    labels: Sequence[str],
    *,
    name: str | None = None,
    overlap: Overlap = "longest",
    column: str | None = None,
    answers_only: bool = False,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    progress: BytesRead | None = None,
) -> MentionCounts:
    """How often a corpus names each label, in one pass and constant memory.

    Args:
        path: see `data.corpora.read_corpus`, also for `column` and `answers_only`.
        name: of the corpus (default: the file's).
        overlap, synonyms: see `scoring.mentions.MentionCounter`.
        progress: called with (file, bytes read, bytes of all files).

    Raises:
        KeepsightError: nothing there, or not one row that can be read.
    """
    counter = MentionCounter(labels, overlap, synonyms)
    for document in read_corpus(path, column=column, answers_only=answers_only, progress=progress):
        if document.fault:
            counter.add_fault(f"{document.place}: {document.fault}")
        else:
            counter.add(document.texts)
    if not counter.n_documents:
        raise KeepsightError(f"{path}: no row can be read ({'; '.join(counter.bad) or 'it is empty'})")
    return counter.counts(name or Path(path).stem)


def count_corpora(
    study: Study,
    corpora: Mapping[str, Path] | None = None,
    *,
    overlap: Overlap = "longest",
    column: str | None = None,
    answers_only: bool = False,
) -> list[MentionCounts]:
    """How often each stage of the training names each of the study's labels. What a study has counted is not read again.

    Args:
        corpora: name -> file or folder (default: `study.corpora`).
        overlap, column, answers_only: see `count_mentions`.

    Raises:
        KeepsightError: no corpus, or one without a row that can be read.
    """
    chosen = study.corpora if corpora is None else corpora
    if not chosen:
        raise KeepsightError("no corpus is given; name the files that the model was trained on")
    counts = []
    for name, path in chosen.items():
        key = (name, _as_it_is(path), study.labels, overlap, column, answers_only)
        if key not in study.counted:
            study.counted[key] = count_mentions(
                path,
                study.labels,
                name=name,
                overlap=overlap,
                column=column,
                answers_only=answers_only,
                progress=study.progress,
            )
        counts.append(study.counted[key])
    return counts


def _as_it_is(path: Path) -> tuple[tuple[Path, int, int], ...]:
    """A corpus's files with sizes and times of change: one that was changed since is another corpus."""
    found = [(file, file.stat()) for file in corpus_files(path)]
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in found)


def per_class_accuracy(run: Run) -> dict[str, float]:
    """Label -> mean score of its samples, of labels with a scored sample; a sample's label is its first target."""
    values: dict[str, list[float]] = {}
    for record, score in zip(run.records, run.scores(), strict=True):
        label = str(record.sample.meta.get("label") or next(iter(record.sample.target), ""))
        if label and score.scored:
            values.setdefault(label, []).append(score.value)
    return {label: math.fsum(own) / len(own) for label, own in values.items()}


# ---- what is joined -----------------------------------------------------------------------------------------------


def _default_runs(study: Study) -> dict[str, Accuracies]:
    task = emt(study.pictures, n=study.n, seed=study.seed)
    run = evaluate(study.model, task, study.store, batch_size=study.batch_size, progress=study.progress)
    runs: dict[str, Accuracies] = {study.model.name: run}
    if study.clip is not None:
        runs["encoder"] = _encoder_accuracy(study)
    return runs


def _encoder_accuracy(study: Study) -> dict[str, float]:
    """Zero-shot accuracy per class of the contrastive encoder on the same pictures."""
    assert study.clip is not None
    pictures = study.test()
    likely = study.clip.classify([picture.media for picture in pictures], study.labels).argmax(axis=1)
    right: dict[str, list[bool]] = {}
    for picture, best in zip(pictures, likely, strict=True):
        label = label_text(picture.label)
        right.setdefault(label, []).append(study.labels[int(best)] == label)
    return {label: sum(own) / len(own) for label, own in right.items()}


def _accuracies(given: Accuracies) -> Mapping[str, float]:
    return per_class_accuracy(given) if isinstance(given, Run) else given


def _joined(
    total: MentionCounts, accuracies: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], list[str]]:
    """Labels known on all sides, and those that are not."""
    if not accuracies:
        raise KeepsightError("no answers are given; name at least one run")
    sides = [total.sentences, *accuracies.values()]
    everywhere = [label for label in total.sentences if all(label in side for side in sides)]
    anywhere = dict.fromkeys(label for side in sides for label in side)
    if not everywhere:
        raise KeepsightError(
            f"no label has both a count and an accuracy: counted were {', '.join(list(total.sentences)[:5])}, "
            f"answered {', '.join(list(next(iter(accuracies.values())))[:5]) or 'none'}"
        )
    return everywhere, [label for label in anywhere if label not in set(everywhere)]


# ---- what is said of it -------------------------------------------------------------------------------------------


def _figures(
    mentioned: Sequence[int], right: Sequence[float], n_resamples: int, of: str = ""
) -> list[MetricValue]:
    """Spearman and Pearson of the counts as published, and Pearson of log(1 + count)."""
    logs = [math.log1p(count) for count in mentioned]
    return [
        correlation(mentioned, right, "spearman", name=f"spearman{of}", n_resamples=n_resamples),
        correlation(mentioned, right, "pearson", name=f"pearson{of}", n_resamples=n_resamples),
        correlation(logs, right, "pearson", name=f"pearson of log counts{of}", n_resamples=n_resamples),
    ]


def _verdict(spearman: MetricValue) -> FindingVerdict:
    """Guilty only if more mentions go with *better* answers."""
    if math.isnan(spearman.low):
        return "no_evidence"
    if spearman.low > 0:
        return "yes"
    return "no" if spearman.high < MATTERS else "no_evidence"


def _answer(spearman: MetricValue, classes: int) -> str:
    if math.isnan(spearman.value):
        return f"It cannot be told: over {classes} classes, counts or accuracies do not vary."
    told = f"Spearman {spearman.value:.2f} [{spearman.low:.2f}, {spearman.high:.2f}] over {classes} classes"
    said = {
        "yes": "Classes that the corpus names more often are answered better",
        "no": "Classes that the corpus names more often are answered no better",
        "no_evidence": "Whether classes named more often are answered better cannot be told",
    }
    return f"{said[_verdict(spearman)]}: {told}."


def _notes(
    stages: Sequence[MentionCounts],
    total: MentionCounts,
    labels: Sequence[str],
    left_out: Sequence[str],
    right: Sequence[float],
    spearman: MetricValue,
) -> list[str]:
    notes = [
        f"{stage.name}: {stage.n_documents:,} rows, {stage.n_sentences:,} sentences"
        + (f"; {stage.n_bad:,} rows could not be read ({'; '.join(stage.bad)})" if stage.n_bad else "")
        + "."
        for stage in stages
    ]
    never = [label for label in labels if not total.sentences[label]]
    notes += [f"Never named: {_listed(never)}."] if never else []
    notes += (
        [f"Left out, because a count or an accuracy is missing: {_listed(left_out)}."] if left_out else []
    )
    same = Counter(right).most_common(1)[0]
    if 2 * same[1] > len(right):
        notes.append(
            f"{same[1]} of {len(right)} classes have one accuracy ({same[0]:.2f}): little is left to correlate."
        )
    if math.isnan(spearman.value):
        notes.append("A correlation needs at least three classes, and accuracies and counts that differ.")
    return notes


def _control_note(difference: MetricValue) -> str:
    if math.isnan(difference.low):
        return f"{difference.name}: undefined, one side does not vary."
    if difference.low > 0:
        return (
            f"{difference.name}: the control correlates less, so it is not that frequent classes look easier."
        )
    return f"{difference.name}: the control may correlate as much; frequent classes may just look easier."


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"{', '.join(labels[:_NAMED])}{more} ({len(labels)})"


def _binned(mentioned: Sequence[int], right: Mapping[str, Sequence[float]]) -> Plot:
    """Mean accuracy of the classes in each bin that holds one; no interval where it holds only one."""
    bins = [sum(count >= edge for edge in BINS) - 1 for count in mentioned]
    there = sorted(set(bins))
    lines = []
    for name, values in right.items():
        groups = [[v for v, own in zip(values, bins) if own == one] for one in there]
        ends = [bootstrap_mean(group) if len(group) > 1 else (math.nan, math.nan) for group in groups]
        means = tuple(math.fsum(group) / len(group) for group in groups)
        lines.append(Line(name, means, tuple(low for low, _ in ends), tuple(high for _, high in ends)))
    return Plot(
        "Accuracy by how often a class is named",
        tuple(lines),
        tuple(f"{_bin_name(one)} (n {bins.count(one)})" for one in there),
        "sentences that name the class (classes)",
        "accuracy",
        "bars",
    )


def _bin_name(one: int) -> str:
    if one + 1 == len(BINS):
        return f"{BINS[one]:,}+"
    return f"{BINS[one]:,}-{BINS[one + 1] - 1:,}"


def _scattered(mentioned: Sequence[int], right: Mapping[str, Sequence[float]]) -> Plot:
    x = tuple(map(float, mentioned))
    return Plot(
        "Each class: how often it is named, how well it is answered",
        tuple(Line(name, tuple(values), x=x) for name, values in right.items()),
        x_label="sentences that name the class",
        y_label="accuracy",
        kind="points",
        log_x=True,
    )
