"""Games in folders, as ALFWorld publishes them: `<task>-<object>-.../trial_<id>/{traj_data.json, game.tw-pddl}`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from keepsight.data.digests import file_digest
from keepsight.envs.household.engine import Engine, package_texts
from keepsight.envs.household.facts import read_house, read_scene
from keepsight.envs.household.games import Game, sentences
from keepsight.envs.household.goals import TASKS
from keepsight.envs.household.planner import shortest_plan
from keepsight.errors import KeepsightError, UsageError
from keepsight.limits import limit

__all__ = ["files_of", "find_games", "read_game", "write_game"]

_GAME, _STORY = "game.tw-pddl", "traj_data.json"
_PASSED_OVER = ("movable", "Sliced")  # in a path: ALFWorld's own loader leaves these out


@lru_cache(maxsize=16)
def find_games(folder: Path, tasks: tuple[str, ...] = tuple(TASKS)) -> tuple[Path, ...]:
    """The folders below `folder` with a game that is one of `tasks` and known to be solvable, in the alphabet's order.

    As ALFWorld's loader, this passes over folders with "movable" or "Sliced" in their path. Every game file is read once.

    Raises:
        UsageError: there are none.
    """
    found = sorted(
        Path(root)
        for root, _, files in os.walk(folder)
        if _GAME in files and _STORY in files and not any(word in root for word in _PASSED_OVER)
    )
    games = tuple(each for each in found if _serves(each, tasks))
    if not games:
        raise UsageError(
            f"no games in {folder}; give a folder of ALFWorld's data, such as json_2.1.1/valid_seen"
        )
    return games


def _serves(folder: Path, tasks: Sequence[str]) -> bool:
    if _object(folder / _STORY).get("task_type") not in tasks:
        return False
    return _object(folder / _GAME).get("solvable") is True


def files_of(folder: Path) -> tuple[Path, Path]:
    """The files that `read_game` reads of a game's folder."""
    return folder / _GAME, folder / _STORY


def read_game(folder: Path) -> Game:
    """The game of a folder: the PDDL problem and the task's words. The domain and the grammar are always the package's.

    Raises:
        KeepsightError: a file cannot be read, or lacks what it should have.
    """
    try:
        return _game(folder, *map(file_digest, files_of(folder)))
    except OSError as error:
        raise KeepsightError(f"cannot read {folder}: {error}; give ALFWorld's files") from error


@lru_cache(maxsize=512)
def _game(folder: Path, *digests: str) -> Game:
    """As long as the files have these digests."""
    game, story = map(_object, files_of(folder))
    try:
        asked, task, problem = story["pddl_params"], story["task_type"], game["pddl_problem"]
        thing, holder, lamp = (asked.get(f"{each}_target") or "" for each in ("object", "parent", "toggle"))
    except (KeyError, AttributeError) as error:
        raise KeepsightError(f"the game in {folder} lacks {error}; give ALFWorld's files") from error
    if task not in TASKS or not all(isinstance(each, str) for each in (thing, holder, lamp, problem)):
        raise KeepsightError(f"the game in {folder} names no known task; give ALFWorld's files")
    lighted = task == "look_at_obj_in_light"
    name = f"{folder.parent.name}/{folder.name}"
    return Game(name, task, thing, "" if lighted else holder, lamp if lighted else "", problem)


def write_game(game: Game, folder: Path) -> Path:
    """Writes a game below `folder` in ALFWorld's layout, with a shortest plan as its walkthrough; returns its own folder."""
    domain, grammar = package_texts()
    sentence = sentences(game.goal)[0]
    files: dict[str, Any] = {
        _GAME: {
            "pddl_domain": domain,
            "grammar": grammar.replace("UNKNOWN GOAL", sentence),
            "pddl_problem": game.problem,
            "solvable": True,
            "walkthrough": _walkthrough(game),
        },
        _STORY: {
            "task_id": game.name.rpartition("/")[2],
            "task_type": game.task,
            "pddl_params": {
                "object_target": game.thing,
                "parent_target": game.holder,
                "toggle_target": game.lamp,
                "mrecep_target": "",
                "object_sliced": False,
            },
            "turk_annotations": {"anns": [{"task_desc": sentence, "high_descs": [], "votes": []}]},
            "plan": {"high_pddl": [], "low_actions": []},
            "images": [],
        },
    }
    own = folder / game.name
    own.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (own / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return own


def _walkthrough(game: Game) -> list[str]:
    engine = Engine()
    engine.load(game.problem)
    facts = engine.facts()
    return list(shortest_plan(read_house(facts), game.goal, read_scene(facts)) or ())


def _object(path: Path) -> Mapping[str, Any]:
    """A JSON object."""
    most = limit("MAX_BYTES")
    try:
        if path.stat().st_size > most:
            raise ValueError(f"larger than {most:,} bytes; set KEEPSIGHT_MAX_BYTES")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KeepsightError(f"cannot read {path}: {error}; give ALFWorld's files") from error
    if not isinstance(found, dict):
        raise KeepsightError(f"{path} holds no JSON object; give ALFWorld's files")
    return found
