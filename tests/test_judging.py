"""Judges in an audit: asked once for all checkpoints, never again, never replaced by a rule, and seen to fail."""

import math
import re
import shutil

import pytest

import keepsight as ks
from keepsight import verbs
from keepsight.judging import JUDGES, Judges, most_requests
from keepsight.types import KeepsightError, Sample
from tests.fake_judge import CORRECT, careful, judge_of, shown
from tests.fake_vlm import FakeVLM

LABELS = ("cat", "dog")


def task(n=12):
    from keepsight.inference import Generate
    from keepsight.scoring.judges.label_match import LabelMatch
    from keepsight.scoring.metrics import accuracy

    samples = [
        Sample(f"s{at:02}", "What is it?", target=(LABELS[at % 2],), choices=LABELS) for at in range(n)
    ]
    return ks.Task(
        "emt:pets", "1", lambda: samples, Generate(), LabelMatch(LABELS), (accuracy,), labels=LABELS
    )


def models():
    """Base and two checkpoints; the second says one thing, the third answers as the first."""
    said = {f"s{at:02}": f"a {LABELS[at % 2]}" for at in range(12)}
    return [
        FakeVLM("base", "w0", said),
        FakeVLM("e1", "w1", dict.fromkeys(said, "a dog")),
        FakeVLM("e2", "w2", said),
    ]


def audit(tmp_path, judge, judges=("label", "verdict"), rows=3, **settings):
    return verbs.audit(models()[:rows], [task()], tmp_path, judges=judges, llm_judge=judge, **settings)


def test_equal_answers_are_judged_once_for_all_checkpoints_and_never_again(tmp_path):
    judge = judge_of(careful)
    matrix = audit(tmp_path, judge)
    # cat/cat and dog/dog from base and e2, cat/dog from e1
    assert len(judge.asked) == 3
    scores = {row: [s.value for s in matrix[row, "emt:pets"].scores("verdict")] for row in matrix.rows}
    assert scores == {"base": [1.0] * 12, "e1": [0.0, 1.0] * 6, "e2": [1.0] * 12}
    audit(tmp_path, judge)
    assert len(judge.asked) == 3


@pytest.mark.parametrize("name", ["verdict", "llm"])
def test_new_checkpoints_and_lost_runs_cost_no_request_that_was_made(tmp_path, name):
    judge = judge_of((lambda sample, seed: "Yes") if name == "llm" else careful)
    audit(tmp_path, judge, [name], rows=1)
    assert len(judge.asked) == 2
    audit(tmp_path, judge, [name])
    assert len(judge.asked) == 3
    before = audit(tmp_path, judge, [name])
    shutil.rmtree(tmp_path / "runs")
    after = audit(tmp_path, judge, [name])
    assert len(judge.asked) == 3
    assert [after[cell].scores(name) for cell in after.runs] == [
        before[cell].scores(name) for cell in before.runs
    ]


def test_both_model_judges_share_a_model_and_not_a_reply(tmp_path):
    judge = judge_of(lambda sample, seed: careful(sample) if "QUESTION" in sample.prompt else "No.")
    matrix = audit(tmp_path, judge, ["llm", "verdict"])
    (record, *_) = matrix["base", "emt:pets"].records
    assert (record.scores["llm"].value, record.scores["verdict"].value) == (0, 1)


def test_a_failed_judge_is_counted_and_shown_and_never_a_rule(tmp_path):
    matrix = audit(tmp_path, judge_of("I cannot say."))
    run = matrix["e1", "emt:pets"]
    assert {(s.status, math.isnan(s.value)) for s in run.scores("verdict")} == {("judge_failed", True)}
    from keepsight.scoring.metrics import accuracy

    found = accuracy([record.sample for record in run.records], run.scores("verdict"))
    assert (found.n, found.total, found.not_ok) == (0, 12, {"judge_failed": 12}) and math.isnan(found.value)
    assert run.headline.n == 12  # the label match is its own figure, not the judge's
    page = (tmp_path / "forgetting.html").read_text()
    assert "12 without a verdict" in page

    from keepsight.console import judging_lines, summary_lines

    (line,) = judging_lines(list(matrix.runs.values()))
    assert line.startswith(
        "judge verdict gave no verdict on 36 of 36 answers, the first s00: no verdict: it is not"
    )
    assert line in summary_lines(matrix)


def test_part_of_the_verdicts_missing_is_part_of_the_answers(tmp_path):
    judge = judge_of(
        lambda sample, seed: None if "dog" in shown(sample.prompt).references else careful(sample)
    )
    run = audit(tmp_path, judge, rows=1)["base", "emt:pets"]
    statuses = [score.status for score in run.scores("verdict")]
    assert statuses == ["ok", "judge_failed"] * 6
    asked = len(judge.asked)
    judge.reply = careful
    run = audit(tmp_path, judge, rows=1)[
        "base", "emt:pets"
    ]  # what got no reply is asked again, and only that
    assert [score.value for score in run.scores("verdict")] == [1.0] * 12 and len(judge.asked) == asked + 1


def test_repeats_are_told(tmp_path):
    split = judge_of(
        lambda sample, seed: careful(sample) if seed < 2 or "cat" in sample.prompt[-400:] else CORRECT
    )
    matrix = audit(tmp_path, split, judge_args={"repeats": 3, "temperature": 0.7})
    from keepsight.console import repeat_lines

    (line,) = repeat_lines(list(matrix.runs.values()))
    assert re.match(r"judge verdict agrees with itself on \d", line) and line.endswith("n 36")
    assert "asked again it says the same in" in (tmp_path / "forgetting.html").read_text()
    assert [settings["seed"] for settings in split.settings[:3]] == [0, 1, 2]


def test_finished_runs_can_be_judged(tmp_path):
    matrix = verbs.audit(models(), [task()], tmp_path, judges=["label"])
    judge = judge_of(careful)
    runs = [run.path for run in matrix.runs.values()]
    scored = ks.rescore(runs, ["verdict"], llm_judge=judge)
    assert [sum(s.value for s in run.scores("verdict")) for run in scored] == [12, 6, 12]
    assert len(judge.asked) == 3


@pytest.mark.parametrize(
    "names, llm_judge, judge_args, told",
    [
        (["verdict"], None, {}, "the verdict judge needs a model to ask"),
        (["llm"], None, {}, "the llm judge needs a model to ask"),
        (["label", "opinion"], None, {}, "unknown judge 'opinion'"),
        (["label"], None, {"repeats": 3}, "judge_args are of verdict and general_knowledge"),
        (["llm"], "m", {"temperature": 0}, "judge_args are of verdict and general_knowledge"),
        (["verdict"], "m", {"rubric": "x"}, "judge_args has no 'rubric'; choose from repeats"),
        (["verdict"], "m", {"repeats": "three"}, "judge_args repeats='three' is no number that fits"),
        (["verdict"], "m", {"repeats": 1.5}, "is no number that fits"),
        (["verdict"], "m", {"repeats": True}, "is no number that fits"),
        (["verdict"], "m", {"repeats": 3}, "would ask the same thing 3 times"),
        (["label"], None, {"embedding.margin": 0.1}, "are the embedding judge's, which was not asked for"),
        (["embedding"], None, {"margin": 0.1}, "those of the embedding judge begin with embedding."),
        (["embedding"], None, {"embedding.lead": 0.1}, "no 'embedding.lead'; choose from embedding.margin"),
        (["embedding"], None, {"embedding.margin": "wide"}, "embedding.margin='wide' is not a distance"),
        (["embedding"], None, {"embedding.margin": -1}, "embedding.margin=-1 is not a distance"),
        (["embedding"], None, {"embedding.margin": True}, "is not a distance"),
        (["embedding"], None, {"embedding.normalise": 1}, "embedding.normalise=1 is not true or false"),
        (["embedding"], None, {"embedding.phrase": 5}, "embedding.phrase=5 is not a phrase"),
        (["embedding"], None, {"embedding.phrase": "a photo"}, "'a photo' does not contain {label}"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    tmp_path, names, llm_judge, judge_args, told
):
    judge = judge_of(CORRECT) if llm_judge else None
    with pytest.raises(KeepsightError, match=re.escape(told)):
        Judges(names, judge, "tiny", judge_args).of(task(), ks.Store(tmp_path))


def test_settings_of_two_judges_go_each_to_its_own(tmp_path):
    settings = {"max_new_tokens": 8, "embedding.margin": 0.2, "embedding.phrase": "{label}|a {label}"}
    judges = Judges(["embedding", "verdict"], judge_of(CORRECT), Letters(), settings)
    embedding, verdict = (judges.build(name, LABELS, ks.Store(tmp_path)) for name in ("embedding", "verdict"))
    assert (embedding.margin, embedding.phrases, embedding.normalise) == (0.2, ("{label}", "a {label}"), True)
    plain = Judges(["embedding", "verdict"], judge_of(CORRECT), Letters(), {"max_new_tokens": 8})
    assert plain.build("verdict", LABELS, ks.Store(tmp_path)).version == verdict.version
    assert plain.build("embedding", LABELS, ks.Store(tmp_path)).version != embedding.version


class Letters:
    """Embeds a text as its letter counts."""

    name, digest = "letters", "0" * 64

    def embed_texts(self, texts):
        return [[text.count(chr(97 + at)) for at in range(26)] for text in texts]


def test_an_audit_and_a_rescoring_can_be_told_to_abstain(tmp_path):
    settings = {"judges": ["label", "embedding"], "embedder": Letters()}
    model = FakeVLM("base", "w0", {f"s{at:02}": "cat dog" for at in range(12)})
    asked = verbs.audit(
        [model], [task()], tmp_path, report=False, judge_args={"embedding.margin": 0.2}, **settings
    )
    run = asked["base", "emt:pets"]
    assert {score.status for score in run.scores("embedding")} == {"unparsed"}
    (again,) = ks.rescore([run.path], ["embedding"], embedder=Letters())
    assert {score.status for score in again.scores("embedding")} == {"ok"}


def test_a_model_to_ask_adds_the_published_judge_unless_a_judge_that_asks_is_named():
    assert Judges(["label"], judge_of(CORRECT), "tiny").names == ("label", "llm")
    assert Judges(["label", "verdict"], judge_of(CORRECT), "tiny").names == ("label", "verdict")
    assert Judges([], judge_of(CORRECT), "tiny").names == ("llm",)
    assert Judges(["general_knowledge"], judge_of(CORRECT), "tiny").names == ("general_knowledge",)
    named = {"label", "embedding", "taxonomy", "llm", "verdict", "general_knowledge", "semantic"}
    assert set(JUDGES) == named


def test_the_most_that_may_be_asked(tmp_path):
    assert most_requests("llm", 36, {}) == 36
    babbling = judge_of("nonsense")
    settings = {"repeats": 2, "temperature": 0.5}
    distinct = 3
    audit(tmp_path, babbling, judge_args=settings)
    assert len(babbling.asked) == most_requests("verdict", distinct, settings) == 12


@pytest.mark.torch
def test_the_model_that_ships_can_be_either_judge(tmp_path):
    """`tiny` was taught the published question, and no JSON: as shielded judge it has no verdict, and says so."""
    matrix = verbs.audit(
        models()[:1],
        [task(2)],
        tmp_path,
        judges=["llm", "verdict"],
        llm_judge="tiny",
        report=False,
        judge_args={"max_new_tokens": 8},
    )
    scores = matrix["base", "emt:pets"].records[0].scores
    assert scores["llm"].explanation.startswith("the judge said: ")
    assert scores["verdict"].status == "judge_failed" and "repaired" in scores["verdict"].tags


def test_canned_replies_judge(tmp_path):
    """A replay answers by sample id; a judge's ids follow from its prompts."""
    asked = judge_of(careful)
    audit(tmp_path / "a", asked, rows=1)
    canned = ks.Replay({sample.id: CORRECT for sample in asked.asked})
    matrix = audit(tmp_path / "b", canned, rows=2)
    assert [s.value for s in matrix["base", "emt:pets"].scores("verdict")] == [1.0] * 12
    other = matrix["e1", "emt:pets"].records[0].scores["verdict"]
    assert (other.status, other.tags) == (
        "judge_failed",
        ("no_reply",),
    ) and "no answer for sample judge-" in other.explanation


# ---- judges of any task ----


def counted(n=6):
    """A task that is scored otherwise than by labels."""
    from keepsight.inference import Generate
    from keepsight.scoring.metrics import accuracy
    from keepsight.scoring.same_text import SameText

    samples = [Sample(f"s{at:02}", f"How many are there? ({at})", target=("2",)) for at in range(n)]
    return ks.Task("counted", "1", lambda: samples, Generate(), SameText(), (accuracy,))


def test_judges_that_read_no_labels_score_any_task(tmp_path):
    said = {f"s{at:02}": "2" for at in range(6)}
    base, tuned = FakeVLM("base", "w0", said), FakeVLM("e1", "w1", said | {"s00": "two", "s01": "three"})
    rating = judge_of(lambda sample, seed: '{"score": 7}')
    names = ["label", "semantic", "general_knowledge"]
    matrix = verbs.audit([base, tuned], [counted()], tmp_path, judges=names, llm_judge=rating, report=False)
    run = matrix["e1", "counted"]
    assert list(run.manifest["scorers"]) == ["same_text", "semantic", "general_knowledge"]
    assert [score.value for score in run.scores()] == [0, 0, 1, 1, 1, 1]
    assert [score.value for score in run.scores("semantic")] == [1, 0, 1, 1, 1, 1]
    assert {score.value for score in run.scores("general_knowledge")} == {0.7}
    assert (
        len(rating.asked) == 8
    )  # a sample's question is its own; both models' equal answers are one request

    from keepsight.console import comparison_lines

    told = comparison_lines(verbs.compare(matrix["base", "counted"], run))
    (line,) = [line for line in told if isinstance(line, str) and line.startswith("of all by semantic")]
    assert re.search(r"n 6: lost 33\.3 % .*, format 16\.7 % .*, knowledge 16\.7 % .*, unclear 0\.0 % ", line)


def test_a_task_with_such_a_judge_of_its_own_gets_no_second_one(tmp_path):
    task = ks.tasks.get("coin_drawn:counts", n=2)
    judged = Judges(["semantic", "label"], None, "tiny").of(task, ks.Store(tmp_path))
    assert [judge.name for judge in judged.judges] == ["semantic"]


def test_several_models_rate_and_one_gives_a_verdict(tmp_path):
    mild, strict = judge_of("9"), judge_of("5")
    strict.name, strict.digest = "strict", "2" * 64
    store = ks.Store(tmp_path)
    judge = Judges(["general_knowledge"], [mild, strict], "tiny").build("general_knowledge", LABELS, store)
    scores = judge([Sample("s", "q", target=("cat",))], [ks.Output("a cat")])
    assert scores[0].value == 0.7 and scores[0].tags == ("split", "ratings:9/5")

    from keepsight.console import repeat_lines
    from keepsight.types import Record, Run

    sample = Sample("s", "q", target=("cat",))
    run = Run({}, (Record(sample, ks.Output("a cat"), {"general_knowledge": scores[0]}),), ())
    assert repeat_lines([run]) == [
        "judge general_knowledge: the ratings of one answer lie 4.0 [4.0, 4.0] of 10 apart, n 1"
    ]
    with pytest.raises(KeepsightError, match="the verdict judge asks one model, and 2 were given"):
        Judges(["verdict"], [mild, strict], "tiny").build("verdict", LABELS, store)
    assert most_requests("general_knowledge", 10, {"repeats": 3}, models=2) == 60
