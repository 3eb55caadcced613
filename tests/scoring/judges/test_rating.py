"""A judge's rating, read from replies as models write them: never a digit of a longer number, never a guess."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.scoring.judges.rating import read_rating

READ = {
    "10": 10, "0": 0, " 8.\n": 8, "8!": 8, "(8)": 8, "[8]": 8, "８": 8, "8.0": 8, "8 points": 8, "**8**": 8,
    "10/10": 10, "8 / 10": 8, "8 out of 10": 8, "8 of 10": 8, "9/10\n\nScore: 9": 9,
    "Score: 10": 10, "Score:10/10": 10, "**Score: 8**": 8, "Score: **10**/10": 10, "Score:\n8": 8,
    "Overall score: 7/10.": 7, "The score is 9.": 9, "The score for this answer is 8": 8, "Rating: 6": 6,
    "Final rating = 5": 5, "I would rate this answer 7.": 7, "I'd give it a 9": 9, "It scores 8/10 for accuracy.": 8,
    "The assistant's answer is rated 4 out of 10.": 4, "I would give the answer a score of 10 out of 10.": 10,
    "8\nThe answer is right.": 8, "8\n\nIt names 3 of 4 things.": 8, "The score is 8. The truth has 3 objects.": 8,
    "Score: 8\nScore: 8": 8, "On a scale from 0 to 10, the score is 8.": 8, "Score (0-10): 8": 8,
    "<think>maybe 3</think>9": 9, "\\boxed{8}": 8, "Score: 8, because it names both.": 8,
    '{"score": 8}': 8, '{"score": 10}': 10, '{"score": 0}': 0, '{"score": "8"}': 8, '{"score": 8.0, "reason": "3"}': 8,
    '```json\n{"score": 10}\n```': 10,
}  # fmt: skip
NOT_READ = [
    "", "   ", "yes", "ten", "Score: ten", "100", "11", "1e1", "2023", "Score: 10000", "Score: 85", "-3", "+8", "Score -1",
    "8.5", "3.14", "score: 3.14", "7-8", "between 6 and 8", "Score: 8 or 9", "8 6", "Score 8 8", "0-10", "8%", "90%",
    "80/100", "Score: 8/100", "8/5", "10/10/2023", "1. It is right.\n2. It is short.", "8 apples", "Score: 1O", "Score: 8x",
    "Assistant 1: 8", "Score: 8\nScore: 3", "8\nScore: 3", "8/10 of the way, score 9", "accuracy: 9",
    "The score reflects that the answer names 3 objects", "{}", '{"score": 11}', '{"score": -1}', '{"score": 7.5}',
    '{"score": true}', '{"score": null}', '{"score": "eight"}', '{"score": NaN}', '{"rating": 8}', '{"score": 8, "score": 1}',
    '{"score": 8', '{"score": 8} 9', '[{"score": 8}, {"score": 6}]', '{"score": ' + "[" * 50_000,
]  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_read(text):
    assert read_rating(text) == READ[text]


@pytest.mark.parametrize("text", NOT_READ, ids=[text[:40] for text in NOT_READ])
def test_not_read_and_the_reason_follows_a_colon(text):
    with pytest.raises(ValueError, match=r"^(it|its) "):
        read_rating(text)


@settings(max_examples=60)
@given(st.text(alphabet='0123456789/. -scoreSCORE:{}"\n', max_size=30))
def test_any_text_gives_a_rating_or_a_reason(text):
    try:
        assert 0 <= read_rating(text) <= 10
    except ValueError as error:
        assert str(error)


@given(st.integers(0, 10**9), st.sampled_from(["{}", "Score: {}", "{}/10", '{{"score": {}}}']))
def test_a_number_is_read_whole_or_not_at_all(number, form):
    text = form.format(number)
    if number <= 10:
        assert read_rating(text) == number
    else:
        with pytest.raises(ValueError):
            read_rating(text)


def test_long_replies_take_no_long_time():
    for text in (
        "score " * 20_000,
        "8 " * 20_000,
        "score is is " * 10_000 + "x",
        "0 to 10 " * 10_000,
        "*" * 50_000 + "8",
    ):
        with pytest.raises(ValueError):
            read_rating(text + "?x")
