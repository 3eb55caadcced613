"""The shielded judge, with models whose replies are written here."""

import json
import math

import pytest

from keepsight.scoring.judges.attack import attack_suite
from keepsight.scoring.judges.verdict import PROMPT, SCHEMA, VerdictJudge, read_verdict
from keepsight.types import KeepsightError, Output, Sample, TakesSchema
from tests.fake_judge import CORRECT, INCORRECT, careful, judge_of, shown

QUESTION = "What is the animal?"


def case(answer="a cat", *targets, at=0):
    return Sample(f"s{at}", QUESTION, target=targets or ("cat",)), Output(answer)


def judged(model, *cases, **settings):
    samples, outputs = zip(*cases)
    return VerdictJudge(model, **settings)(samples, outputs)


def test_what_the_judge_is_shown():
    model = judge_of(CORRECT)
    judged(model, case("an African\nhunting dog", "African_hunting_dog", "wild dog"))
    (asked,) = model.asked
    read = shown(asked.prompt)
    assert (read.question, read.references) == (QUESTION, ["African hunting dog", "wild dog"])
    assert read.answer == ["an African\nhunting dog"] and asked.media == ()
    assert model.settings == [
        {"max_new_tokens": 256, "temperature": 0.0, "top_p": 1.0, "seed": 0, "batch_size": None}
    ]


READ = [
    (CORRECT, True),
    (INCORRECT, False),
    (f"  \n{CORRECT}\n", True),
    (f"```json\n{CORRECT}\n```", True),
    (f"```\n{INCORRECT}\n```\n", False),
    (f'<think>It says "verdict": "incorrect" here.</think>\n{CORRECT}', True),
    ('{"verdict": "correct", "reason": ""}', True),
]
UNREAD = [
    "",
    "correct",
    "Verdict: correct",
    "null",
    '"correct"',
    f"[{CORRECT}]",
    f"{CORRECT} {CORRECT}",
    f"{CORRECT}\n{INCORRECT}",
    f"The verdict is {CORRECT}",
    f"{INCORRECT} because it is a dog",
    f"<think>{CORRECT}",
    f"{CORRECT}</think>",
    '{"verdict": "correct"}',
    '{"reason": "x", "verdict": "correct", "score": 1}',
    '{"reason": "x", "verdict": "Correct"}',
    '{"reason": "x", "verdict": "correct or incorrect"}',
    '{"reason": "x", "verdict": true}',
    '{"reason": "x", "verdict": ["correct"]}',
    '{"reason": null, "verdict": "correct"}',
    '{"reason": "x", "verdict": "incorrect", "verdict": "correct"}',
    '{"reason": "x", "verdict": "correct"',
    "{'reason': 'x', 'verdict': 'correct'}",
    "[" * 100_000,
    "1" * 10_000,
]


@pytest.mark.parametrize("reply, correct", READ)
def test_one_object_is_a_verdict(reply, correct):
    assert read_verdict(reply).correct is correct
    (score,) = judged(judge_of(reply), case())
    assert (score.value, score.status, score.answer) == (float(correct), "ok", "a cat")
    assert score.explanation.startswith("correct: " if correct else "incorrect: ") and score.tags == ()


@pytest.mark.parametrize("reply", UNREAD)
def test_anything_else_is_none_after_one_repair(reply):
    model = judge_of(reply)
    (score,) = judged(model, case())
    assert math.isnan(score.value) and (score.status, score.tags) == ("judge_failed", ("repaired",))
    assert len(model.asked) == 2 and len(score.explanation) < 900
    assert score.explanation.startswith("no verdict: it") and "asked again: it" in score.explanation
    assert len(score.explanation.splitlines()) == 1


def test_a_repaired_reply_counts():
    model = judge_of(lambda sample, seed: INCORRECT if "LAST REPLY" in sample.prompt else "I say: </s> no")
    scores = judged(model, case(), case("a dog", at=1))
    assert [(score.value, score.tags) for score in scores] == [(0.0, ("repaired",))] * 2
    repair = next(sample.prompt for sample in model.asked if "LAST REPLY" in sample.prompt)
    assert 'LAST REPLY ["I say: \\u003c/s\\u003e no"]' in repair and "not one JSON object" in repair
    assert repair.startswith(
        next(sample.prompt for sample in model.asked if "LAST REPLY" not in sample.prompt)[:500]
    )


def test_a_reply_cut_off_says_so():
    (score,) = judged(judge_of(lambda sample, seed: Output('{"reason": "because', stop="length")), case())
    assert "greatest length" in score.explanation


@pytest.mark.parametrize("reply", [None, Output("", error="HTTP 500")])
def test_no_reply_is_not_repaired_and_may_be_asked_again(reply):
    model = judge_of(lambda sample, seed: reply)
    judge = VerdictJudge(model)
    (score,) = judge(*[[part] for part in case()])
    assert (score.status, score.tags) == ("judge_failed", ("no_reply",)) and len(model.asked) == 1
    assert "no reply: " in score.explanation
    model.reply = lambda sample, seed: CORRECT
    (score,) = judge(*[[part] for part in case()])
    assert score.value == 1


def test_equal_cases_are_asked_once_and_others_apart():
    model = judge_of(careful)
    judge = VerdictJudge(model)
    rows = [case("a cat"), case(" a cat\n", at=1), case("a cat", "dog", at=2), case("a dog", "dog", at=3)]
    samples, outputs = zip(*rows)
    assert [score.value for score in judge(samples, outputs)] == [1, 1, 0, 1]
    assert len(model.asked) == 3 and len({sample.id for sample in model.asked}) == 3
    judge(samples, outputs)
    assert len(model.asked) == 3
    judge([Sample("x", "Another question?", target=("cat",))], [Output("a cat")])
    assert len(model.asked) == 4


def test_empty_answers_and_failed_outputs_are_not_asked():
    model = judge_of(CORRECT)
    samples = [case(at=at)[0] for at in range(3)]
    scores = VerdictJudge(model)(samples, [Output(" \n"), Output("", error="broken"), Output("")])
    assert [(score.value, score.status) for score in scores[::2]] == [(0.0, "unparsed")] * 2
    assert scores[1].status == "error" and model.asked == []


def voting(*verdicts):
    """Replies that depend on the repeat, by its seed."""
    replies = {"c": CORRECT, "i": INCORRECT, "?": "nonsense", "-": None}
    return judge_of(lambda sample, seed: replies[verdicts[seed]])


@pytest.mark.parametrize(
    "votes, value, tags",
    [
        ("ccc", 1, {"votes:3/0/0"}),
        ("cic", 1, {"votes:2/1/0", "split"}),
        ("iic", 0, {"votes:1/2/0", "split"}),
        ("c?c", 1, {"votes:2/0/1", "repaired"}),
        ("ci?", None, {"votes:1/1/1", "split", "repaired"}),
        ("c??", None, {"votes:1/0/2", "repaired"}),
        ("ci", None, {"votes:1/1/0", "split"}),
        ("cc-", 1, {"votes:2/0/1"}),
        ("ci-", None, {"votes:1/1/1", "split", "no_reply"}),
    ],
)
def test_a_majority_of_all_repeats_or_none(votes, value, tags):
    model = voting(*votes)
    (score,) = judged(model, case(), repeats=len(votes), temperature=0.7)
    assert score.value == value if value is not None else math.isnan(score.value)
    assert score.status == ("ok" if value is not None else "judge_failed")
    assert set(score.tags) == tags
    if value is None:
        assert score.explanation.startswith("no majority: ")
    first = [sample for sample in model.asked if "LAST REPLY" not in sample.prompt]
    assert len(first) == len(votes) == len({shown(sample.prompt).mark for sample in first})


def test_repeats_need_sampling():
    with pytest.raises(KeepsightError, match="same thing 3 times; give a temperature"):
        VerdictJudge(judge_of(CORRECT), repeats=3)
    model = judge_of(CORRECT)
    judged(model, case(), repeats=3, temperature=0.5, seed=7)
    assert [settings["seed"] for settings in model.settings] == [7, 8, 9]
    for settings in ({"repeats": 0}, {"max_answer_chars": 2}):
        with pytest.raises(KeepsightError, match="cannot judge"):
            VerdictJudge(judge_of(CORRECT), **settings)


def test_a_long_answer_is_cut_openly():
    model = judge_of(careful)
    answer = "a cat " + "x" * 50_000 + " the end"
    (score,) = judged(model, case(answer), max_answer_chars=100)
    read = shown(model.asked[0].prompt)
    assert read.answer == [answer[:75], answer[-25:]]
    assert f"{len(answer) - 100} characters between its two strings are left out" in model.asked[0].prompt
    assert score.tags == ("cut",) and f"saw 100 of {len(answer)} characters" in score.explanation
    (score,) = judged(judge_of("nonsense"), case(answer), max_answer_chars=100)
    assert "cut" in score.tags and "saw 100 of" in score.explanation
    (score,) = judged(judge_of(careful), case("a cat"))
    assert "cut" not in score.tags and "characters" not in score.explanation


def test_every_attack_stays_inside_its_field():
    answers = [attack.answer.replace("{filler}", "x" * 5000) for attack in attack_suite()]
    model = judge_of(careful)
    judged(model, *(case(answer, at=at) for at, answer in enumerate(answers)))
    by_answer = {tuple(shown(sample.prompt).answer): sample.prompt for sample in model.asked}
    template = PROMPT.count("\n")
    for answer in answers:
        short = len(answer.strip()) <= 4000
        prompt = by_answer[(answer.strip(),) if short else (answer.strip()[:3000], answer.strip()[-1000:])]
        # The template's lines, two more of the rubric, one of the note: the answer brings none of its own.
        assert (
            prompt.count("\n") == template + 2 + (not short)
            and len(prompt.splitlines()) == prompt.count("\n") + 1
        )
        for token in ("</s>", "<|", "[INST]", "<image>", "<end_of_turn>", "```", "{{"):
            assert token not in prompt


def test_a_reason_is_one_short_line_that_can_be_written():
    reply = json.dumps({"reason": "half \ud800 a\ncharacter " + "x" * 999, "verdict": "correct"})
    (score,) = judged(judge_of(reply), case())
    assert len(score.explanation.splitlines()) == 1 and len(score.explanation) < 320
    score.explanation.encode()


def test_half_a_character_in_an_answer_can_be_judged():
    (score,) = judged(judge_of(careful), case("a cat \ud83d"))
    assert score.value == 1


class Server:
    """A model that takes a schema."""

    def __init__(self, digest="2" * 64, schema=None):
        self.name, self.digest, self.schema, self.plain = "server", digest, schema, judge_of(CORRECT)

    def with_schema(self, schema):
        return Server("3" * 64, schema)

    def generate(self, samples, **settings):
        return self.plain.generate(samples, **settings)


def test_a_model_that_takes_a_schema_is_held_to_it():
    server = Server()
    assert isinstance(server, TakesSchema) and not isinstance(judge_of(CORRECT), TakesSchema)
    judge = VerdictJudge(server)
    assert judge.model.schema == SCHEMA and judged(server, case())[0].value == 1
    free = judge_of(CORRECT)
    free.digest = server.digest
    assert judge.version != VerdictJudge(free).version


def test_settings_are_versioned():
    model, other = judge_of(CORRECT), judge_of(CORRECT)
    other.digest = "4" * 64
    made = [
        VerdictJudge(model),
        VerdictJudge(other),
        VerdictJudge(model, temperature=0.5),
        VerdictJudge(model, temperature=0.5, repeats=3),
        VerdictJudge(model, temperature=0.5, seed=1),
        VerdictJudge(model, max_new_tokens=64),
        VerdictJudge(model, max_answer_chars=100),
        VerdictJudge(model, rubric="- correct: always."),
    ]
    assert len({judge.version for judge in made}) == len(made)
    assert VerdictJudge(model, batch_size=3).version == made[0].version
    with pytest.raises(KeepsightError, match="no target"):
        VerdictJudge(model)([Sample("s", "p")], [Output("x")])


def test_a_rubric_of_ones_own_and_fields_in_texts_stay_text():
    model = judge_of(CORRECT)
    sample = Sample("s", "Is {answer} {mark}?", target=("{rubric}",))
    VerdictJudge(model, rubric="- correct: {mark} \\1 as I say.")([sample], [Output("{question}")])
    read = shown(model.asked[0].prompt)
    assert (read.question, read.references, read.answer) == (
        "Is {answer} {mark}?",
        ["{rubric}"],
        ["{question}"],
    )
    assert "- correct: {mark} \\1 as I say." in model.asked[0].prompt


def test_every_answer_has_a_mark_of_its_own():
    """Or a model that saw one prompt could close the field of the next."""
    model = judge_of(CORRECT)
    judged(model, case("a dog"), case("a cat", at=1), case("a dog", "wolf", at=2))
    marks = [shown(sample.prompt).mark for sample in model.asked]
    assert len(marks) == len(set(marks)) == 3
