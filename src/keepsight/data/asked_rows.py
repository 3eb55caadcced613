"""Rows of one's own, to be asked: in the forms that are learnt from, or a question and its answer.

Read are LLaVA's rows, Hugging Face's messages, and `{"id", "image", "text" or "question", "answer"}` (CoIN's test rows are of this
form; `"answer_bbox"` may stand for the answer). Any row may hold `"answers"`, what several people answered, and `"choices"`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from keepsight.data.coin.rows import options_of
from keepsight.data.confine import RemoteSource, picture_at
from keepsight.data.llava import IMAGE_MARK, collected, prompt_without_edge_mark
from keepsight.data.messages import picture_root, row_sample, rows_at
from keepsight.types import KeepsightError, Media, Sample

__all__ = ["held_out", "read_asked_rows"]


def read_asked_rows(
    path: str | Path,
    image_root: str | Path | None = None,
    *,
    remote: RemoteSource | None = None,
    on_bad_row: Callable[[str], None] | None = None,
) -> list[Sample]:
    """The rows of a file as samples. Rows that share an id get `#2`, `#3`, ... behind it.

    Of a conversation the first exchange is asked. `choices` are the row's, or the options `A. ...`, `B. ...` in its text.

    Args:
        path: JSON list, JSON lines, parquet, or a directory of `datasets.save_to_disk`.
        image_root: folder that pictures' paths start from, and may not leave (default: where the file lies).
        remote: what fetches pictures given as addresses (default: they are refused).
        on_bad_row: called with one line per unusable row, which is then left out.

    Raises:
        KeepsightError: nothing that can be read, or (without `on_bad_row`) a bad row, by its place.
    """
    path = Path(path).expanduser()
    root = picture_root(path, image_root)
    seen: Counter[str] = Counter()
    samples = []
    for sample in collected(path, rows_at(path), partial(_sample, root=root, remote=remote), on_bad_row):
        seen[sample.id] += 1
        again = seen[sample.id] > 1
        samples.append(replace(sample, id=f"{sample.id}#{seen[sample.id]}") if again else sample)
    return samples


def held_out(
    samples: Sequence[Sample], share: float, image_root: str | Path | None = None
) -> tuple[list[Sample], list[Sample]]:
    """(the rows to learn, the rows held out), each in order. No picture is in both: rows that share one stay together.

    Which pictures are held out follows from their names alone (a digest), so that every command makes the same two parts; a
    row without a picture goes by its question. The same picture under two names counts as two.

    Args:
        share: of the groups of rows that share pictures, above 0 and below 1; at least one is held out, and one is not.
        image_root: pictures are named by their place below it, so that the parts do not depend on where it lies.

    Raises:
        KeepsightError: all rows share one picture.
    """
    groups = _groups([_names(sample, image_root) for sample in samples])
    distinct = sorted(set(groups), key=lambda name: hashlib.sha256(f"held out/{name}".encode()).digest())
    if len(distinct) < 2:
        raise KeepsightError(
            "all rows are about one picture, so that none can be held out; ask with split=all"
        )
    chosen = set(distinct[: min(len(distinct) - 1, max(1, round(share * len(distinct))))])
    parts: tuple[list[Sample], list[Sample]] = ([], [])
    for sample, group in zip(samples, groups):
        parts[group in chosen].append(sample)
    return parts


def _sample(row: Mapping[str, Any], default_id: str, *, root: Path, remote: RemoteSource | None) -> Sample:
    plain = not any(name in row for name in ("conversations", "messages", "prompt"))
    read = _plain_sample if plain else row_sample
    sample = read(row, default_id, root=root, remote=remote)
    known = {"answers": _texts(row, "answers")} if row.get("answers") is not None else {}
    choices = (
        _texts(row, "choices") if row.get("choices") is not None else options_of(sample.prompt, last=False)
    )
    return replace(sample, choices=tuple(choices), meta={**sample.meta, **known})


def _plain_sample(
    row: Mapping[str, Any], default_id: str, *, root: Path, remote: RemoteSource | None = None
) -> Sample:
    question = row.get("text", row.get("question"))
    answer = row.get("answer", row.get("answer_bbox"))
    if not isinstance(question, str) or not question.strip():
        raise KeepsightError('no question: neither "conversations", "messages", "text" nor "question"')
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or not str(answer).strip():
        raise KeepsightError('"answer" is missing, empty or no text')
    cells = row.get("image") or []
    images = cells if isinstance(cells, list) else [cells]
    if not all(isinstance(image, str) for image in images):
        raise KeepsightError("image must be a path or a list of paths")
    if question.count(IMAGE_MARK) not in (0, len(images)):
        raise KeepsightError(f"{question.count(IMAGE_MARK)} {IMAGE_MARK} marks for {len(images)} pictures")
    return Sample(
        id=str(row.get("question_id", row.get("id", default_id))),
        prompt=prompt_without_edge_mark(question),
        media=tuple(picture_at(root, image, remote) for image in images),
        target=(str(answer).strip(),),
    )


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    value = row[name] if isinstance(row[name], list) else []
    cells = [cell.get("answer") if isinstance(cell, dict) else cell for cell in value]
    texts = [cell for cell in cells if isinstance(cell, str)]
    if not texts or len(texts) < len(cells):
        raise KeepsightError(f'"{name}" is no list of texts')
    return texts


def _names(sample: Sample, root: str | Path | None) -> list[str]:
    """What a row is about: its pictures, or its question."""
    return [_name(medium, root) for medium in sample.media] or [f"text {sample.prompt}"]


def _name(medium: Media, root: str | Path | None) -> str:
    if medium.path is None or type(medium) is not Media or root is None:
        return medium.where
    return os.path.relpath(medium.path, root)


def _groups(names: Iterable[Sequence[str]]) -> list[str]:
    """The group of each row, named by one of its things: rows that share a thing are in one group."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    firsts = []
    for row in names:
        firsts.append(row[0])
        for name in row:  # the smallest name stands for a group, in whatever order the rows come
            one, other = sorted((top(row[0]), top(name)))
            above[other] = one
    return [top(first) for first in firsts]
