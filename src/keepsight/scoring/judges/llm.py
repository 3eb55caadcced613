"""The language-model judge: another model says whether the answer names the label.

Source: EMT appendix C.1 (prompt, temperature 0.2, max_tokens 64, top_p 1, gpt-3.5-turbo). The paper does not say how the
judge's words are read; here its first word must be yes or no, anything else is a failed judgement, counted as such.
The paper's prompt does not shield the judge from instructions inside an answer: use it to compare with published
numbers, and `VerdictJudge` (verdict.py) or the other judges to check it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from keepsight.scoring.answered import score_answered, version_of
from keepsight.scoring.judges.asking import Asking, Remembered, Replies, ask
from keepsight.scoring.judges.shield import cut
from keepsight.scoring.yes_no import first_word
from keepsight.types import VLM, KeepsightError, Output, Sample, Score, digest_of

__all__ = ["MAX_ANSWER_CHARS", "PROMPT", "LLMYesNo"]

# Appendix C.1 verbatim.
PROMPT = (
    "Please only answer the question in yes or no. "
    'Is the "Prediction" correctly predicting the right "Label"? Label: {label}; Prediction: {outputs}.'
)

# An answer of EMT's models has a sentence or two; beyond this a judge's context, and its price, would be the answer's.
MAX_ANSWER_CHARS = 4000
# Nothing came back, so asking again may help; nonsense that did come back is this judge's last word.
_NO_REPLY = ("no_reply",)


class LLMYesNo:
    """Value 1 if the judge says yes, 0 if no; anything else is "judge_failed" without a value (tag `no_reply` if
    the judge did not answer at all).

    Each distinct (answer, label) is asked once. An empty answer is not asked: it is "unparsed", value 0. Of an answer
    beyond `MAX_ANSWER_CHARS` the judge sees beginning and end; the score says so and has the tag `cut`.

    Args:
        model: any model that `models.load` gives; it is asked without a picture.
        prompt: with the fields `{label}` (the first target, underscores as blanks) and `{outputs}`.
        replies: what was asked before.
    """

    name = "llm"

    def __init__(
        self,
        model: VLM,
        *,
        prompt: str = PROMPT,
        temperature: float = 0.2,
        max_new_tokens: int = 64,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int | None = None,
        replies: Replies | None = None,
    ) -> None:
        if "{label}" not in prompt or "{outputs}" not in prompt:
            raise KeepsightError("a judge's prompt needs the fields {label} and {outputs}")
        self.model = model
        self.prompt = prompt
        self.asking = Asking(temperature, max_new_tokens, top_p, seed)
        self.batch_size = batch_size
        self.replies: Replies = Remembered() if replies is None else replies
        self.version = version_of("2", model.digest, prompt, temperature, max_new_tokens, top_p, seed)

    def __call__(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        """Scores each answer; see the class."""
        return score_answered(samples, outputs, self._score)

    def _score(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> list[Score]:
        pairs = [
            (output.text.strip(), _label(sample)) for sample, output in zip(samples, outputs, strict=True)
        ]
        asked = [pair for pair in dict.fromkeys(pairs) if pair[0]]
        questions = [_question(self.prompt, answer, label) for answer, label in asked]
        replies = ask(self.model, questions, self.asking, self.replies, self.batch_size)
        verdicts = {pair: _verdict(reply, pair[0]) for pair, reply in zip(asked, replies)}
        empty = Score(0.0, status="unparsed", explanation="empty answer")
        return [verdicts[pair] if pair[0] else empty for pair in pairs]


def _question(prompt: str, answer: str, label: str) -> Sample:
    """The judge's sample. Its id comes from its text, so that a sampled judge repeats itself on a resumed run."""
    fields = {"{label}": label, "{outputs}": " [...] ".join(cut(answer, MAX_ANSWER_CHARS)[0])}
    text = re.sub(r"\{label\}|\{outputs\}", lambda match: fields[match.group()], prompt)
    text = text.encode("utf-8", "backslashreplace").decode()  # half a character has no digest
    return Sample(f"judge-{digest_of(text)[:16]}", text)


def _verdict(reply: Output, answer: str) -> Score:
    seen = f" (the judge saw {MAX_ANSWER_CHARS} of {len(answer)} characters)"
    gone = cut(answer, MAX_ANSWER_CHARS)[1] > 0
    tags = ("cut",) * gone
    if reply.error is not None:
        told = f"the judge failed: {reply.error}"
        return Score(float("nan"), status="judge_failed", explanation=told, tags=(*_NO_REPLY, *tags))
    told = f"the judge said: {reply.text.strip()}" + seen * gone
    word = first_word(reply.text)
    if word is None:
        return Score(float("nan"), status="judge_failed", explanation=told, tags=tags)
    return Score(float(word == "yes"), answer, explanation=told, tags=tags)


def _label(sample: Sample) -> str:
    if not sample.target:
        raise KeepsightError(f"sample {sample.id} has no target, so its answer cannot be judged")
    return sample.target[0].replace("_", " ")
