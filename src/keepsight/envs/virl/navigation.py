"""V-IRL: follow a written instruction through a city, in text or by street views (dissertation, section 5.4, appendix D.2)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keepsight.envs.base import ActionEnv, ActionForm, Move, Picture, choice, flag, place
from keepsight.envs.virl import wording
from keepsight.envs.virl.city import CITIES, City
from keepsight.envs.virl.compass import DIRECTIONS, TURNS
from keepsight.envs.virl.files import RouteFile
from keepsight.envs.virl.pickled import MAPPING
from keepsight.envs.virl.route import FORWARD, STOP, Point, Route, instruction, rail
from keepsight.envs.virl.world import World
from keepsight.errors import UsageError

__all__ = ["Navigation"]

LINE = 5  # pixels between the four views, black
NO_PICTURE = (64, 64)  # the language form is not given one
AROUND = (0, 90, 180, 270)  # degrees right of the heading: front, right, back, left, as the prompt says
WRONG, UNDETECTED, EXCEEDED = -1.0, -1.5, -1.0
WORDS = {"absolute": DIRECTIONS, "relative": TURNS}


class Navigation(ActionEnv):
    """A route through a city, told in sentences.

    ## Description
    The player is led along a route. At each point it is told or shown what is around and names the next action. A wrong
    action moves nobody: the verifier says so, and the player may answer once more. The picture holds four street views,
    each 90 degrees wide, in a 2x2 grid: front, right / back, left. The form without vision tells in words what is seen.

    ## Action Space
    Text that names "forward()", "turn_direction(x)" or "stop()", where x is one of eight words of the compass, or with
    `directions="relative"` one of "left", "right", "slightly left", "slightly right" (slightly: by at most 45 degrees). Any
    other text is a wrong answer; no action is drawn at random. With `action="index"`, `Discrete(10)` or `Discrete(6)`:
    forward, the turns in that order, stop.

    ## Observation Space
    `Dict(image=Box(0, 255, (2 resolution + 5, 2 resolution + 5, 3), uint8), text=Text)`; with `action="index"` the picture
    alone. Without vision the picture is a grey one of 64 x 64.

    ## Starting State
    A route of the city, all alike likely; of a file that of the seed (seed modulo the number of routes), without a seed any. Or
    `reset(options={"route": number})`.

    ## Rewards
    1 for the right action. For a wrong one -1; -1.5 if its "current observation" misses an intersection, tells of one that is
    not there or, with vision, does not name the landmark that is here. A wrong answer that was a point's last has -1 more,
    for exceeding the attempts.

    ## Episode End
    Terminated by the right `stop()` at the destination: solved, whether or not answers were revised. Truncated when a point's
    attempts are used up.

    ## Arguments
    - `vision` (True): street views, or the form in words alone.
    - `directions` ("absolute"): or "relative".
    - `attempts` (2): answers at one point.
    - `straight_line_length` (5): most points on a street between two turns.
    - `city` ("aldmoor"): which drawn city, of aldmoor, solera, nordvik and nachtberg.
    - `routes` (None): a `route_infos.json` of V-IRL in place of a drawn city.
    - `street_views` (None): the folder with its panoramas; needed for `vision` with `routes`.
    - `resolution` (300): pixels of each view's side.
    - `thoughts` (True): whether "current observation" and "current instruction" are asked for.
    - `action` ("text"), `parser` ("exact"), `render_mode` (None): as everywhere. "index" needs `vision`.

    ## Version History
    - v1: observations are read clause by clause, with their denials; no drawn route asks for a turn to the word faced already;
      consecutive seeds ask each route of a file once.
    - v0: first.
    """

    VERSION = "1"
    reset_options = ("route",)
    reward_bounds = (UNDETECTED + EXCEEDED, 1.0)

    def __init__(
        self,
        *,
        vision: bool = True,
        directions: str = "absolute",
        attempts: int = 2,
        straight_line_length: int = 5,
        city: str = "aldmoor",
        routes: str | Path | None = None,
        street_views: str | Path | None = None,
        resolution: int = 300,
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        flag("vision", vision)
        choice("directions", directions, WORDS)
        if action == "index" and not vision:
            raise UsageError("action index shows the picture alone; give vision=True")
        if routes is not None and city != CITIES[0]:
            raise UsageError(
                f"the routes of a file are in no drawn city; give routes or city={city}, not both"
            )
        _within("attempts", attempts, 1, 100)
        _within("straight_line_length", straight_line_length, 1, 100)
        _within("resolution", resolution, 32, 2000)
        self.actions = (FORWARD, *(f"turn_direction({word})" for word in WORDS[directions]), STOP)
        super().__init__(
            (2 * resolution + LINE,) * 2 if vision else NO_PICTURE,
            action=action,
            parser=parser,
            thoughts=thoughts,
            render_mode=render_mode,
            shows_picture=vision,
        )
        self.checks_recognition = thoughts
        self.vision = vision
        self.directions = directions
        self.attempts = attempts
        self.straight_line_length = straight_line_length
        self.resolution = resolution
        file, folder = _places(routes, street_views, vision)
        self.world = RouteFile.read(file, folder if vision else None) if file else _city(city)
        self.route_files = _files(file, folder)
        # of any episode; `start` sets that of the route
        self.horizon = attempts * (self.world.most_milestones * (straight_line_length + 1) + 1)
        self.number = self.at = self.failed = 0
        self.route: Route | None = None
        self.points: tuple[Point, ...] = ()
        self.sentences: tuple[str, ...] = ()

    # ---- the rail

    def start(self, options: Mapping[str, Any]) -> None:
        number = options.get("route")
        if number is None:
            number = self.chosen(len(self.world))
        _within("option route", number, 0, len(self.world) - 1)
        self.number = number
        self.route = self.world.route(self.number)
        world = self.world
        self.points = rail(self.route, self.straight_line_length, world.spacing, world.metres, world.located)
        self.sentences = instruction(self.route)
        self.at = self.failed = 0
        self.horizon = self.attempts * len(self.points)

    @property
    def published(self) -> int | None:
        return len(self.world) if isinstance(self.world, RouteFile) else None

    @property
    def point(self) -> Point:
        """Where the player is."""
        return self.points[self.at]

    def right(self, point: Point) -> str:
        """The right action at a point."""
        return point.absolute if self.directions == "absolute" else point.relative

    def best(self) -> frozenset[str]:
        return frozenset({self.right(self.point)})

    def act(self, name: str) -> Move:
        return self._moved_on(name) if name in self.best() else self._failed(Move(WRONG, name), None)

    def judge(self, text: str) -> Move:
        parsed, observation = self.parse(wording.called(text), self.actions), wording.stated(text)
        tags = self._recognition(observation)
        if parsed.action in self.best():
            return self._moved_on(parsed.action, tags)
        move = self._failed(Move(WRONG, parsed.action, parsed.status, tags=tags), observation or "")
        self.replies += [text, move.message]
        return move

    def _moved_on(self, name: str | None, tags: tuple[str, ...] = ()) -> Move:
        self.replies = []
        self.failed = 0
        done = self.at == len(self.points) - 1
        self.at += not done
        return Move(1.0, name, message=wording.SUCCESS, terminated=done, solved=done, tags=tags)

    def _failed(self, move: Move, observation: str | None) -> Move:
        """A wrong answer's outcome; `observation` is None where none was asked for."""
        missed = ""
        if observation is not None and self.thoughts:
            missed = wording.misses(observation, self.point, landmarks=self.vision)
        self.failed += 1
        over = self.failed >= self.attempts
        return Move(
            (UNDETECTED if missed else WRONG) + EXCEEDED * over,
            move.answer,
            move.status,
            f"{wording.FAILURE} {missed}".rstrip(),
            truncated=over,
            tags=move.tags,
        )

    def _recognition(self, observation: str | None) -> tuple[str, ...]:
        if observation is None or not self.thoughts:
            return ()
        missed = wording.misses(observation, self.point, landmarks=self.vision)
        return ("misrecognized",) if missed else ("recognized",)

    # ---- what is said and shown

    def prompt(self) -> str:
        history = [(wording.seen(point), self.right(point)) for point in self.points[: self.at]]
        return wording.prompt(
            self.sentences,
            WORDS[self.directions],
            history,
            self.point,
            vision=self.vision,
            thoughts=self.thoughts,
        )

    def expert(self) -> str:
        return self._answer(self.right(self.point))

    def mistake(self, rng: np.random.Generator) -> str:
        """Another action, with a true observation."""
        others = [action for action in self.actions if action not in self.best()]
        return self._answer(others[int(rng.integers(len(others)))])

    def _answer(self, action: str) -> str:
        """The keys of figures D.3 and D.4, as JSON proper."""
        answer = {"action": action}
        if self.thoughts:
            answer = {
                "current observation": wording.seen(self.point, "my"),
                "current instruction": self.sentences[self.point.sentence],
                **answer,
            }
        return json.dumps(answer, indent=0, ensure_ascii=False)

    def facts(self) -> dict[str, Any]:
        assert self.route is not None
        return {"route": self.route.name, "point": self.at, "points": len(self.points), "failed": self.failed}

    def files(self) -> tuple[Path, ...]:
        return (*self.route_files, *self.world.picture_files())

    def hidden(self) -> dict[str, Any]:
        return {"action": self.right(self.point)}

    def paint(self, canvas: Picture) -> None:
        if not self.vision:
            canvas[...] = 128
            return
        canvas[...] = 0
        size, point = self.resolution, self.point
        for i, right in enumerate(AROUND):
            top, left = (side * (size + LINE) for side in divmod(i, 2))
            view = self.world.view(self.number, point.place, (point.heading + right) % 360, size)
            np.copyto(canvas[top : top + size, left : left + size], view)


def _within(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def _files(routes: Path | None, street_views: Path | None) -> tuple[Path, ...]:
    """What decides which points there are."""
    folders = () if street_views is None else (street_views, street_views.parent)
    mappings = [folder / MAPPING for folder in folders if os.path.isfile(folder / MAPPING)]
    return (*(() if routes is None else (routes,)), *mappings[:1])


def _places(
    routes: str | Path | None, street_views: str | Path | None, vision: bool
) -> tuple[Path | None, Path | None]:
    """The file of routes and the folder of their panoramas."""
    if routes is None:
        if street_views is not None:
            raise UsageError("street_views belong to a file of routes; give routes as well")
        return None, None
    if street_views is None:
        if vision:
            raise UsageError(
                "vision needs pictures; give street_views, the folder of the routes' panoramas, or vision=False"
            )
        return place("routes", routes), None
    return place("routes", routes), place("street_views", street_views)


def _city(city: str) -> World:
    if not isinstance(city, str) or city not in CITIES:
        raise UsageError(f"no city {city!r}; choose from {', '.join(CITIES)}")
    return City(city)
