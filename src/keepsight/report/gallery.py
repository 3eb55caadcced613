"""The pictures that tell: chosen per cell, embedded once, each with what every checkpoint said of it.

A cell may have lost hundreds of answers; a page holds few. The choice is deterministic: pictures lost by the
most checkpoints first, classes in turn, the same pictures along a column as far as possible, so that one picture
shows the whole history. How many there are in all is told beside how many are shown.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from keepsight.report.episodes import has_episodes
from keepsight.report.thumbnails import Album
from keepsight.report.wording import printable
from keepsight.types import Record, ResultMatrix, Run, Sample, Score

__all__ = ["Caps", "Gallery", "build_gallery", "headline_values", "judges_disagree", "read_as", "shown"]

TAXONOMY = "taxonomy"


@dataclass(frozen=True)
class Caps:
    """What the page shows at most, so that it stays a page however large the audit."""

    lost: int = 24  # pictures per cell that were right before and are wrong now
    gained: int = 6  # per cell, the other way round
    disputed: int = 6  # per cell, judges disagree
    picture_bytes: int = 2_200_000  # all embedded pictures, in characters
    answer_bytes: int = 1_400_000  # all that checkpoints and judges said of them, in characters
    text: int = 2_000  # characters of one answer
    rows: int = 12  # rows of one table in the detail panel
    classes: int = 30  # classes per task in the overview
    episodes: int = 12  # per task with all their steps
    episode_lines: int = 200  # per task in the overview
    steps: int = 60  # of one episode
    frame_bytes: int = 2_000_000  # all embedded frames, in characters
    episode_bytes: int = 1_600_000  # all that was asked and said in episodes, in characters

    @classmethod
    def for_matrix(cls, rows: int, cols: int) -> Caps:
        """Caps that keep the page near 5 MB: from about 100 cells on, each gets less."""
        cells = max(1, rows * cols)
        if cells <= 100:
            return cls()
        share = 100 / cells
        return cls(
            lost=max(3, round(24 * share)),
            gained=max(1, round(6 * share)),
            disputed=max(1, round(6 * share)),
            rows=max(3, round(12 * share)),
            classes=30 if cells <= 400 else 8,
            episodes=max(2, round(12 * share)),
            episode_lines=max(20, round(200 * share)),
        )


@dataclass
class Gallery:
    """Embedded samples per column index, and the tables they point into."""

    samples: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    album: Album = field(default_factory=Album)
    texts: list[Any] = field(default_factory=list)  # prompts and choice lists, each once
    answers_size: int = 0  # characters that the answers take
    _places: dict[str, int] = field(default_factory=dict)

    def text(self, value: Any) -> int:
        """The place of a prompt or a list of choices in `texts`."""
        key = repr(value)
        if key not in self._places:
            self._places[key] = len(self.texts)
            self.texts.append(value)
        return self._places[key]


def headline_values(run: Run) -> dict[str, float]:
    """Sample id -> value of the headline scorer; nan where nothing could be scored."""
    name = run.manifest.get("scorer", "")
    return {record.sample.id: _value(record.scores.get(name)) for record in run.records}


def judges_disagree(record: Record) -> bool:
    """Whether two judges that could score the answer gave it different values."""
    values = {score.value for name, score in record.scores.items() if name != TAXONOMY and score.scored}
    return len(values) > 1


def read_as(record: Record, score: Score) -> str | None:
    """What a judge read in an answer; None where that is only the raw answer again, as with a judge that asks a model."""
    raw = score.answer is not None and score.answer.strip() == record.output.text.strip()
    return (
        score.answer if not raw or score.answer in (*record.sample.choices, *record.sample.target) else None
    )


def build_gallery(
    matrix: ResultMatrix, references: Mapping[tuple[int, int], Sequence[int]], caps: Caps
) -> Gallery:
    """Chooses and embeds samples.

    Args:
        references: cell (row, column) -> rows that it is compared with.
    """
    gallery = Gallery()
    for col, task in enumerate(matrix.cols):
        runs = {
            row: matrix.runs[name, task]
            for row, name in enumerate(matrix.rows)
            if (name, task) in matrix.runs
        }
        records = {row: {record.sample.id: record for record in run.records} for row, run in runs.items()}
        spent = (col + 1) / len(matrix.cols)  # what one column leaves over, the next may use
        gallery.samples[col] = []
        if any(map(has_episodes, runs.values())):
            continue  # episodes are shown step by step instead
        for sample in _telling(col, runs, references, caps):
            if _full(gallery, caps, spent):
                break
            said = {
                row: _said(by_id[sample.id], caps.text)
                for row, by_id in records.items()
                if sample.id in by_id
            }
            gallery.answers_size += len(json.dumps(said))
            gallery.samples[col].append(_entry(gallery, sample, said, caps.text))
    return gallery


def _full(gallery: Gallery, caps: Caps, share: float) -> bool:
    return gallery.album.size > caps.picture_bytes * share or gallery.answers_size > caps.answer_bytes * share


def _telling(
    col: int, runs: Mapping[int, Run], references: Mapping[tuple[int, int], Sequence[int]], caps: Caps
) -> Iterator[Sample]:
    """Samples of one column: every cell's share of them, most telling first."""
    values = {row: headline_values(run) for row, run in runs.items()}
    samples = {record.sample.id: record.sample for run in runs.values() for record in run.records}
    pairs = [(row, other) for row in runs for other in references.get((row, col), ()) if other in runs]
    lost = [[key for key in samples if _fell(values[other], values[row], key)] for row, other in pairs]
    gained = [[key for key in samples if _fell(values[row], values[other], key)] for row, other in pairs]
    disputed = [[r.sample.id for r in run.records if judges_disagree(r)] for run in runs.values()]
    rank = _ranking(samples, lost)
    queues = [
        sorted(keys, key=rank.__getitem__)[:cap]
        for group, cap in ((lost, caps.lost), (gained, caps.gained), (disputed, caps.disputed))
        for keys in group
    ]
    chosen = dict.fromkeys(key for turn in zip_longest(*queues) for key in turn if key is not None)
    for key in sorted(chosen, key=rank.__getitem__):
        yield samples[key]


def _fell(before: Mapping[str, float], now: Mapping[str, float], key: str) -> bool:
    return before.get(key, math.nan) > now.get(key, math.nan)  # false when either is nan


def _ranking(samples: Mapping[str, Sample], lost: Iterable[Sequence[str]]) -> dict[str, int]:
    """Sample id -> place: the pictures that most comparisons lost first, classes in turn."""
    times: dict[str, int] = defaultdict(int)
    for keys in lost:
        for key in keys:
            times[key] += 1
    order = {key: place for place, key in enumerate(samples)}
    by_class: dict[str, list[str]] = defaultdict(list)
    for key in sorted(samples, key=lambda key: (-times[key], order[key])):
        by_class[_class_of(samples[key])].append(key)
    turns = zip_longest(*by_class.values())
    return {key: place for place, key in enumerate(key for turn in turns for key in turn if key is not None)}


def _class_of(sample: Sample) -> str:
    return sample.target[0] if sample.target else ""


def _entry(gallery: Gallery, sample: Sample, said: Mapping[int, Any], limit: int) -> dict[str, Any]:
    pictures = [gallery.album.add(media) for media in sample.media[:4] if media.kind == "image"]
    return {
        "id": shown(sample.id, limit),
        "prompt": gallery.text(shown(sample.prompt, 20_000)),
        "pictures": pictures,
        "target": [shown(target, limit) for target in sample.target[:20]],
        "choices": gallery.text([shown(choice, 200) for choice in sample.choices[:200]]),
        "group": sample.group,
        "said": said,
    }


def _said(record: Record, limit: int) -> dict[str, Any]:
    """One checkpoint's word on one picture. Fields with nothing to say are left out."""
    output = record.output
    word: dict[str, Any] = {"text": shown(output.text, limit)}
    if output.error:
        word["error"] = shown(output.error, limit)
    if output.stop and output.stop != "eos":
        word["stop"] = output.stop
    word["scores"] = {name: _judged(record, score, limit) for name, score in record.scores.items()}
    return word


def _judged(record: Record, score: Score, limit: int) -> dict[str, Any]:
    word: dict[str, Any] = {"value": None if math.isnan(score.value) else round(score.value, 4)}
    read = read_as(record, score)
    if read is not None:
        word["answer"] = shown(read, limit)
    if score.status != "ok":
        word["status"] = score.status
    if score.explanation:
        word["why"] = shown(score.explanation, limit)
    if score.tags:
        word["tags"] = list(score.tags)
    return word


def _value(score: Score | None) -> float:
    return score.value if score is not None else math.nan


def shown(text: str, limit: int) -> str:
    """Text fit for a page; what is cut off is counted in its place."""
    if len(text) > limit:
        text = f"{text[:limit]} … ({len(text) - limit:,} more characters in the run's outputs.jsonl)"
    return printable(text)
