"""A state comes back bit for bit; a half-written one and one of another run do not count."""

import pytest

from keepsight.ranks import Ranks
from keepsight.tune.state import StateDirectory
from keepsight.types import KeepsightError

pytestmark = pytest.mark.torch


def trained_a_little(seed, steps=3):
    import torch

    generator = torch.Generator().manual_seed(seed)
    trained = {name: torch.nn.Parameter(torch.randn(3, 2, generator=generator)) for name in ("a.b", "c")}
    optimizer = torch.optim.AdamW(trained.values(), lr=0.1)
    for _ in range(steps):
        sum((value**2).sum() for value in trained.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return trained, optimizer


def step(trained, optimizer):
    sum((value**3).sum() for value in trained.values()).backward()
    optimizer.step()


def test_weights_moments_and_a_methods_tensors_come_back(tmp_path):
    import torch

    states = StateDirectory(tmp_path / "state", "run")
    trained, optimizer = trained_a_little(0)
    states.save(7, trained, optimizer, {"fisher": torch.ones(2)})
    others, fresh = trained_a_little(1, steps=0)
    position, extra = states.load(others, fresh)
    assert position == 7 and extra["fisher"].equal(torch.ones(2))
    for pair in ((trained, optimizer), (others, fresh)):
        step(*pair)
    assert all(others[name].equal(trained[name]) for name in trained)


def test_only_the_newest_is_kept_and_leftovers_of_a_kill_are_ignored(tmp_path):
    states = StateDirectory(tmp_path / "state", "run")
    trained, optimizer = trained_a_little(0)
    (tmp_path / "state" / ".partial").mkdir(parents=True)
    (tmp_path / "state" / ".partial" / "state.safetensors").write_text("torn")
    assert states.load(trained, optimizer) == (0, {})
    states.save(3, trained, optimizer, {})
    states.save(12, trained, optimizer, {})
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-00000012"]
    assert len({file.stat().st_mode for file in (tmp_path / "state" / "step-00000012").iterdir()}) == 1
    assert states.load(trained, optimizer)[0] == 12
    states.clear()
    assert not (tmp_path / "state").exists()


def test_a_state_of_another_run_is_refused(tmp_path):
    trained, optimizer = trained_a_little(0)
    StateDirectory(tmp_path, "one").save(1, trained, optimizer, {})
    with pytest.raises(KeepsightError, match="belongs to a run with other settings"):
        StateDirectory(tmp_path, "two").load(trained, optimizer)
    with pytest.raises(KeepsightError, match="holds other trained tensors"):
        StateDirectory(tmp_path, "one").load({"c": trained["c"]}, optimizer)


def test_nothing_is_pickled(tmp_path):
    trained, optimizer = trained_a_little(0)
    StateDirectory(tmp_path, "run").save(1, trained, optimizer, {})
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".safetensors", ".json"}


def test_a_state_of_another_number_of_processes_is_refused(tmp_path):
    trained, optimizer = trained_a_little(0)
    StateDirectory(tmp_path, "run", Ranks(0, 2)).save(7, trained, optimizer, {})
    StateDirectory(tmp_path, "run", Ranks(1, 2)).save(9, trained, optimizer, {})  # only the first writes
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]
    with pytest.raises(KeepsightError, match="was saved by 2 processes and this run has 1"):
        StateDirectory(tmp_path, "run").load(trained, optimizer)
    assert StateDirectory(tmp_path, "run", Ranks(1, 2)).load(trained, optimizer)[0] == 7
