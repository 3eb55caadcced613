"""Blackjack against Gymnasium's own rules, and its best actions against a search over hands."""

from functools import cache

import numpy as np
import pytest
from gymnasium.envs.toy_text import blackjack as gym_blackjack

from keepsight.envs import blackjack
from keepsight.envs.blackjack import Blackjack, best_actions, points, values_of_actions
from keepsight.envs.cards import DECK, Card, sprite

NUMBERS = [*range(1, 10), 10, 10, 10, 10]


@pytest.mark.parametrize("natural", [False, True])
def test_every_game_goes_as_in_gymnasium(natural, monkeypatch):
    """The same cards in the same order, the same actions: the same rewards and ends."""
    rng = np.random.default_rng(7)
    ours, theirs = Blackjack(natural=natural), gym_blackjack.BlackjackEnv(natural=natural)
    rewards = set()
    for game in range(3000):
        order = [DECK[at] for at in rng.integers(52, size=60)]
        if game % 10 == 0:
            order[2:4] = [Card("A", "H"), Card("K", "S")]
        left, other = list(order), list(order)
        monkeypatch.setattr(blackjack, "deal", lambda rng, n, left=left: tuple(left.pop(0) for _ in range(n)))
        monkeypatch.setattr(gym_blackjack, "draw_card", lambda rng, other=other: other.pop(0).value())
        ours.begin(seed=0)
        theirs.reset(seed=0)
        theirs.dealer, theirs.player = ([card.value() for card in order[at : at + 2]] for at in (0, 2))
        del other[:4]
        other[:] = order[4:]
        over = False
        while not over:
            action = int(rng.integers(2))
            move = ours.play(ours.actions[action])
            _, reward, over, _, _ = theirs.step(action)
            assert (move.reward, move.terminated, move.truncated) == (reward, over, False)
            assert move.solved == (move.reward > 0)
            assert [card.value() for card in ours.player] == theirs.player
            assert [card.value() for card in ours.dealer] == theirs.dealer
            rewards.add(move.reward)
    assert rewards == ({-1.0, 0.0, 1.0, 1.5} if natural else {-1.0, 0.0, 1.0})


@cache
def dealer(hand):
    """Chances of the dealer's score (0 if beyond 21), over the hands one by one."""
    if gym_blackjack.sum_hand(list(hand)) >= 17:
        return {gym_blackjack.score(list(hand)): 1.0}
    chances = {}
    for number in NUMBERS:
        for score, chance in dealer(tuple(sorted((*hand, number)))).items():
            chances[score] = chances.get(score, 0.0) + chance / 13
    return chances


@cache
def value(hand, shown, action):
    """Expected reward by a search over the hands themselves, with Gymnasium's sums."""
    if action == "stand":
        score = gym_blackjack.score(list(hand))
        return sum(gym_blackjack.cmp(score, end) * chance for end, chance in dealer((shown,)).items())
    total = 0.0
    for number in NUMBERS:
        after = tuple(sorted((*hand, number)))
        bust = gym_blackjack.is_bust(list(after))
        total += -1 if bust else max(value(after, shown, each) for each in ("stand", "hit"))
    return total / 13


@pytest.mark.parametrize("shown", [1, 2, 6, 10])
def test_values_are_those_of_a_search_over_hands(shown):
    for low in range(1, 11):
        for high in range(low, 11):
            cards = [Card("A" if number == 1 else str(number), "S") for number in (low, high)]
            found = values_of_actions(*points(cards), shown)
            for action in ("stand", "hit"):
                assert float(found[action]) == pytest.approx(value((low, high), shown, action), abs=1e-9)


def test_basic_strategy():
    """When to stand, for a deck without end whose dealer stands on 17."""
    for shown in range(1, 11):
        hard = next(total for total in range(12, 22) if best_actions(total, False, shown) == {"stand"})
        soft = next(total for total in range(12, 22) if best_actions(total, True, shown) == {"stand"})
        assert hard == (12 if shown in (4, 5, 6) else 13 if shown in (2, 3) else 17)
        assert soft == (19 if shown in (9, 10, 1) else 18)
        for total in range(4, 12):
            assert best_actions(total, False, shown) == {"hit"}


def test_the_expert_loses_little():
    env, total, n = Blackjack(thoughts=False), 0.0, 4000
    env.begin(seed=0)
    for _ in range(n):
        env.begin()
        while not (move := env.play(env.expert())).terminated:
            pass
        total += move.reward
    assert -0.1 < total / n < 0.01


def test_what_lies_face_down_is_in_no_picture_and_no_text():
    env = Blackjack()
    _, info = env.reset(seed=3)
    assert info["hidden"] == {"dealer": (env.dealer[1].suit + env.dealer[1].rank,)}
    shown = set()
    for card in DECK:
        env.dealer = (env.dealer[0], card)
        told = {key: value for key, value in env.info(blackjack.Move(0.0)).items() if key != "hidden"}
        shown.add((env.picture().tobytes(), env.text, str(told), env.best(), env.expert()))
    assert len(shown) == 1


def test_the_dealer_shows_one_card_and_hides_another():
    env = Blackjack()
    env.begin(seed=0)
    for card in DECK:
        env.dealer = (card, *env.dealer[1:])
        shown = env.picture()[25:123, 5:149]
        assert np.array_equal(shown[:, :70], sprite(card, 70))
        assert np.array_equal(shown[:, 74:], sprite(None, 70))


def test_all_cards_of_the_player_are_in_the_picture():
    env = Blackjack()
    env.begin(seed=0)
    for n in range(2, 23):
        pictures = set()
        for at in range(n):
            env.player = tuple(Card("2" if each == at else "A", "H") for each in range(n))
            pictures.add(env.picture().tobytes())
        assert len(pictures) == n


def test_the_longest_game_is_within_the_horizon(monkeypatch):
    monkeypatch.setattr(blackjack, "deal", lambda rng, n: (Card("A", "S"),) * n)
    env = Blackjack()
    env.begin(seed=0)
    moves = []
    while not moves or not (moves[-1].terminated or moves[-1].truncated):
        moves.append(env.play("hit"))
    assert moves[-1].terminated and len(env.player) == 22 and len(moves) < env.horizon


def test_points():
    def of(ranks):
        return points([Card(rank, "H") for rank in ranks.split()])

    assert [of(each) for each in ("A K", "A A", "A A 10", "9 5", "K Q J", "A 5 5", "A 6 5")] == [
        (21, True), (12, True), (12, False), (14, False), (30, False), (21, True), (12, False),
    ]  # fmt: skip


def test_the_prompts_are_the_published_ones():
    env = Blackjack()
    env.begin(seed=0)
    env.dealer, env.player = (Card("8", "H"), Card("2", "S")), (Card("K", "H"), Card("3", "S"))
    task = (  # figures C.8 and C.18
        "You are a blackjack player. You are observing the current game state, you can choose between ['stand', 'hit']. Your "
        "response should be a valid json file in the following format:\n{\n"
    )
    thoughts = (
        '"thoughts": "{first describe your total points and the dealer\'s total points then think about which action to '
        'choose}",\n'
    )
    action = '"action": "stand" or "hit"\n}'
    assert env.prompt() == task + thoughts + action
    assert env.expert() == (  # figure C.17
        '{\n"thoughts": "I have 13 points and the dealer has 8 points. I think I should hit.",\n"action": "hit"\n}'
    )
    env.thoughts = False
    assert env.prompt() == task + action and env.expert() == '{\n"action": "hit"\n}'
