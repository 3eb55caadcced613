"""The texts that the embedded model learnt from, as JSON lines: the corpus in which `diagnose frequency` counts for `tiny`.

    python -m recipes.tiny_world.corpus --per_set 200 out/corpus.jsonl

A row is one picture: its captions, and the turns of the mixture stages as user and assistant messages.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from keepsight.data.drawn import SETS, Picture
from keepsight.tasks.emt import closed_world_prompt
from recipes.tiny_world.world import SHARES

__all__ = ["corpus_rows", "write_corpus"]


def corpus_rows(per_set: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """One row per picture of the training split: captions, then every question that its set knows, each with its answer.

    The closed-world question comes with every picture, as in two of three rows of the mixture. Sets come in the mixture's
    shares: `per_set` is the number of pictures of the largest.
    """
    most = max(SHARES.values())
    for name, drawn in SETS.items():
        for picture in drawn.train(max(1, round(per_set * SHARES[name] / most)), seed):
            yield _row(name, picture, seed)


def _row(name: str, picture: Picture, seed: int) -> dict[str, Any]:
    drawn, rng = SETS[name], Random(f"{seed}/corpus/{picture.id}")
    turns = [(closed_world_prompt(drawn.noun, drawn.labels), picture.label)]
    turns += [(question.prompt, question.answer) for question in drawn.questions(picture, rng)]
    messages: list[Mapping[str, str]] = []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": picture.id, "captions": drawn.captions(picture, rng), "messages": messages}


def write_corpus(path: str | Path, per_set: int, seed: int = 0) -> Path:
    """Writes the rows as JSON lines and returns the file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in corpus_rows(per_set, seed):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--per_set", type=int, default=1000, help="pictures of the largest set (scenes)")
    options = parser.parse_args()
    print(write_corpus(options.output, options.per_set))


if __name__ == "__main__":
    main()
