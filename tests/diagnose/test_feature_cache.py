"""Features are asked once per model, content and place; any change of either asks again."""

import numpy as np
import pytest

from keepsight.diagnose import feature_cache
from keepsight.diagnose.feature_cache import FeatureCache
from keepsight.types import KeepsightError


class Asked:
    """Gives a vector that says what it is of, in another order than asked; notes every question."""

    def __init__(self, requests):
        self.requests, self.log, self.broken_at = requests, [], None

    def __call__(self, rows, places):
        for row in reversed(rows):
            if self.requests[row] == self.broken_at:
                raise KeepsightError("killed")
            self.log.append((self.requests[row], tuple(places)))
            yield row, np.array([vector(self.requests[row], place) for place in places])


def vector(request, place):
    return [float(ord(request[0])), float(len(place)), 0.5]


def read(cache, requests, places, asked=None):
    asked = asked or Asked(requests)
    found = cache.read(requests, places, asked)
    assert found.dtype == np.float32
    assert found.tolist() == [[vector(request, place) for place in places] for request in requests]
    return asked.log


def test_nothing_is_asked_twice(tmp_path):
    requests = ["a", "b", "a", "c"]
    assert len(read(FeatureCache(tmp_path, "m"), requests, ["x", "long"])) == 3, "equal content is asked once"
    assert read(FeatureCache(tmp_path, "m"), requests[::-1], ["long"]) == []


def test_what_is_new_is_asked_alone(tmp_path):
    read(FeatureCache(tmp_path, "m"), ["a", "b"], ["x"])
    assert read(FeatureCache(tmp_path, "m"), ["a", "z"], ["x"]) == [("z", ("x",))]
    assert read(FeatureCache(tmp_path, "m"), ["a"], ["x", "long"]) == [("a", ("long",))]
    assert len(read(FeatureCache(tmp_path, "other model"), ["a"], ["x"])) == 1


def test_a_killed_run_keeps_its_finished_stretches(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "_AT_ONCE", 2)
    requests = list("abcde")
    asked = Asked(requests)
    asked.broken_at = "c"
    with pytest.raises(KeepsightError, match="killed"):
        FeatureCache(tmp_path, "m").read(requests, ["x"], asked)
    assert sorted(r for r, _ in read(FeatureCache(tmp_path, "m"), requests, ["x"])) == ["c", "d", "e"]


def test_progress_counts_what_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "_AT_ONCE", 2)
    told = []
    requests = list("abc")
    FeatureCache(tmp_path, "m").read(requests, ["x"], Asked(requests), lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_named(tmp_path, damage):
    read(FeatureCache(tmp_path, "m"), ["a"], ["x"])
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    with pytest.raises(KeepsightError, match=rf"{path.name} is damaged .*; remove it"):
        FeatureCache(tmp_path, "m").read(["a"], ["x"], Asked(["a"]))
