"""An episode as text for a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from keepsight.report.episodes import OUTCOMES, Episode, Step, number, read_episode
from keepsight.report.wording import count, printable
from keepsight.types import Record

__all__ = ["episode_text"]

_LONGEST = 600  # characters shown of one answer or message


def episode_text(record: Record, width: int = 80) -> str:
    """An episode step by step: what was said, what was done, its reward and the verifier's word.

    Args:
        record: one whose output has steps; of another one only the answer is told.
        width: of a line, in characters, at least 20.
    """
    episode = read_episode(record)
    lines = [_head(episode)]
    if not episode.steps:
        lines.append(f"  {episode.error or record.output.text}")
    else:
        lines += _prompt(episode.steps[0])
    for step in episode.steps:
        lines += _lines(step)
    return "\n".join(line for each in lines for line in _folded(printable(each), max(width, 20)))


def _head(episode: Episode) -> str:
    sign, words = OUTCOMES[episode.outcome]
    steps = f"{count(len(episode.steps))} step{'' if len(episode.steps) == 1 else 's'}"
    faults = "".join(f", {count(n)} {fault}" for fault, n in episode.faults.items())
    return f"{sign} {episode.id}: {words}, return {number(episode.total)}, {steps}{faults}"


def _prompt(step: Step) -> list[str]:
    return [
        f"  asked: {line}" if not place else f"    {line}" for place, line in enumerate(_cut(step.prompt))
    ]


def _lines(step: Step) -> Iterator[str]:
    random = " (random)" if step.random else ""
    fault = f", {step.fault}" if step.fault else ""
    done = step.action or "nothing"
    yield (
        f"{step.number:>3}. {done}{random}{fault}: {number(step.reward, signed=True)}, return {number(step.total)}"
    )
    for place, line in enumerate(_cut(step.error or step.said or "(empty answer)")):
        yield f"     {'said: ' if not place else '  '}{line}"
    if step.message:
        yield f"     told: {' '.join(_cut(step.message))}"


def _cut(text: str) -> list[str]:
    more = f" … ({len(text) - _LONGEST:,} more characters)" if len(text) > _LONGEST else ""
    return [line for line in (text[:_LONGEST] + more).splitlines() if line.strip()] or [""]


def _folded(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return wrap(line, width, subsequent_indent=f"{indent}  ", replace_whitespace=False) or [line]
