"""The verb `compare` over sequences: what `keepsight tune --sequence` left in several directories, side by side.

Two runs of one task are compared by `keepsight.verbs.compare`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keepsight.report.methods import Entry, Study, read_methods
from keepsight.scoring.sequences import is_joint
from keepsight.store import load_matrix
from keepsight.store.files import read_document
from keepsight.store.schema import MatrixFile
from keepsight.types import KeepsightError, ResultMatrix

__all__ = ["compare_sequences", "is_sequence"]

PLAIN = "sequential"  # the method that others are held against


def is_sequence(path: str | Path) -> bool:
    """Whether `tune --sequence` left its matrix in a directory."""
    file = Path(path) / "matrix.json"
    return os.path.exists(file) and isinstance(read_document(file, MatrixFile).meta.get("sequence"), Mapping)


def compare_sequences(
    directories: Sequence[str | Path], *, scorer: str | None = None, level: float = 0.95
) -> list[Study]:
    """Continual figures of every directory, and their paired differences against plain sequential tuning or the first.

    Args:
        directories: of `tune --sequence`; those of one method are its settings. Multi-task training takes part with what
            can be said of it.
        scorer: whose scores (default: the headline's, then every judge of general knowledge that has read all answers).

    Raises:
        KeepsightError: none learnt its tasks in sequence, or two asked other tasks or samples.
    """
    methods: dict[str, dict[str, ResultMatrix]] = {}
    for name, directory in zip(_names(directories), directories, strict=True):
        matrix = load_matrix(directory)
        methods.setdefault(_method(matrix), {})[name] = matrix
    plain = next((each for each in methods if each.rpartition("+")[2] == PLAIN), None)
    studies = read_methods(methods, reference=plain, scorer=scorer, level=level)
    for study in studies:
        _require_alike(study)
    return studies


def _require_alike(study: Study) -> None:
    for entry in study.entries:
        for found in (study.figures[entry.title], study.differences.get(entry.title)):
            if isinstance(found, str):
                hint = "".join(map(_unfinished, (entry, study.reference)))
                raise KeepsightError(
                    f"{entry.title} cannot be compared with {study.reference.title}: {found}{hint}"
                )


def _unfinished(entry: Entry) -> str:
    done, stages = len(entry.matrix.rows) - 1, entry.matrix.meta["sequence"].get("stages", ())
    if is_joint(entry.matrix) or done >= len(stages):
        return ""
    return f"; {entry.title} has {done} of {len(stages)} stages: its tune command goes on where it stopped"


def _method(matrix: ResultMatrix) -> str:
    told = matrix.meta["sequence"]
    return "+".join(str(told[key]) for key in ("trained", "method") if told.get(key))


def _names(directories: Sequence[str | Path]) -> list[str]:
    """What tells the directories apart: their ends; one that is given again is numbered."""
    paths = [Path(os.path.abspath(each)) for each in directories]
    parts = 1
    while len({each.parts[-parts:] for each in paths}) < len(set(paths)):
        parts += 1
    names = ["/".join(each.parts[-parts:]) for each in paths]
    seen = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({again + 1})" if again else name for name, again in zip(names, seen)]
