"""The true labels of a sample, as the label set writes them."""

from __future__ import annotations

from keepsight.scoring.labels import LabelMatcher
from keepsight.types import KeepsightError, Sample

__all__ = ["true_labels"]


def true_labels(sample: Sample, matcher: LabelMatcher) -> frozenset[str]:
    """The sample's targets as own labels of `matcher`; "African hunting dog" finds "African_hunting_dog".

    Raises KeepsightError when the sample has no target or one that is not in the label set.
    """
    if not sample.target:
        raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
    labels = {target: matcher.canonical(target) for target in sample.target}
    for target, label in labels.items():
        if label is None:
            raise KeepsightError(
                f"sample {sample.id} has the target {target!r}, which is not one of the {len(matcher.labels)} labels"
            )
    return frozenset(label for label in labels.values() if label is not None)
