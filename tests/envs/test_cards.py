"""Cards: all different, all inside the canvas."""

from itertools import combinations

import numpy as np
import pytest

from keepsight.envs.cards import DECK, FELT, RANKS, SUITS, Card, deal, draw_hand, places, sprite

BOXES = [(5, 150, 290, 145), (5, 10, 290, 190), (0, 0, 300, 300), (10, 20, 70, 40), (0, 0, 1200, 1200)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("centred", [False, True])
def test_every_card_is_inside_and_none_over_another(box, centred):
    left, top, wide, high = box
    for n in range(1, 23):
        corners, width = places(n, box, 10_000, centred)
        height = sprite(DECK[0], width).shape[0]
        assert len(corners) == n
        for x, y in corners:
            assert left <= x and top <= y and x + width <= left + wide and y + height <= top + high
        for (x, y), (other_x, other_y) in combinations(corners, 2):
            assert abs(x - other_x) >= width or abs(y - other_y) >= height


def test_cards_are_as_large_as_they_can_be():
    for box in BOXES:
        widths = [places(n, box)[1] for n in range(1, 13)]
        assert widths == sorted(widths, reverse=True)
        for n, width in zip(range(1, 13), widths):
            assert places(n, box, width)[1] == width and places(n, box, 9)[1] == min(width, 9)
    assert places(4, (5, 10, 290, 190))[1] >= 67  # as large as the published ones
    assert places(2, (5, 10, 290, 230))[1] >= 135


@pytest.mark.parametrize("n", range(2, 13))
def test_every_card_is_drawn_whole(n):
    canvas = np.zeros((300, 300, 3), np.uint8)
    cards = [*DECK[: n - 1], None]
    box = (5, 150, 290, 145)
    draw_hand(canvas, cards, box, largest=70)
    corners, width = places(n, box, 70)
    touched = np.zeros((300, 300), bool)
    for card, (x, y) in zip(cards, corners):
        drawn = sprite(card, width)
        assert np.array_equal(canvas[y : y + drawn.shape[0], x : x + width], drawn)
        touched[y : y + drawn.shape[0], x : x + width] = True
    assert not canvas[~touched].any()


@pytest.mark.parametrize("width", [35, 67, 100])
def test_no_two_cards_look_alike(width):
    drawn = [sprite(card, width) for card in (*DECK, None)]
    assert len({picture.tobytes() for picture in drawn}) == 53
    assert {picture.shape for picture in drawn} == {(round(width * 7 / 5), width, 3)}
    for one, other in combinations(drawn, 2):
        assert np.abs(one.astype(int) - other).mean() > 0.5


def test_red_cards_are_red_and_black_ones_are_not():
    for card in DECK:
        pixels = sprite(card, 70).reshape(-1, 3).astype(int)
        red = ((pixels[:, 0] > 150) & (pixels[:, 1] < 90)).sum()
        assert (red > 50) == card.red == (card.suit in "HD")


def test_corners_show_the_felt_and_no_more():
    for felt in (FELT, (255, 255, 255)):
        drawn = sprite(Card("A", "S"), 140, felt)
        assert np.abs(drawn[0, 0].astype(int) - felt).max() <= 8
        assert not drawn.flags.writeable


def test_numbers():
    assert [Card(rank, "H").value() for rank in RANKS] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]
    assert [Card(rank, "H").value((11, 12, 13)) for rank in RANKS] == list(range(1, 14))
    assert len(set(DECK)) == 52 == len(RANKS) * len(SUITS)


def test_dealing_is_even():
    counts = np.bincount([DECK.index(card) for card in deal(np.random.default_rng(0), 52_000)], minlength=52)
    assert abs(counts - 1000).max() < 5 * 1000**0.5
