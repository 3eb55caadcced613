"""The embedded model's corpus: what it read, as rows in which classes can be counted."""

import json

from keepsight.data.drawn import SETS, UNTAUGHT
from keepsight.diagnose.frequency import count_mentions
from recipes.tiny_world.corpus import write_corpus


def test_the_corpus_names_the_untaught_things_in_scenes_alone(tmp_path):
    path = write_corpus(tmp_path / "corpus.jsonl", 30)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["id"].split("/")[0] for row in rows} == set(SETS)
    things = UNTAUGHT["things"].labels
    counted = count_mentions(path, [*things, "circle", "stripes"], answers_only=True)
    assert counted.n_documents == len(rows) and counted.n_bad == 0
    assert min(counted.sentences[thing] for thing in things) >= 5
    said = count_mentions(path, things)
    assert all(said.sentences[thing] > counted.sentences[thing] for thing in things), (
        "questions name them too"
    )
    assert write_corpus(tmp_path / "again.jsonl", 30).read_bytes() == path.read_bytes()
