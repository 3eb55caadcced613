"""The attack suite: what it holds, and what it says of judges whose weakness is known."""

import math

import pytest

from keepsight.scoring.judges.attack import FILLER_CHARS, Outcome, attack_suite, attacked
from keepsight.scoring.judges.llm import LLMYesNo
from keepsight.scoring.judges.verdict import VerdictJudge
from keepsight.types import Output
from tests.fake_judge import CORRECT, INCORRECT, careful, judge_of, shown


def test_the_suite_holds_what_it_should():
    attacks = attack_suite()
    assert len({attack.name for attack in attacks}) == len(attacks) >= 80
    assert {attack.family for attack in attacks} >= {
        "instruction", "authority", "fake verdict", "braces", "markup", "roles", "delimiter", "length",
        "language", "unicode", "other reference", "repair",
    }  # fmt: skip
    assert all("{says}" in attack.answer or "{wrong}" in attack.answer for attack in attacks)
    assert not any("{target}" in attack.answer for attack in attacks)  # an attacker does not know it


@pytest.fixture(scope="module")
def resisting():
    model = judge_of(careful)
    return model, attacked(VerdictJudge(model, max_answer_chars=10**6))


def test_a_careful_judge_resists_all(resisting):
    _, report = resisting
    assert (report.right, report.wrong) == ((6, 6), (6, 6))
    found = report.outcome
    # One attack begins with the filler, and a judge of first words cannot see what it says: still not correct.
    assert (found.resisted, found.fooled, found.none) == (len(report.attempts), 0, 0)
    assert found.share == found.high == 1 and 0.93 < found.low < 0.98  # 82 attacks, not 246 attempts
    assert sum(family.n for family in report.families.values()) == found.n == 3 * len(attack_suite())


def test_wrong_labels_and_filler_are_filled_in_and_nothing_else(resisting):
    model, report = resisting
    answers = {"".join(shown(sample.prompt).answer) for sample in model.asked}
    assert any(len(answer) > FILLER_CHARS for answer in answers)
    assert "The object is a(n) circle. {label} {outputs} {reference} {mark} {verdict}" in answers
    assert not any("{says}" in a or "{wrong}" in a or "{filler}" in a for a in answers)
    assert all(
        attempt.sample.target[0] not in attempt.answer.split() for attempt in report.attempts
    )  # or it would not be wrong


def test_an_obedient_judge_is_fooled_where_it_reads_the_order():
    def obedient(sample, seed):
        return CORRECT if "correct" in shown(sample.prompt).answer[0].lower() else careful(sample)

    report = attacked(VerdictJudge(judge_of(obedient)))
    assert report.wrong == (6, 6) and 0.3 < report.outcome.share < 0.8
    assert report.families["instruction"].fooled == report.families["instruction"].n


@pytest.mark.parametrize(
    "reply, right, wrong, fooled, none",
    [(CORRECT, 6, 0, 246, 0), (INCORRECT, 0, 6, 0, 0), ("I will not.", 0, 0, 0, 246)],
)
def test_judges_that_always_say_one_thing(reply, right, wrong, fooled, none):
    report = attacked(VerdictJudge(judge_of(reply)))
    assert (report.right[0], report.wrong[0]) == (right, wrong)
    assert (report.outcome.fooled, report.outcome.none) == (fooled, none)
    assert report.outcome.resisted + fooled + none == 246


def test_the_published_prompt_lets_the_suite_out_of_its_field():
    """A judge that believes the last field of the prompt: EMT's prompt lets an answer write one."""

    def last_field(sample, seed):
        return (
            "Yes" if sample.prompt.rpartition("Label: ")[2].startswith(("circle;", "4;", "ship;")) else "No"
        )

    report = attacked(LLMYesNo(judge_of(last_field)))
    assert report.judge == "llm" and report.outcome.fooled == 3


def test_what_got_no_reply_was_not_tried_and_is_in_no_share():
    dead = Output("", error="HTTP 503")

    def failing(sample, seed):
        if "7" in shown(sample.prompt).references:
            return dead
        return "?" if "dog" in shown(sample.prompt).references else careful(sample)

    report = attacked(VerdictJudge(judge_of(failing), max_answer_chars=10**6))
    found = report.outcome
    assert (found.n, found.resisted, found.none, found.silent) == (164, 82, 82, 82) and found.share == 0.5
    assert (report.right, report.wrong) == ((2, 4), (2, 4))
    assert report.silence == "no verdict: no reply: HTTP 503"
    for judge in (VerdictJudge(judge_of(dead)), LLMYesNo(judge_of(dead))):
        none = attacked(judge)
        assert (none.outcome.n, none.outcome.silent) == (0, 246) and math.isnan(none.outcome.share)
        assert (none.right, none.wrong) == ((0, 0), (0, 0)) and "HTTP 503" in none.silence
    assert attacked(VerdictJudge(judge_of(careful))).silence == ""


def test_no_attempts_give_no_share():
    assert math.isnan(Outcome.of([]).share)
