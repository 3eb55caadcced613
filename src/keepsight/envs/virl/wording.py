"""What V-IRL's players are asked and how their answers are read (dissertation, figures D.3, D.4 and D.11)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from keepsight.envs.virl.intersection import tells_of_intersection
from keepsight.envs.virl.route import Landmark, Point
from keepsight.scoring.verifiers.fields import read_fields

__all__ = ["FAILURE", "SUCCESS", "called", "misses", "prompt", "seen", "stated"]

# Figures D.3 and D.4, their slips of spelling mended ("navgation", "histroy", "your goal" after a full stop).
_TASK_VISION = (
    "You are an expert in navigation. You will receive a sequence of instructions to follow while observing your "
    "surrounding street views. You are also provided with your observation and action history in text. Your goal is to take "
    "the action based on the current observation and instruction."
)
_TASK_LANGUAGE = (
    "You are an expert in navigation. You will receive a sequence of instructions to follow. You are also provided with your "
    "observation and action history in text. Your goal is to first analyze the instruction and identify the next sentence "
    "to be executed. Then, you need to provide the action to be taken based on the current observation and instruction."
)
_GRID = (
    "You observe a 2x2 grid of street view images with the following headings:\n[front, right\nback, left]\n"
    "You need to identify if any of the landmarks in the instruction are visible in the street view grid."
)
_ACTIONS = (
    '- "forward()": indicates moving forward for 1 step;\n'
    '- "turn_direction(x)": indicates turn direction to the target heading, where x∈[{}];\n'
    '- "stop()": indicates the navigation is finished;'
)
_OUTPUT = "Your response should be a valid json file in the following format:\n{\n"
_LATEST = "latest observation from the street view grid"
_THOUGHTS = (
    f'"current observation": {_LATEST},\n'
    '"current instruction": analyze the full instruction and identify the sentence to be executed,\n'
)
_ACTION = '"action": the action to be taken chosen from the action space,\n}'
_VIEWS = "You observe an image of 4 views;"
SUCCESS = "Correct solution."  # figures D.3 and D.4
FAILURE = "Incorrect action."  # figure D.11

_OBSERVATION = "current observation"
_NONE = "No landmarks nearby"

_TURN = re.compile(r"turn_direction\s*\(([^()]{1,40})\)", re.IGNORECASE)
_AROUND = " \t\r\n'\"\\"  # of a word in brackets
_BARE = re.compile(r"""("action"\s*:\s*")(forward|stop)(")""", re.IGNORECASE)


def called(text: str) -> str:
    """`text` with the actions as the action space writes them: no blanks, no quotes in the brackets, brackets."""
    return _BARE.sub(r"\1\2()\3", _TURN.sub(lambda call: f"turn_direction({call[1].strip(_AROUND)})", text))


def prompt(
    sentences: Sequence[str],
    words: Sequence[str],
    history: Sequence[tuple[str, str]],
    now: Point,
    *,
    vision: bool,
    thoughts: bool,
) -> str:
    """The system prompt.

    Args:
        words: the directions that may be turned to.
        history: (observation, action) of the points behind.
    """
    parts = [
        ("Task Description", _TASK_VISION if vision else _TASK_LANGUAGE),
        ("Instruction", "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(sentences, 1))),
        *([("Current observation", _GRID)] if vision else []),
        ("Action space", _ACTIONS.format(", ".join(f"'{word}'" for word in words))),
        ("Observations and actions sequence", _sequence(history, now, vision)),
        ("Output", _OUTPUT + _THOUGHTS * thoughts + _ACTION),
    ]
    return "\n".join(f"[{title}]\n{text}" for title, text in parts)


def _sequence(history: Sequence[tuple[str, str]], now: Point, vision: bool) -> str:
    lines = [f"O_{i}: {saw}\nA_{i}: {did}" for i, (saw, did) in enumerate(history, 1)]
    # The oracle tells of intersections in both forms, of landmarks in the language form alone (figure D.3).
    present = f"{_VIEWS} {_intersection(now)}".rstrip() if vision else seen(now)
    return "\n".join([*lines, f"O_{len(lines) + 1}: {present}", f"A_{len(lines) + 1}:"])


def seen(point: Point, whose: str = "your") -> str:
    """What the oracle sees, as in the figures' lines `O_i`; in the player's own words with `whose="my"`."""
    landmark = point.landmark.told(whose) if point.landmark else _NONE
    return f"{landmark}; {_intersection(point, 'You' if whose == 'your' else 'I')}".rstrip()


def _intersection(point: Point, who: str = "You") -> str:
    return f"{who} observe an intersection" if point.intersection else ""


def stated(text: str) -> str | None:
    """The "current observation" of an answer, also where it is no valid JSON.

    None where there is none, or nothing but the prompt's own words for it.
    """
    value = str(read_fields(text, (_OBSERVATION,)).get(_OBSERVATION) or "")
    return None if value.strip(" \t\r\n\"'.,<>{}[]").casefold() in ("", _LATEST) else value


def misses(observation: str, point: Point, *, landmarks: bool) -> str:
    """What an observation fails to detect, in the verifier's words; empty where nothing.

    It must tell of an intersection if and only if there is one, and with `landmarks` name the landmark that is here.
    """
    if tells_of_intersection(observation) != point.intersection:
        return "You are at an intersection." if point.intersection else "You are not at an intersection."
    if landmarks and point.landmark and not _names(observation, point.landmark):
        return "You did not name the landmark that is nearby."
    return ""


def _names(text: str, landmark: Landmark) -> bool:
    return f" {_letters(landmark.name)} " in f" {_letters(text)} "


def _letters(text: str) -> str:
    """Words of plain letters and digits: accents, case and punctuation do not tell two names apart."""
    # one character at a time: to put thousands of accents on one letter in order takes quadratic time
    plain = "".join(unicodedata.normalize("NFKD", each) for each in text.casefold())
    return " ".join(re.findall(r"\w+", "".join(each for each in plain if not unicodedata.combining(each))))
