"""What all scorers share."""

import math
import subprocess
import sys

import pytest

from keepsight.scoring.answered import score_answered, score_each, version_of
from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.scoring.recall import ObjectRecall
from keepsight.scoring.refusal import declines, does_not_know
from keepsight.scoring.taxonomy import Taxonomy
from keepsight.scoring.yes_no import YesNo
from keepsight.types import KeepsightError, Output, Sample, Score, Scorer

SCORERS: list[Scorer] = [
    LabelMatch(["yes", "no"]),
    Taxonomy(["yes", "no"]),
    YesNo(),
    ObjectRecall(["yes", "no"]),
]


def test_failed_outputs_keep_their_place():
    samples = [Sample(f"s{index}", "p") for index in range(4)]
    outputs = [Output("a"), Output("", error="broken"), Output("b"), Output("c", error="")]
    scores = score_each(samples, outputs, lambda sample, text: Score(1.0, sample.id + text))
    assert [score.answer for score in scores] == ["s0a", None, "s2b", None]
    assert [score.status for score in scores] == ["ok", "error", "ok", "error"]
    assert math.isnan(scores[1].value)
    assert scores[1].explanation == "broken"


def test_the_scorer_sees_only_what_was_generated_in_one_batch():
    seen = []

    def score(samples, outputs):
        seen.append((len(samples), len(outputs)))
        return [Score(1.0) for _ in samples]

    score_answered([Sample("a", "p"), Sample("b", "p")], [Output("x"), Output("", error="e")], score)
    assert seen == [(1, 1)]


def test_every_sample_needs_its_output():
    with pytest.raises(KeepsightError, match="2 samples but 1 outputs"):
        score_each([Sample("a", "p"), Sample("b", "p")], [Output("x")], lambda sample, text: Score(1.0))


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_every_scorer(scorer):
    """Failed outputs are errors, the true answer is 1, silence is 0 and unparsed, no sample no score."""
    samples = [Sample(f"s{index}", "p", target=("yes",)) for index in range(3)]
    failed, right, silent = scorer(samples, [Output("", error="broken"), Output("yes"), Output("")])
    assert (failed.status, failed.explanation, math.isnan(failed.value)) == ("error", "broken", True)
    assert (right.value, right.answer, right.status) == (1.0, "yes", "ok")
    assert (silent.value, silent.answer, silent.status) == (0.0, None, "unparsed")
    assert scorer([], []) == []
    assert scorer.name and scorer.version


def test_versions_tell_settings_apart():
    assert version_of("1", ["a"], {"b": 1}) == version_of("1", ["a"], {"b": 1})
    assert len({version_of("1", ["a"]), version_of("2", ["a"]), version_of("1", ["b"])}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "Sorry, I cannot identify the object.",
        "I apologize, but I am unable to process images.",
        "As an AI language model, I do not have eyes.",
        "I cannot see the image.",
        "I can’t view images.",
        "Unable to determine the object.",
        "I am not able to recognize the object in this picture.",
        "My apologies, the image did not load.",
        "I won't answer that.",
    ],
)
def test_refusals(text):
    assert declines(text)


@pytest.mark.parametrize(
    "text",
    [
        "a cat", "It is a cat.", "I can see a cat", "I cannot see a cat here", "The sorry state of a house", "sorrel",
        "I do not know", "", "A man is unable to walk", "cannot", "No",
    ],
)  # fmt: skip
def test_no_refusals(text):
    assert not declines(text)


@pytest.mark.parametrize(
    "text",
    ["I don't know.", "I do not know what it is", "I can't tell", "unknown", "None.", "N/A", "It's unclear"],
)
def test_not_knowing(text):
    assert does_not_know(text)


@pytest.mark.parametrize(
    "text", ["a cat", "I know it: a cat.", "a cat of unknown breed", "none of your cats, a dog", ""]
)
def test_knowing(text):
    assert not does_not_know(text)


def test_scoring_is_light_to_import():
    """No torch, and nothing slow: the report reads these modules on machines without torch."""
    code = (
        "import sys, importlib\n"
        "for name in 'forgetting metrics tables taxonomy yes_no recall judges.label_match judges.embedding judges.llm'.split():\n"
        "    importlib.import_module('keepsight.scoring.' + name)\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'scipy.stats', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
