"""A stub server per test, and models that ask it without patience."""

from __future__ import annotations

import pytest

from keepsight.models import load
from keepsight.types import Sample
from tests.stub_server import StubServer

KEYS = ("KEEPSIGHT_API_KEY", "KEEPSIGHT_KEY_FILE", "OPENAI_API_KEY")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stub():
    with StubServer() as server:
        yield server


@pytest.fixture
def served(stub):
    """Makes a model of the stub; waits are short unless they are the point."""

    def make(**options):
        options = {"backoff": 0.005, "timeout": 60.0, **options}
        return load(f"api:stub@{stub.base_url}", **options)

    return make


def questions(n: int) -> list[Sample]:
    return [Sample(f"s{i}", f"question {i}") for i in range(n)]


def outputs(model, samples, **settings) -> list:
    """Outputs in sample order; fails when an index is missing or comes twice."""
    found = list(model.generate(samples, **settings))
    assert sorted(index for index, _ in found) == list(range(len(samples)))
    return [output for _, output in sorted(found, key=lambda pair: pair[0])]
