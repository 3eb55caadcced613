"""EZPoints: every hand, every sequence of actions."""

from collections import Counter

import pytest

from keepsight.envs.cards import Card
from keepsight.envs.ezpoints import EZPoints, pairs
from keepsight.errors import UsageError

TWELVE = {(2, 10), (3, 9), (4, 8), (5, 7), (6, 6), (2, 6), (3, 4)}
PUBLISHED = {(2, 10): 9, (5, 7): 4, (3, 9): 3, (4, 8): 3, (2, 6): 2, (3, 4): 2, (6, 6): 1}  # of 24


def right(tokens, numbers):
    """Whether tokens are a formula of both numbers that equals 12, said without a parser."""
    if len(tokens) != 3 or tokens[1] not in "+*":
        return False
    a, b = (int(token) if token.isdigit() else None for token in tokens[::2])
    return (a, b) in (numbers, numbers[::-1]) and (a + b if tokens[1] == "+" else a * b) == 12


def set_up(env, numbers, formula, steps):
    env.lay([Card("A" if number == 1 else str(number), "S") for number in numbers])
    env.formula, env.steps, env._over = formula, steps, False


@pytest.mark.parametrize("numbers", sorted({*pairs(12), *((b, a) for a, b in pairs(12))}))
def test_every_sequence_of_actions(numbers):
    """What an action does follows from formula and step alone, so that every state is tried once, with every action."""
    env = EZPoints(action="index")
    env.begin(seed=0)
    win = {}

    def best_return_of(formula, steps):
        """Whether "=" on a right formula can still come; tries every action on the way."""
        if steps == 5:
            return False
        if (formula, steps) in win:
            return win[formula, steps]
        winners = set()
        for at, name in enumerate(env.actions):
            set_up(env, numbers, formula, steps)
            unused = Counter(map(str, numbers)) - Counter(formula)
            move = env.play(at)
            legal = not name.isdigit() or bool(unused[name])
            after = (*formula, name) if legal and name != "=" else formula
            solved = name == "=" and right(formula, numbers)
            assert env.formula == after and move.answer == name
            assert move.reward == (10 if solved else -1 if name == "=" or not legal else 0)
            assert move.terminated == (name == "=") and move.solved == solved
            assert move.truncated == (name != "=" and steps == 4)
            assert move.status == ("parsed" if legal else "illegal")
            if solved or (name != "=" and best_return_of(after, steps + 1) and legal):
                winners.add(name)
        set_up(env, numbers, formula, steps)
        assert env.best() == winners
        win[formula, steps] = bool(winners)
        return win[formula, steps]

    assert best_return_of((), 0)
    assert len(win) > 150


def test_hands():
    assert set(pairs(12)) == TWELVE
    for sampling in ("published", "uniform_pairs"):
        env = EZPoints(sampling=sampling)
        env.begin(seed=0)
        n, counts, faces, order = 8400, Counter(), Counter(), 0
        for _ in range(n):
            env.begin()
            low, high = sorted(env.numbers)
            counts[low, high] += 1
            order += env.numbers[0] < env.numbers[1]
            faces.update(card.rank for card in env.cards if card.value() == 10)
        expected = {pair: PUBLISHED[pair] / 24 if sampling == "published" else 1 / 7 for pair in TWELVE}
        assert set(counts) == TWELVE
        for pair, share in expected.items():
            assert abs(counts[pair] - n * share) < 5 * (n * share) ** 0.5, (sampling, pair)
        assert set(faces) == {"10", "J", "Q", "K"}
        assert abs(order - (n - counts[6, 6]) / 2) < 5 * n**0.5


def test_the_second_card_of_the_published_hands_is_a_number():
    env, both = EZPoints(), 0
    env.begin(seed=0)
    for _ in range(2000):
        env.begin()
        both += all(card.rank in "JQK" for card in env.cards)
        assert "A" not in {card.rank for card in env.cards}
    assert not both


@pytest.mark.parametrize("target", [2, 3, 7, 11, 20, 36, 100])
@pytest.mark.parametrize("sampling", ["published", "uniform_pairs"])
def test_other_targets_have_a_win_as_well(target, sampling):
    env = EZPoints(target_points=target, sampling=sampling, thoughts=False)
    env.begin(seed=0)
    for _ in range(20):
        env.begin()
        while not (move := env.play(env.expert())).terminated:
            assert not move.truncated
        assert move.reward == 10 and f"evaluates to {target}," in env.prompt()


@pytest.mark.parametrize(
    "setting", [{"target_points": 0}, {"target_points": 19.0}, {"target_points": 97}, {"sampling": "even"}]
)
def test_what_cannot_be_played_is_refused(setting):
    with pytest.raises(UsageError, match=next(iter(setting))):
        EZPoints(**setting)


def test_the_prompts_are_the_published_ones():
    env = EZPoints()
    env.begin(seed=0)
    set_up(env, (7, 5), ("5",), 1)
    task = (  # figures C.4 and C.20
        "You are an expert card game player. You are observing two cards in the image. You are observing the current "
        "formula: '5'. You can choose between ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '+', '*', '=']. The number "
        "or operator you choose will be appended to the current formula. Note that 'J', 'Q', and 'K' count as '10'. Your "
        "goal is to output a formula that evaluates to 12, and each number can only be used once. Your response should be a "
        "valid json file in the following format:\n{\n"
    )
    thoughts = (
        '"cards": [x, y],\n"current formula": \'5\',\n"thoughts": {First check whether the current formula \'z\' is complete. '
        "If the current formula 'z' is complete, output '='. Otherwise consider which number or operator should be appended "
        "to the current formula to make it equal 12.}\n"
    )
    action = '"action": "{number}" or "{operator}"\n}'
    assert env.prompt() == task + thoughts + action
    assert env.expert() == (  # figure C.19
        '{\n"cards": [7, 5],\n"formula": "5",\n"thoughts": "\'5\' is an incomplete formula, since \'5+7=12\', I should '
        'append \'+\' to the current formula",\n"action": "+"\n}'
    )
    env.thoughts = False
    assert env.prompt() == task + action and env.expert() == '{\n"action": "+"\n}'


@pytest.mark.parametrize(
    "cards, tag",
    [
        ("[7, 5]", "recognized"),
        ('["5", "7"]', "recognized"),
        ('[7, "5 "]', "recognized"),
        ("[7]", "misrecognized"),
        ("[7, 7]", "misrecognized"),
        ("[5, 7, 7]", "misrecognized"),
        ('["J", 5]', "misrecognized"),
        ("[[7], 5]", "misrecognized"),
        ("[7.0, 5]", "misrecognized"),
        ("[true, 5]", "misrecognized"),
        ("[]", None),
        ('"7, 5"', "recognized"),  # as in GeneralPoints
        ('""', None),
        ("null", None),
    ],
)
def test_which_cards_an_answer_has_seen(cards, tag):
    env = EZPoints()
    env.begin(seed=0)
    set_up(env, (7, 5), (), 0)
    move = env.play(f'{{"cards": {cards}, "action": "7"}}')
    assert move.tags == ((tag,) if tag else ())


@pytest.mark.parametrize(
    "text, tag",
    [
        ('{"cards": [7, 5], "thoughts": {First check}, "action": "7"}', "recognized"),  # as the prompt has it
        ('{"cards": [7, 6],\n"current formula": \'\'\n"thoughts": "x"\n"action": "7"}', "misrecognized"),
        ("{'Cards': ['7', '5'], 'action': '7'}", "recognized"),
        ('{"cards": [x, y], "action": "7",}', "misrecognized"),
        ('{"thoughts": "two cards: 7 and 5", "action": "7",}', None),
    ],
)
def test_cards_are_read_where_an_answer_is_no_json(text, tag):
    env = EZPoints()
    env.begin(seed=0)
    set_up(env, (7, 5), (), 0)
    move = env.play(text)
    assert move.answer == "7" and move.tags == ((tag,) if tag else ())


def test_every_formula_has_its_own_picture():
    env = EZPoints(action="index")
    pictures = [env.reset(seed=3)[0]]
    for name in ("+", "*", str(env.numbers[0]), "+", "="):
        pictures.append(env.step(env.actions.index(name))[0])
        if env._over:
            break
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) - 1  # "=" is not written
    assert (pictures[-1][250:, -6:] == pictures[-1][0, -1]).all()


@pytest.mark.parametrize("sampling", ["published", "uniform_pairs"])
def test_every_target_that_is_taken_has_its_hands(sampling):
    for target in range(1, 101):
        try:
            env = EZPoints(target_points=target, sampling=sampling)
        except UsageError as error:
            assert "give a number that two cards make" in str(error) and not pairs(target)
            continue
        for seed in range(10):
            env.begin(seed=seed)
            a, b = env.numbers
            assert target in (a + b, a * b) and env.expert() is not None
