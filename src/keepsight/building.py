"""Questions on class pages, made and filtered by a language model: `keepsight build qa`.

Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415),
section 4.2 and Figures 6 and 7: five multiple-choice questions per page on "this object"; kept is what the model answers
with the class name and does not guess without it; then the letters are balanced and pictures drawn.

What differs from the paper:
1. A reply must be JSON of `data.wikiqa`'s kind, on "this object" and without the class name; one repair is asked for.
2. A filter's answer that is no letter drops the question and is counted; nothing is guessed.
3. Which is asked without the class name is only what was answered with it: the same result for fewer requests.
4. Every reply is kept as it comes. A killed build goes on where it was, and asks nothing twice.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import text_bytes
from keepsight.data.labelled import PictureSet, label_text
from keepsight.data.wikiqa import (
    LETTERS,
    WikiQuestion,
    letter_counts,
    named,
    rebalance,
    sample_images,
    write_wikiqa,
)
from keepsight.data.written import QUESTIONS_PER_PAGE, SCHEMA, read_questions
from keepsight.scoring.choice_letter import read_letter
from keepsight.scoring.judges.asking import Asking, Replies, ask
from keepsight.scoring.refusal import declines
from keepsight.store import JudgeReplies
from keepsight.store.files import replace_file
from keepsight.types import VLM, KeepsightError, Output, Sample, TakesSchema, digest_of

__all__ = [
    "FILTER_NAMED",
    "FILTER_UNNAMED",
    "GENERATE",
    "BuildPlan",
    "Built",
    "build_questions",
    "plan_questions",
    "read_pages",
]

# Figure 6, word for word, lines joined where the figure breaks them. The second bracket after 0 is theirs.
GENERATE = """\
Come up with five multiple-choice questions for a {classname} to examine the knowledge of an expert.
The questions should come from the following Wikipedia articles on {classname}:
```
{wikipedia page}
```
**Instruction**:
Each question should have four choices, one of which is the correct answer.
Note that the Wikipedia articles will not be accessible to the test-takers, so please do not reference specific details \
from the articles in the questions.
Use "this object" rather than "{classname}" in the questions. We want to give test-takers an image of this object, not \
the word itself.
Each question should have four fields: "question" (str), "choices" (list[str]), "answer" (int, starting from 0)), and \
"reference" (str, original sentences from Wikipedia articles).
Output in JSON format."""

# Figure 7, the two prompts word for word.
FILTER_NAMED = """\
Answer the multiple-choice question below.
{question}
A. {choice A}
B. {choice B}
C. {choice C}
D. {choice D}
Output only one character A/B/C/D."""
FILTER_UNNAMED = """\
Answer the multiple-choice question below.
{question}
A. {choice A}
B. {choice B}
C. {choice C}
D. {choice D}
The question mentions "this object". However, we don't know what the object is. Try your best to guess the answer \
without knowing the object.
Output only one character A/B/C/D."""

REPAIR = """\
{prompt}

Your last reply cannot be used: {fault}. Write all five questions again, as one JSON list and nothing else."""

_NEW_TOKENS = {"questions": 2048, "filter": 16}
_FILTER_CHARS = 450  # of a filter's prompt, for the estimate
_AT_ONCE = 32  # requests between two tellings of progress

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BuildPlan:
    """What a build would ask. The filters and repairs depend on the replies, so their number is the most there can be."""

    pages: int
    requests: int  # at least: one per page
    most_requests: int  # with every repair and both filters of every question
    prompt_characters: int  # of `most_requests`
    tokens: int | None = None  # of a served model: prompt and reply, at most
    cost: float | None = None  # None: no prices were given


@dataclass(frozen=True)
class Built:
    """Where the questions lie, and what became of everything that was made on the way (also in `report.json`)."""

    path: Path
    questions: tuple[WikiQuestion, ...]
    report: Mapping[str, Any]


@dataclass
class _Page:
    """One class: what came back for it."""

    classname: str
    text: str
    made: list[WikiQuestion] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    repaired: bool = False
    silent: bool = False


def read_pages(directory: str | Path) -> dict[str, str]:
    """Class name -> page, of a folder of text files: `guinea_pig.txt` is the page of "guinea pig".

    Raises:
        KeepsightError: no such folder, no `.txt` or `.md` file in it, or one that cannot be read.
    """
    directory = Path(directory).expanduser()
    files = sorted(path for path in directory.glob("*") if path.suffix in (".txt", ".md"))
    if not files:
        raise KeepsightError(f"{directory} holds no page; give a folder with one .txt file per class")
    pages: dict[str, str] = {}
    for path in files:
        try:
            pages[label_text(path.stem)] = text_bytes(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise KeepsightError(f"cannot read {path}: it is not UTF-8 (byte {error.start + 1})") from error
    return pages


def plan_questions(pages: Mapping[str, str], model: VLM, *, max_page_chars: int = 24_000) -> BuildPlan:
    """What `build_questions` would ask for these pages, if nothing of it was asked before. Asks nothing."""
    from keepsight.models import ServedModel

    first = [_prompt(name, page[:max_page_chars]) for name, page in pages.items()]
    filters = 2 * QUESTIONS_PER_PAGE * len(first)
    most = 2 * len(first) + filters
    characters = 2 * sum(map(len, first)) + filters * _FILTER_CHARS
    tokens = cost = None
    if isinstance(model, ServedModel):
        asked = model.estimate(
            [Sample("", prompt) for prompt in first * 2], max_new_tokens=_NEW_TOKENS["questions"]
        )
        short = [Sample("", "x" * _FILTER_CHARS)] * filters
        filtered = model.estimate(short, max_new_tokens=_NEW_TOKENS["filter"])
        tokens = asked.usage.total + filtered.usage.total
        cost = None if asked.cost is None or filtered.cost is None else asked.cost + filtered.cost
    return BuildPlan(len(first), len(first), most, characters, tokens, cost)


def build_questions(
    pages: Mapping[str, str],
    model: VLM,
    output_path: str | Path,
    *,
    pictures: PictureSet | None = None,
    seed: int = 0,
    max_page_chars: int = 24_000,
    batch_size: int | None = None,
    replies: Replies | None = None,
    progress: Progress | None = None,
) -> Built:
    """Makes questions on every page, keeps what passes both filters, and writes `questions.jsonl` and `report.json`.

    Args:
        pages: class name -> text about the class.
        model: asked without pictures; one that takes a schema is held to `SCHEMA` for the questions.
        output_path: where the files go, and every reply below `judge/`.
        pictures: a set with those classes, to draw at most three test pictures per question from.
        seed: of the letters' balance and of the pictures.
        max_page_chars: of a longer page the beginning is shown, and the report says so.
        replies: what was asked before (default: what lies below `output_path`).
        progress: called as `(what, done, total)`.

    Raises:
        KeepsightError: no pages; a class without a picture (before anything is asked); no question was made at all.
    """
    _require(pages, pictures)
    directory = Path(output_path).expanduser()
    builder = _Builder(model, seed, replies or JudgeReplies(directory), batch_size, progress or _silent)
    written = [_Page(name, text[:max_page_chars]) for name, text in pages.items()]
    builder.make(written)
    made = [question for page in written for question in page.made]
    if not made:
        raise KeepsightError(f"{model.name} made no question; {_first_fault(written)}; try another model")
    dropped = builder.filter(made)
    kept = rebalance([question for question in made if question.id not in dropped], seed)
    if pictures is not None:
        kept = sample_images(kept, pictures, seed=seed)
    report = _report(model, seed, pages, written, dropped, kept, max_page_chars)
    path = write_wikiqa(directory / "questions.jsonl", kept)
    replace_file(directory / "report.json", json.dumps(report, indent=2, ensure_ascii=False).encode())
    return Built(path, tuple(kept), report)


@dataclass
class _Builder:
    """Asks one model everything that a build asks."""

    model: VLM
    seed: int
    replies: Replies
    batch_size: int | None
    progress: Progress

    def make(self, pages: Sequence[_Page]) -> None:
        """Fills each page's questions and faults, with one repair where something was wrong."""
        model = self.model.with_schema(SCHEMA) if isinstance(self.model, TakesSchema) else self.model
        prompts = [_prompt(page.classname, page.text) for page in pages]
        for page, reply in zip(pages, self._asked(model, prompts, "questions", "making questions")):
            _take(page, reply)
        faulty = [at for at, page in enumerate(pages) if page.faults and not page.silent]
        repairs = [
            _filled(REPAIR, prompt=prompts[at], fault="; ".join(pages[at].faults[:3])) for at in faulty
        ]
        for at, reply in zip(faulty, self._asked(model, repairs, "questions", "repairing")):
            second = _Page(pages[at].classname, pages[at].text)
            _take(second, reply)
            pages[at].repaired = True
            if len(second.made) > len(pages[at].made):  # else the first reply was the better one
                pages[at].made, pages[at].faults = second.made, second.faults

    def filter(self, made: Sequence[WikiQuestion]) -> dict[str, str]:
        """Id -> why, of the questions that are dropped."""
        told = [_filled_question(FILTER_NAMED, question, named(question)) for question in made]
        dropped: dict[str, str] = {}
        for question, reply in zip(
            made, self._asked(self.model, told, "filter", "asking with the class name")
        ):
            letter, fault = _letter(question, reply)
            if letter != question.letter:
                dropped[question.id] = fault or "unanswerable"
        left = [question for question in made if question.id not in dropped]
        untold = [_filled_question(FILTER_UNNAMED, question, question.question) for question in left]
        for question, reply in zip(
            left, self._asked(self.model, untold, "filter", "asking without the class name")
        ):
            letter, fault = _letter(question, reply)
            if letter is None or letter == question.letter:
                dropped[question.id] = fault or "guessable"
        return dropped

    def _asked(self, model: VLM, prompts: Sequence[str], kind: str, what: str) -> list[Output]:
        asking = Asking(0.0, _NEW_TOKENS[kind], 1.0, self.seed)
        samples = [Sample(f"build-{digest_of(prompt)[:16]}", prompt) for prompt in prompts]
        replies: list[Output] = []
        for start in range(0, len(samples), _AT_ONCE):
            part = samples[start : start + _AT_ONCE]
            replies += ask(model, part, asking, self.replies, self.batch_size)
            self.progress(what, len(replies), len(samples))
        return replies


def _take(page: _Page, reply: Output) -> None:
    """Puts the usable questions of a reply on the page, and what is wrong with the others."""
    if reply.error is not None:
        page.silent = True
        page.faults.append(f"no reply: {reply.error}")
        return
    page.made, page.faults = read_questions(reply.text, page.classname)
    if page.faults and reply.stop == "length":
        page.faults[0] += ", and was cut off at its greatest length"


def _letter(question: WikiQuestion, reply: Output) -> tuple[str | None, str]:
    """The letter of a filter's reply, or None and why there is none."""
    if reply.error is not None:
        return None, "no reply"
    if declines(reply.text):
        return None, "unreadable"
    letter = read_letter(reply.text, question.choices).letter
    return letter, "" if letter else "unreadable"


def _prompt(classname: str, page: str) -> str:
    return _filled(GENERATE, **{"classname": classname, "wikipedia page": page})


def _filled_question(template: str, question: WikiQuestion, told: str) -> str:
    choices = {f"choice {letter}": text for letter, text in zip(LETTERS, question.choices, strict=True)}
    return _filled(template, question=told, **choices)


def _filled(template: str, **fields: str) -> str:
    """The template with `{name}` replaced in one pass: what is put in is not looked at again."""
    return re.sub("|".join(rf"\{{{name}\}}" for name in fields), lambda m: fields[m.group()[1:-1]], template)


def _require(pages: Mapping[str, str], pictures: PictureSet | None) -> None:
    if not pages:
        raise KeepsightError("no pages to make questions on; give class names with their texts")
    if empty := [name for name, text in pages.items() if not name.strip() or not text.strip()]:
        raise KeepsightError(
            f"page {empty[0]!r} is empty, or has no class name; write a text or leave it out"
        )
    if pictures is None:
        return
    known = {label_text(label).casefold() for label in pictures.labels}
    if absent := [name for name in pages if label_text(name).casefold() not in known]:
        raise KeepsightError(
            f"set {pictures.name} has no class {absent[0]!r} ({len(absent)} of {len(pages)} pages); name the pages as the set "
            "names its classes, or leave them out"
        )


def _first_fault(pages: Sequence[_Page]) -> str:
    return next(f"page {page.classname!r}: {page.faults[0]}" for page in pages if page.faults)


def _report(
    model: VLM,
    seed: int,
    pages: Mapping[str, str],
    written: Sequence[_Page],
    dropped: Mapping[str, str],
    kept: Sequence[WikiQuestion],
    max_page_chars: int,
) -> dict[str, Any]:
    """Counts that add up: made = kept + unanswerable + guessable + unreadable + no_reply."""
    made = [(question, page) for page in written for question in page.made]
    reasons = Counter(dropped.values())
    return {
        "model": model.name,
        "model_digest": model.digest,
        "seed": seed,
        "pages": len(written),
        "made": len(made),
        "invalid": sum(QUESTIONS_PER_PAGE - len(page.made) for page in written),
        "failed": [page.classname for page in written if not page.made],
        **{
            name: reasons[name.replace("_", " ")]
            for name in ("unanswerable", "guessable", "unreadable", "no_reply")
        },
        "kept": len(kept),
        "letters": letter_counts(kept),
        "repaired": sum(page.repaired for page in written),
        "faults": {page.classname: page.faults for page in written if page.faults},
        "dropped": dict(dropped),
        "reference_not_in_page": [q.id for q, page in made if not _stands_in(q.reference, page.text)],
        "pages_cut": [name for name, text in pages.items() if len(text) > max_page_chars],
    }


def _stands_in(reference: str, page: str) -> bool:
    words = " ".join(reference.casefold().split())
    return bool(words) and words in " ".join(page.casefold().split())


def _silent(what: str, done: int, total: int) -> None:
    return None
