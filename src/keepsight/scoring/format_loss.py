"""What was lost when an answer became wrong: its form, or the knowledge behind it?

CoIN (arXiv:2403.08350, sections 4.1.3 and 5.2) scores every output twice: *instruction following* asks for the right answer
in the right form, *general knowledge* for the right answer in any form. Its claim, that forgetting is mostly of form,
compares two means. Here it is counted sample by sample. Of the answers that were right and are not any more:

| general knowledge before | after | the answer is lost as |
|---|---|---|
| a half or more | a half or more | format: the truth is still said, not in the form that was asked for |
| a half or more | less | knowledge |
| less | any | unclear: this judge did not see the truth when the answer was right |

Shares are of all samples that both scorers scored in both runs, so that format, knowledge and unclear add up to lost. A
sample is right when instruction following is a half or more (scores between 0 and 1 are votes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from keepsight.scoring.forgetting import Against, NotComparable, Pairing, comparisons, pair_runs
from keepsight.scoring.metrics import accuracy
from keepsight.scoring.statistics import PairedDifference, bootstrap_ratio, paired_difference
from keepsight.types import MetricValue, ResultMatrix, Run, Sample, Score

__all__ = ["KNOWLEDGE", "CellLoss", "FormatLoss", "format_loss", "format_losses", "overall_loss"]

KNOWLEDGE = "semantic"  # the judge that needs no model
_HALF = 0.5


@dataclass(frozen=True)
class FormatLoss:
    """Before less after by both scores, and what the lost answers lost; shares are of all `n` samples."""

    instruction_following: PairedDifference  # before - after: positive is lost
    general_knowledge: PairedDifference
    lost: MetricValue  # right before, not after
    format: MetricValue
    knowledge: MetricValue
    unclear: MetricValue
    format_share: tuple[float, float, float]  # format / lost with its interval; nan when nothing was lost
    gained: MetricValue  # not right before, right after
    n: int
    unpaired: int  # samples of either run that not both scorers scored in both

    @property
    def parts(self) -> tuple[MetricValue, ...]:
        """Format, knowledge, unclear: they add up to lost."""
        return self.format, self.knowledge, self.unclear


@dataclass(frozen=True)
class CellLoss:
    """One cell of a matrix beside its reference; `loss` is None where the two cannot be compared, `why` then says why."""

    row: str
    col: str
    reference_row: str
    loss: FormatLoss | None
    why: str = ""


def format_loss(
    before: Run,
    after: Run,
    *,
    knowledge: str = KNOWLEDGE,
    following: str | None = None,
    level: float = 0.95,
) -> FormatLoss:
    """Compares two runs of one task by two scorers; see the module.

    Args:
        knowledge: the scorer of general knowledge: "semantic", "general_knowledge", or any other with values 0..1.
        following: the scorer of instruction following (default: the headline's).
        level: of the two differences' intervals; shares have 95 % intervals.

    Raises:
        NotComparable: the runs asked different things, were scored by different rules, or have no sample that both
            scorers scored in both.
    """
    return _counted(_pairs_of(before, after, knowledge, following), level)


def format_losses(
    matrix: ResultMatrix, against: Against = "own", *, knowledge: str = KNOWLEDGE, level: float = 0.95
) -> list[CellLoss]:
    """`format_loss` of every cell that has a reference, row by row.

    Args:
        against: what a cell is compared with, as for `forgetting.forgetting`: "own" is the row tuned on the column's task.
    """
    found = []
    for row, col, reference in comparisons(matrix, against):
        try:
            loss = format_loss(matrix[reference, col], matrix[row, col], knowledge=knowledge, level=level)
            found.append(CellLoss(row, col, reference, loss))
        except NotComparable as error:
            found.append(CellLoss(row, col, reference, None, str(error)))
    return found


def overall_loss(
    matrix: ResultMatrix,
    row: str | None = None,
    against: Against = "own",
    *,
    knowledge: str = KNOWLEDGE,
    level: float = 0.95,
) -> FormatLoss:
    """What one row lost over all columns that have a reference: their samples together, each of equal weight.

    Args:
        row: default: the last.
        against: as for `format_losses`.

    Raises:
        NotComparable: no cell of the row has a reference, or one cannot be compared with it.
    """
    row = matrix.rows[-1] if row is None else row
    cells = [(col, reference) for at, col, reference in comparisons(matrix, against) if at == row]
    if not cells:
        raise NotComparable(f"no task of {row} has an earlier result to be compared with")
    found = [
        _pairs_of(matrix[reference, col], matrix[row, col], knowledge).below(col) for col, reference in cells
    ]
    return _counted(_Pairs.together(found), level)


@dataclass(frozen=True)
class _Pairs:
    """(before, after) of both scores, sample by sample."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    following: tuple[tuple[float, ...], tuple[float, ...]]
    knowledge: tuple[tuple[float, ...], tuple[float, ...]]
    unpaired: int

    def below(self, task: str) -> _Pairs:
        """Named by task, because two tasks may have ids in common; one picture of both is two clusters."""
        ids, clusters = (tuple(f"{task}/{name}" for name in names) for names in (self.ids, self.clusters))
        return replace(self, ids=ids, clusters=clusters)

    @classmethod
    def together(cls, parts: Sequence[_Pairs]) -> _Pairs:
        """One after the other."""
        return cls(
            tuple(chain.from_iterable(part.ids for part in parts)),
            tuple(chain.from_iterable(part.clusters for part in parts)),
            _both([part.following for part in parts]),
            _both([part.knowledge for part in parts]),
            sum(part.unpaired for part in parts),
        )


def _both(
    parts: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    before, after = (tuple(chain.from_iterable(part[at] for part in parts)) for at in (0, 1))
    return before, after


def _pairs_of(before: Run, after: Run, knowledge: str, following: str | None = None) -> _Pairs:
    """The samples that both scorers scored in both runs; at least one."""
    pairs = _joined(pair_runs(before, after, following), pair_runs(before, after, knowledge))
    if not pairs.ids:
        named = following or before.scorer
        raise NotComparable(
            f"no sample has scores by {named} and {knowledge} in both runs; score them (keepsight score --judges {knowledge})"
        )
    return pairs


def _joined(following: Pairing, knowledge: Pairing) -> _Pairs:
    """The samples that both pairings have."""
    at = {name: index for index, name in enumerate(knowledge.ids)}
    both = [(index, at[name]) for index, name in enumerate(following.ids) if name in at]
    return _Pairs(
        tuple(following.ids[one] for one, _ in both),
        tuple(following.clusters[one] for one, _ in both),
        (
            tuple(following.reference[one] for one, _ in both),
            tuple(following.current[one] for one, _ in both),
        ),
        (
            tuple(knowledge.reference[other] for _, other in both),
            tuple(knowledge.current[other] for _, other in both),
        ),
        unpaired=following.unpaired + len(following.ids) - len(both),
    )


def _counted(pairs: _Pairs, level: float) -> FormatLoss:
    was, is_now = ([value >= _HALF for value in values] for values in pairs.following)
    known, still = ([value >= _HALF for value in values] for values in pairs.knowledge)
    lost = [before and not after for before, after in zip(was, is_now)]
    kept = [gone and knew and knows for gone, knew, knows in zip(lost, known, still)]
    forgot = [gone and knew and not knows for gone, knew, knows in zip(lost, known, still)]
    unclear = [gone and not knew for gone, knew in zip(lost, known)]
    gained = [after and not before for before, after in zip(was, is_now)]
    return FormatLoss(
        instruction_following=paired_difference(*pairs.following, pairs.clusters, level),
        general_knowledge=paired_difference(*pairs.knowledge, pairs.clusters, level),
        lost=_share("lost", lost, pairs),
        format=_share("format", kept, pairs),
        knowledge=_share("knowledge", forgot, pairs),
        unclear=_share("unclear", unclear, pairs),
        format_share=bootstrap_ratio([*map(float, kept)], [*map(float, lost)], pairs.clusters),
        gained=_share("gained", gained, pairs),
        n=len(pairs.ids),
        unpaired=pairs.unpaired,
    )


def _share(name: str, holds: Sequence[bool], pairs: _Pairs) -> MetricValue:
    """Share of the samples for which it holds; Wilson's interval, wider where samples share a picture."""
    samples = [Sample(one, "", group=cluster) for one, cluster in zip(pairs.ids, pairs.clusters)]
    return replace(accuracy(samples, [Score(float(held)) for held in holds]), name=name)
