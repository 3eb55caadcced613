"""One random base per test session, and a handful of samples to tune it on."""

import pytest

from keepsight.data.drawn import SETS
from keepsight.data.llava import instruction_samples
from tests.tiny_llava import make_tiny_llava


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return make_tiny_llava(tmp_path_factory.mktemp("base"), hidden=16)


@pytest.fixture(scope="session")
def samples():
    return instruction_samples(SETS["shapes"], n=13)


@pytest.fixture
def model(base):
    from keepsight.models import load

    return load(str(base), device="cpu")
