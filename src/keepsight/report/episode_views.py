"""The episodes that a page shows: which of them in full, which as a line, and their frames, each embedded once.

Every task has a case per episode (one seed), in which the checkpoints that played it stand side by side. Cases that the
first checkpoint solved and a later one did not come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from keepsight.report.comparisons import Audit
from keepsight.report.episode_figures import EpisodeFigure, episode_figures
from keepsight.report.episodes import OUTCOMES, Episode, Step, has_episodes, number, read_episode
from keepsight.report.gallery import Caps, shown
from keepsight.report.grid import firsts_of_methods
from keepsight.report.lineage import lines
from keepsight.report.thumbnails import Album
from keepsight.report.wording import count, printable

__all__ = ["CaseView", "EpisodesView", "FiguresRow", "StepView", "TaskView", "TrackView", "episodes_view"]

FRAME_SIDE = 300  # pixels: lettering in a frame must be readable
MOST_TRACKS = 4  # checkpoints of one case that are shown step by step
_LAST_STEPS = 10  # of an episode whose middle is left out
_MARKUP = 600  # characters of markup around one step, about
_LOST, _GAINED, _UNSOLVED, _SOLVED = range(4)  # kinds of cases, in the order of the page


@dataclass(frozen=True)
class Turn:
    """A turn of a dialogue and whose it was."""

    who: str
    text: str


@dataclass(frozen=True)
class StepView:
    """A step as the template places it."""

    number: int
    frames: tuple[int, ...]
    frame_notes: tuple[str, ...]
    turns: tuple[Turn, ...]  # what the model was asked; empty where that is an earlier step's dialogue
    turns_of: int  # the step that has them
    size: str  # characters of the turns
    said: str
    said_note: str
    action: str
    whose: str
    random: bool
    reward: str
    sign: str  # up | down | level
    total: str
    message: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class OutcomeView:
    """How one checkpoint's episode ended."""

    row: int
    title: str
    outcome: str
    sign: str
    words: str
    note: str
    faults: str


@dataclass(frozen=True)
class TrackView:
    """One checkpoint's episode step by step."""

    ended: OutcomeView
    steps: tuple[StepView, ...]
    left_out: str  # a note where the middle is missing
    gap: int  # the number of the step before the gap, 0 if there is none
    error: str


@dataclass(frozen=True)
class CaseView:
    """One episode as all checkpoints played it. Without tracks it is a line of the overview."""

    key: str
    id: str
    told: str  # tokens "row:word" for the filter
    pictured: bool  # whether it begins with a picture
    start: int | None  # the frame of that picture, if there was room for it
    ended: tuple[OutcomeView, ...]
    tracks: tuple[TrackView, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class FiguresRow:
    """A checkpoint's figures on one task."""

    title: str
    first_of_method: bool
    figures: tuple[EpisodeFigure | None, ...]


@dataclass(frozen=True)
class TaskView:
    """The episodes of one task."""

    col: int
    title: str
    heads: tuple[str, ...]
    figures: tuple[FiguresRow, ...]
    cases: tuple[CaseView, ...]  # step by step
    lines: tuple[CaseView, ...]
    note: str


@dataclass(frozen=True)
class EpisodesView:
    """All that the page's section of episodes reads."""

    tasks: tuple[TaskView, ...]
    frames: tuple[str, ...]
    rows: tuple[tuple[int, str], ...]  # checkpoints that can be chosen
    compared: bool


@dataclass(frozen=True)
class _Case:
    """An episode of one task before it is drawn."""

    id: str
    played: Mapping[int, Episode]  # by row
    kind: int


@dataclass
class _Desk:
    """What is drawn so far, and how much room is left."""

    caps: Caps
    audit: Audit
    album: Album = field(default_factory=lambda: Album(FRAME_SIDE))
    spent: int = 0  # characters of dialogues

    def full(self, share: float) -> bool:
        return self.album.size > self.caps.frame_bytes * share or self.spent > self.caps.episode_bytes * share


def episodes_view(audit: Audit, caps: Caps) -> EpisodesView | None:
    """Chooses and draws the episodes of an audit. None when no task has any."""
    cols = [
        col
        for col in range(len(audit.cols))
        if any(has_episodes(audit.run(row, col)) for row in range(len(audit.rows)))
    ]
    if not cols:
        return None
    desk = _Desk(caps, audit)
    cases = {col: _cases(audit, col) for col in cols}
    drawn = {col: _in_full(desk, col, cases[col], (place + 1) / len(cols)) for place, col in enumerate(cols)}
    tasks = tuple(_task(desk, col, cases[col], drawn[col]) for col in cols)
    rows = sorted({row for each in cases.values() for case in each for row in case.played})
    return EpisodesView(
        tasks,
        tuple(desk.album.uris),
        tuple((row, printable(audit.rows[row])) for row in rows),
        len(rows) > 1,
    )


# ---- which episodes ------------------------------------------------------------------------------------------


def _cases(audit: Audit, col: int) -> list[_Case]:
    """The episodes of a task, most telling kind first, in the run's order within a kind."""
    played: dict[str, dict[int, Episode]] = {}
    for row in range(len(audit.rows)):
        run = audit.run(row, col)
        for record in run.records if run is not None and has_episodes(run) else ():
            played.setdefault(record.sample.id, {})[row] = read_episode(record)
    found = [_Case(id, by_row, _kind(by_row)) for id, by_row in played.items()]
    return sorted(found, key=lambda case: case.kind)


def _kind(played: Mapping[int, Episode]) -> int:
    solved = {row: episode.outcome == "solved" for row, episode in played.items()}
    later = [won for row, won in solved.items() if row]
    if solved.get(0) and not all(later):
        return _LOST
    if 0 in solved and not solved[0] and any(later):
        return _GAINED
    return _SOLVED if all(solved.values()) else _UNSOLVED


def _in_turn(cases: Sequence[_Case]) -> Iterator[_Case]:
    """Cases of all kinds in turn, those that were lost twice as often as the others."""
    kinds = [[case for case in cases if case.kind == kind] for kind in range(4)]
    queues = [kinds[_LOST][::2], kinds[_LOST][1::2], *kinds[1:]]
    return (case for turn in zip_longest(*queues) for case in turn if case is not None)


def _in_full(desk: _Desk, col: int, cases: Sequence[_Case], share: float) -> dict[str, tuple[TrackView, ...]]:
    """Case id -> its tracks, for as many as there is room for; what one task leaves over, the next may use."""
    drawn: dict[str, tuple[TrackView, ...]] = {}
    for case in _in_turn(cases):
        if len(drawn) >= desk.caps.episodes or desk.full(share):
            break
        rows = [row for row in _shown_rows(desk.audit) if row in case.played][:MOST_TRACKS]
        drawn[case.id] = tuple(_track(desk, row, case.played[row]) for row in sorted(rows))
    return drawn


def _shown_rows(audit: Audit) -> list[int]:
    """The base, the last checkpoint of every method, then the others."""
    ends = [row for line in lines(audit.matrix.rows) for row in line.ends]
    return list(dict.fromkeys([0, *ends, *range(len(audit.rows))]))


# ---- one task ------------------------------------------------------------------------------------------------


def _task(
    desk: _Desk, col: int, cases: Sequence[_Case], drawn: Mapping[str, tuple[TrackView, ...]]
) -> TaskView:
    full = [case for case in cases if case.id in drawn]
    rest = [case for case in cases if case.id not in drawn]
    rest = rest[: max(0, desk.caps.episode_lines - len(full))]
    views = tuple(
        _case(desk, col, place, case, drawn.get(case.id, ())) for place, case in enumerate([*full, *rest])
    )
    heads, figures = _figures(desk.audit, col)
    note = _task_note(len(cases), len(full), len(views), sum(map(_lacks_start, views)))
    title = printable(desk.audit.cols[col])
    return TaskView(col, title, heads, figures, views[: len(full)], views[len(full) :], note)


def _task_note(n: int, full: int, shown: int, blank: int) -> str:
    told = f"{count(full)} of {count(n)} episodes step by step"
    if shown > full:
        told += f", {count(shown - full)} as a line"
    if n > shown:
        told += f"; {count(n - shown)} more are not listed"
    if n > full:
        told += ". All steps are in the runs' outputs.jsonl"
    return f"{told}. {count(blank)} of the lines have no start picture here." if blank else f"{told}."


def _lacks_start(case: CaseView) -> bool:
    return case.start is None and case.pictured


def _figures(audit: Audit, col: int) -> tuple[tuple[str, ...], tuple[FiguresRow, ...]]:
    """The names of all figures of a task, and every checkpoint's."""
    firsts = firsts_of_methods(audit)
    found = {
        row: {each.name: each for each in episode_figures(run)}
        for row in range(len(audit.rows))
        if (run := audit.run(row, col)) is not None
    }
    heads = tuple(dict.fromkeys(name for figures in found.values() for name in figures))
    rows = tuple(
        FiguresRow(printable(audit.rows[row]), row in firsts, tuple(figures.get(head) for head in heads))
        for row, figures in found.items()
    )
    return heads, rows


def _case(desk: _Desk, col: int, place: int, case: _Case, tracks: tuple[TrackView, ...]) -> CaseView:
    ended = tuple(_ended(desk.audit, row, episode) for row, episode in case.played.items())
    unseen = len(case.played) - len(tracks) if tracks else 0
    note = f"{count(unseen)} more checkpoints played it; the heading says how it ended." if unseen else ""
    first = next(iter(case.played.values()))
    told = " ".join(token for row, episode in case.played.items() for token in _tokens(case, row, episode))
    pictured = bool(first.steps and first.steps[0].media)
    key, name = f"{col}-{place}", shown(case.id, 200)
    return CaseView(key, name, told, pictured, _start(desk, first), ended, tracks, note)


def _start(desk: _Desk, episode: Episode) -> int | None:
    """The first frame, as long as there is room for frames."""
    media = episode.steps[0].media if episode.steps else ()
    if not media or not (media[0] in desk.album or desk.album.size <= desk.caps.frame_bytes):
        return None
    place = desk.album.add(media[0])
    return place if desk.album.uris[place] else None


def _tokens(case: _Case, row: int, episode: Episode) -> Iterator[str]:
    """What the filter may ask of this checkpoint's episode."""
    yield f"{row}:{episode.outcome.replace(' ', '_')}"
    if episode.faults:
        yield f"{row}:illegal"
    before = case.played.get(0)
    if (
        row
        and before is not None
        and before.outcome != episode.outcome
        and "solved" in (before.outcome, episode.outcome)
    ):
        yield f"{row}:{'lost' if before.outcome == 'solved' else 'gained'}"


def _ended(audit: Audit, row: int, episode: Episode) -> OutcomeView:
    sign, words = OUTCOMES[episode.outcome]
    steps = len(episode.steps)
    note = f"return {number(episode.total)}, {count(steps)} step{'' if steps == 1 else 's'}" if steps else ""
    faults = ", ".join(f"{count(n)} {fault}" for fault, n in episode.faults.items())
    return OutcomeView(row, printable(audit.rows[row]), episode.outcome, sign, words, note, faults)


# ---- one episode ---------------------------------------------------------------------------------------------


def _track(desk: _Desk, row: int, episode: Episode) -> TrackView:
    most, n = desk.caps.steps, len(episode.steps)
    kept = (
        episode.steps if n <= most else (*episode.steps[: most - _LAST_STEPS], *episode.steps[-_LAST_STEPS:])
    )
    left = f"{count(n - len(kept))} steps are left out here; they are in the run's outputs.jsonl."
    drawn: list[StepView] = []
    homes: dict[tuple[Turn, ...], int] = {}
    for step in kept:
        drawn.append(_step(desk, step, homes))
    return TrackView(
        _ended(desk.audit, row, episode),
        tuple(drawn),
        left if n > len(kept) else "",
        most - _LAST_STEPS if n > len(kept) else 0,
        shown(episode.error, desk.caps.text),
    )


def _step(desk: _Desk, step: Step, homes: dict[tuple[Turn, ...], int]) -> StepView:
    turns = _turns(step, desk.caps.text)
    home = homes.setdefault(turns, step.number)
    places = [desk.album.add(media) for media in step.media[:4]]
    view = StepView(
        number=step.number,
        frames=tuple(place for place in places if desk.album.uris[place]),
        frame_notes=tuple(printable(desk.album.notes[place]) for place in places if desk.album.notes[place]),
        turns=turns if home == step.number else (),
        turns_of=home,
        size=count(sum(len(turn.text) for turn in turns)),
        said=shown(step.said, desk.caps.text),
        said_note=_said_note(step, desk.caps.text),
        action=shown(step.action, 200),
        whose=_whose(step),
        random=step.random,
        reward=number(step.reward, signed=True),
        sign="up" if step.reward > 0 else "down" if step.reward < 0 else "level",
        total=number(step.total),
        message=shown(step.message, desk.caps.text),
        tags=tuple(printable(tag.replace("_", " ")) for tag in step.tags),
    )
    written = [view.said, view.message, *(turn.text for turn in view.turns)]
    desk.spent += _MARKUP + sum(map(len, written))
    return view


def _turns(step: Step, limit: int) -> tuple[Turn, ...]:
    whose = ("model", "environment")
    rest = (Turn(whose[place % 2], shown(text, limit)) for place, text in enumerate(step.history))
    return (Turn("environment", shown(step.prompt, 4 * limit)), *rest)


def _said_note(step: Step, limit: int) -> str:
    if step.error:
        return f"nothing generated: {shown(step.error, limit)}"
    return "cut at the length limit" if step.cut else "" if step.said else "empty answer"


def _whose(step: Step) -> str:
    if step.random:
        return f"drawn at random: the answer {'names no legal action' if step.fault == 'illegal' else 'could not be read'}"
    if step.fault:
        return {"illegal": "not legal", "unreadable": "could not be read"}[step.fault]
    return "the model's"
