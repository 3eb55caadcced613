"""What the parsers read out of ugly texts."""

import json

import pytest

from keepsight.envs.actions import PARSERS, answer_text, json_objects, parse_action, parse_as_released

STEPS = ("-", "+")
GAME = ("stand", "hit")
POINTS = (*map(str, range(1, 11)), "+", "-", "*", "/", "(", ")", "=")

# text, actions, status, action, rule
EXACT = [
    ('{"action": "+"}', STEPS, "parsed", "+", "json"),
    ('{"action" : "+"}', STEPS, "parsed", "+", "json"),
    ('{"thoughts": "3 - 1", "action": "+"}', STEPS, "parsed", "+", "json"),
    ('{"Action": "HIT"}', GAME, "parsed", "hit", "json"),
    ('{"action": "hit."}', GAME, "parsed", "hit", "json"),
    ('{"action": 10}', POINTS, "parsed", "10", "json"),
    ('{"action": "5", "note": "5+7"}', POINTS, "parsed", "5", "json"),
    ('{"action": "5"} because 5+7 is 12', POINTS, "parsed", "5", "json"),
    ('{"action": "1"} no: {"action": "2"}', POINTS, "parsed", "2", "json"),
    ('```json\n{\n"action": "="\n}\n```', POINTS, "parsed", "=", "json"),
    ('{"cards": [7, 5], "action": "+", }', POINTS, "parsed", "+", "key"),
    ('"cards": [7, 5],\n"action": "+"\n}"', POINTS, "parsed", "+", "key"),
    ("Action: *stand*", GAME, "parsed", "stand", "key"),
    ("{'action': 'hit'}", GAME, "parsed", "hit", "key"),
    ("action=hit", GAME, "parsed", "hit", "key"),
    ('{"thoughts": {"now": 1, "action": "I add"}, "action": "+"}', STEPS, "parsed", "+", "json"),
    ('{"action": "-", "why": {"action": "+"}} or {"answer": {"action": "+"}}', STEPS, "parsed", "+", "json"),
    ('{"cards": [6, 2], "thoughts": {First}, "action": "*"}', POINTS, "parsed", "*", "key"),
    ("Action: *", POINTS, "parsed", "*", "key"),
    ("**Action:** *", POINTS, "parsed", "*", "key"),
    ("**Action:** **10**", POINTS, "parsed", "10", "key"),
    ('**Action: "10"**', POINTS, "parsed", "10", "key"),
    ('Action: *"10"*', POINTS, "parsed", "10", "key"),
    ("**Action**: Hit!", GAME, "parsed", "hit", "key"),
    ("{“thoughts”: “3 - 1”, “action”: “-”}", STEPS, "parsed", "-", "key"),
    ("*", POINTS, "parsed", "*", "bare"),
    ("'*'.", POINTS, "parsed", "*", "bare"),
    ("**stand**", GAME, "parsed", "stand", "bare"),
    ("+", STEPS, "parsed", "+", "bare"),
    (' "10". ', POINTS, "parsed", "10", "bare"),
    ("I should hit now", GAME, "parsed", "hit", "mention"),
    ("I should HIT.", GAME, "parsed", "hit", "mention"),
    ("I could stand or hit", GAME, "unparsed", None, ""),
    ("standing is white", GAME, "unparsed", None, ""),
    ("100", POINTS, "unparsed", None, ""),
    ("I add 10", POINTS, "unparsed", None, ""),
    ("", GAME, "unparsed", None, ""),
    ("{", GAME, "unparsed", None, ""),
    ('{"action": ""}', GAME, "unparsed", None, ""),
    ('{"action": null}', GAME, "unparsed", None, ""),
    ('{"action": true}', POINTS, "unparsed", None, ""),
    ('{"action": ["hit"]}', GAME, "unparsed", None, ""),
    ('{"action": 1.0}', POINTS, "unparsed", None, ""),
    ('{"action": "standing"}', GAME, "illegal", None, "json"),
    ('{"action": "100"}', POINTS, "illegal", None, "json"),
    ('{"action": "11"}', POINTS, "illegal", None, "json"),
    ('{"action": "５"}', POINTS, "illegal", None, "json"),
    ('{"action": "−"}', POINTS, "illegal", None, "json"),
    ('{"action": "5+7"}', POINTS, "illegal", None, "json"),
    ("action: double", GAME, "illegal", None, "key"),
    ("interaction: hit me not, stand", GAME, "unparsed", None, ""),
    # a choice of several is no action, whatever stands between them
    ('"action": "-" or "+"', STEPS, "illegal", None, "key"),
    ('{\n"action": "stand" or "hit"\n}', GAME, "illegal", None, "key"),
    ('"action": "x" or "hit"', GAME, "illegal", None, "key"),
    ('"action": "stand", "x", or "hit"', GAME, "illegal", None, "key"),
    ('"action": "*" or "/"', POINTS, "illegal", None, "key"),
    ('"action": "+" | "*"', POINTS, "illegal", None, "key"),
    ("Action: +, -", STEPS, "illegal", None, "key"),
    ("action: **stand** / **hit**", GAME, "illegal", None, "key"),
    ("Action: stand and hit", GAME, "illegal", None, "key"),
    ("'action': 'hit'; 'stand'", GAME, "illegal", None, "key"),
    ('"action": "hit" or "hit"', GAME, "parsed", "hit", "key"),
    ('"action": "hit", "why": "stand" or "hit"', GAME, "parsed", "hit", "key"),
    ("Action: hit, stand would be risky", GAME, "parsed", "hit", "key"),
    ('"action": "5", "cards": [5, 7], "formula": "5', POINTS, "parsed", "5", "key"),
    ('"action": "5" as the cards are 5, 7', POINTS, "parsed", "5", "key"),
    # what is denied is not named
    ("I should not hit.", GAME, "unparsed", None, ""),
    ("I won't hit", GAME, "unparsed", None, ""),
    ("Hit is not right.", GAME, "unparsed", None, ""),
    ("I would neither stand nor hit", GAME, "unparsed", None, ""),
    ("I should not hit, so I stand.", GAME, "parsed", "stand", "mention"),
    ("Don't hit yet. Now hit!", GAME, "parsed", "hit", "mention"),
]
# What the released code does with the same kinds of text: substrings count, and everything after the key is read.
RELEASED = [
    ('{"action": "+"}', STEPS, "+"),
    ('{"ACTION": "HIT"}', GAME, "hit"),
    ("+", STEPS, "+"),
    ("I choose +", STEPS, "+"),
    ("+.", STEPS, None),
    ('{"action": "standing"}', GAME, "stand"),
    ('{"action": "white"}', GAME, "hit"),
    ('{"action": "100"}', POINTS, "10"),
    ('{"action": "11"}', POINTS, "1"),
    ('{"action": "10"}', POINTS, "10"),
    ('{"action": "1", "action": "10"}', POINTS, None),
    ('{"action" : "+"}', STEPS, None),
    ('{"action": "5", "note": "5+7"}', POINTS, None),
    ('{"action": "+"} to come from 2 to 3', STEPS, "+"),
    ('{"action": "5"} because 7 is there', POINTS, None),
    ('{"action": "stand or hit"}', GAME, None),
    ('{"action": ""}', GAME, None),
    ("I should hit", GAME, None),
    ("", GAME, None),
]


@pytest.mark.parametrize("text, actions, status, action, rule", EXACT)
def test_the_exact_parser(text, actions, status, action, rule):
    parsed = parse_action(text, actions)
    assert (parsed.status, parsed.action, parsed.rule) == (status, action, rule)


@pytest.mark.parametrize("text, actions, action", RELEASED)
def test_the_released_parser(text, actions, action):
    parsed = parse_as_released(text, actions)
    assert parsed.action == action
    assert (parsed.status, parsed.rule) == (("parsed", "substring") if action else ("unparsed", ""))


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("actions", [STEPS, GAME, POINTS])
def test_every_action_is_read_as_itself(parser, actions):
    for action in actions:
        assert PARSERS[parser](answer_text({"thoughts": "x", "action": action}), actions).action == action


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{" * 99_999,
            '{"action":' * 9_999,
            "[" * 99_999,
            '"action": ' * 9_999,
            "{}" * 50_000,
            "a" * 100_000,
        ),
        *('"action": "5"' + ' or "5"' * 14_000, "=" * 50_000 + '"action":' + '", ' * 30_000),
    ],
)
@pytest.mark.parametrize("parser", PARSERS)
def test_long_texts_take_no_time_to_speak_of(parser, text):
    PARSERS[parser](text, POINTS)


def test_objects_come_last_first_and_outermost_first_with_keys_in_lower_case():
    inner, outer = {"c": {}}, {"b": {"C": {}}, "d": {}}
    found = [{"e": 2}, outer, {}, inner, {}, {"a": 1}]
    assert list(json_objects('{"A": 1} x {"b": {"C": {}}, "d": {}} {"e": 2} {')) == found


def test_an_answer_is_json_with_one_key_a_line():
    answer = answer_text({"cards": [7, 5], "thoughts": 'a "b"', "action": "+"})
    assert answer == '{\n"cards": [7, 5],\n"thoughts": "a \\"b\\"",\n"action": "+"\n}'
    assert json.loads(answer)["cards"] == [7, 5]
