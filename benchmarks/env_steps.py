"""Steps of the card environments and NumberLine with pictures and resets, against drawing every frame with PIL.

PIL gets the full-sized cards ready in memory, as if their files had been read, makes them smaller, pastes them and writes the
text, for every frame. Games, actions and answers are the same on both sides. CPU time is counted.
"""

from __future__ import annotations

import statistics
import time
from functools import lru_cache, partial
from importlib.resources import as_file, files
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.record import Record
from keepsight.envs import ActionEnv, make
from keepsight.envs.actions import answer_text
from keepsight.envs.base import Picture
from keepsight.envs.blackjack import Blackjack
from keepsight.envs.cards import FELT, Card, places, sprite
from keepsight.envs.formula import FormulaEnv
from keepsight.envs.numberline import NumberLine

__all__ = ["NAMES", "actions", "environment", "measure", "seconds"]

NAMES = ("numberline", "ezpoints", "points24", "blackjack")
STEPS = 800
RUNS = 3  # the median counts
RATE = 10_000  # steps a second that an idle core should reach
GOAL = 3
FULL = 300  # pixels wide are the cards that PIL makes smaller
ALIKE = 4  # of 255, at most, is the mean difference of the two pictures


def measure(_: str = "tiny") -> Record:
    """The least of all ratios; the frames of both sides are nearly the same, the rewards exactly."""
    told, ratios, rates = [], [], []
    for name in NAMES:
        for form in ("text", "index"):
            ours, theirs = environment(name, form), _with_pil(environment(name, form))
            _assert_alike(ours, theirs)
            pairs = [(seconds(ours), seconds(theirs)) for _ in range(RUNS)]
            quick, slow = (statistics.median(side) for side in zip(*pairs))
            ratios.append(slow / quick)
            rates.append(STEPS / quick)
            told.append(f"{name} {form} {rates[-1]:,.0f} (x{ratios[-1]:.1f})")
    detail = (
        f"times the rate of drawing with PIL, the least of {len(told)}; steps a second with resets, "
        f"of CPU time: {', '.join(told)}; at least {RATE:,} on an idle core: {sum(rate >= RATE for rate in rates)} of {len(rates)}"
    )
    return Record("env_steps", min(ratios), GOAL, min(ratios) >= GOAL, STEPS, detail)


def environment(name: str, form: str) -> ActionEnv:
    """An environment of `NAMES`."""
    env = make(name, action=form)
    assert isinstance(env, ActionEnv)
    return env


def actions(env: ActionEnv, n: int, seed: int = 0) -> list[Any]:
    """`n` actions in the environment's form, drawn evenly."""
    rng = Random(seed)
    drawn = [rng.randrange(len(env.actions)) for _ in range(n)]
    if env.action_form == "index":
        return list(drawn)
    texts = [answer_text({"thoughts": "Let me see.", "action": name}) for name in env.actions]
    return [texts[at] for at in drawn]


def seconds(env: ActionEnv) -> float:
    """CPU time of `STEPS` steps, resets included."""
    todo = actions(env, STEPS)
    env.reset(seed=0)
    before = time.process_time()
    for action in todo:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return time.process_time() - before


def _assert_alike(ours: ActionEnv, theirs: ActionEnv) -> None:
    for env in (ours, theirs):
        env.reset(seed=1)
    for action in actions(ours, 30, seed=1):
        one, other = ours.step(action), theirs.step(action)
        assert one[1:4] == other[1:4]
        assert np.abs(ours.picture().astype(int) - theirs.picture()).mean() < ALIKE
        if one[2] or one[3]:
            ours.reset(seed=2)
            theirs.reset(seed=2)


def _with_pil(env: ActionEnv) -> ActionEnv:
    env.paint = partial(_paint, env)  # type: ignore[method-assign]
    return env


def _paint(env: ActionEnv, canvas: Picture) -> None:
    height, width = env.size
    picture = Image.new("RGB", (width, height), (255, 255, 255) if isinstance(env, NumberLine) else FELT)
    draw = ImageDraw.Draw(picture)
    if isinstance(env, NumberLine):
        for line, top in ((f"Target: {env.target}", 60), (f"Current: {env.current}", 180)):
            draw.text((30, top), line, (0, 0, 0), _font(36, True))
    elif isinstance(env, FormulaEnv):
        _paste(picture, env.cards, *places(len(env.cards), env.hand_box, centred=True))
        draw.text((10, env.label_top), "Formula:", font=_font(env.letters, False))
        draw.text(env.formula_at, " ".join(env.formula), font=_font(env.letters, False))
    elif isinstance(env, Blackjack):
        draw.text((5, 5), "Dealer", font=_font(16, True))
        draw.text((5, 130), "Player", font=_font(16, True))
        _paste(picture, (env.dealer[0], None), *places(2, (5, 25, 290, 98), 70))
        _paste(picture, env.player, *places(len(env.player), (5, 150, 290, 145), 70))
    canvas[:] = np.asarray(picture)


def _paste(
    picture: Image.Image,
    cards: tuple[Card | None, ...],
    corners: tuple[tuple[int, int], ...],
    width: int,
) -> None:
    for card, corner in zip(cards, corners):
        picture.paste(_full(card).resize((width, round(width * 7 / 5))), corner)


@lru_cache(maxsize=64)
def _full(card: Card | None) -> Image.Image:
    return Image.fromarray(sprite(card, FULL))


@lru_cache(maxsize=8)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    with as_file(files("keepsight.envs") / "fonts" / name) as path:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
