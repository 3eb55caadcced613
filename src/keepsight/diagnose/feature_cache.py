"""Features kept by what they are of: a model asked the same of the same picture is not asked again.

The key is the model's digest, the digest of what it saw (prompt and picture bytes) and the place in the model. A file
holds what one stretch of asking gave and is never changed afterwards, so a killed run keeps its finished stretches.
Layout: `DIRECTORY/<model digest>/<digest of the content>.safetensors`, with `requests` and `places` in the header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from keepsight.store.files import replace_file
from keepsight.types import KeepsightError, digest_of

__all__ = ["Array", "Ask", "FeatureCache"]

_FORMAT = "1"  # another reading of layers or positions is another number
_AT_ONCE = 256  # vectors of so many requests go into one file

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# (indices of requests, places) -> (index, [p, d]) as they become ready
Ask = Callable[[Sequence[int], Sequence[str]], Iterable[tuple[int, Array]]]


class FeatureCache:
    """The features of one model on disk."""

    def __init__(self, directory: Path, model_digest: str) -> None:
        self._directory = directory / digest_of([_FORMAT, model_digest])[:32]

    def read(
        self,
        requests: Sequence[str],
        places: Sequence[str],
        ask: Ask,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Array:
        """float32 [n, p, d]: what is kept, and what `ask` gives of the rest, which is kept from now on.

        Args:
            requests: digests of what the model is shown, one per row; equal ones are asked once.
            places: names; all vectors of one call have one length.
            progress: called as (done, total) while the rest is asked.
        """
        known = self._kept(set(requests), set(places))
        rows = {request: row for row, request in reversed(list(enumerate(requests)))}
        absent = [row for r, row in rows.items() if any((r, place) not in known for place in places)]
        absent.sort()
        wanted = [place for place in places if any((requests[row], place) not in known for row in absent)]
        for start in range(0, len(absent), _AT_ONCE):
            part = absent[start : start + _AT_ONCE]
            found = {}
            for row, vectors in ask(part, wanted):
                found[row] = np.asarray(vectors, np.float32)
                progress(start + len(found), len(absent))
            self._keep([requests[row] for row in part], wanted, np.stack([found[row] for row in part]))
            known.update(
                ((requests[row], place), found[row][at]) for row in part for at, place in enumerate(wanted)
            )
        return np.stack([[known[request, place] for place in places] for request in requests])

    def _keep(self, requests: Sequence[str], places: Sequence[str], features: Array) -> None:
        from safetensors.numpy import save

        about = {"requests": json.dumps(list(requests)), "places": json.dumps(list(places))}
        data = save({"features": np.ascontiguousarray(features)}, metadata=about)
        replace_file(self._directory / f"{digest_of([list(requests), list(places)])}.safetensors", data)

    def _kept(self, requests: set[str], places: set[str]) -> dict[tuple[str, str], Array]:
        known: dict[tuple[str, str], Array] = {}
        for path in sorted(self._directory.glob("*.safetensors")):
            try:
                known.update(_wanted(path, requests, places))
            except Exception as error:  # a damaged file fails in many ways
                raise KeepsightError(f"{path} is damaged ({error}); remove it and run again") from error
        return known


def _wanted(path: Path, requests: set[str], places: set[str]) -> Iterator[tuple[tuple[str, str], Array]]:
    """What a file holds of these; its tensor is read only if it holds any."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
        rows = [(row, r) for row, r in enumerate(json.loads(about["requests"])) if r in requests]
        columns = [(at, place) for at, place in enumerate(json.loads(about["places"])) if place in places]
        if rows and columns:
            features = file.get_tensor("features")  # [n, p, d]
            yield from (((r, place), features[row, at]) for row, r in rows for at, place in columns)
