"""What there is by name: tasks, sets, models, methods, envs, judges, questions, sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keepsight.judging import JUDGES

__all__ = ["SHELVES"]


def _tasks() -> list[tuple[str, str]]:
    from keepsight import tasks

    return [(info.name, info.description) for info in tasks.available()]


def _sets() -> list[tuple[str, str]]:
    from keepsight.data.drawn import ALL_SETS
    from keepsight.data.published import PUBLISHED

    drawn = [(name, f"{len(each.labels)} labels, comes with the package") for name, each in ALL_SETS.items()]
    return [*drawn, *((name, f"{about.title}, from your own copy") for name, about in PUBLISHED.items())]


def _models() -> list[tuple[str, str]]:
    return [
        ("tiny", "a small LLaVA that comes with the package"),
        ("hf:PATH-OR-HUB-ID", "any Hugging Face image-text-to-text model; a directory alone will do"),
        ("BASE+adapter:DIR", "a checkpoint on its base; repeatable"),
        ("api:MODEL@BASE_URL", "a model behind an OpenAI-compatible server"),
        ("routed:DIR", "experts of one base, each question to the nearest; made by tune --method routed"),
        ("replay:FILE", "canned answers, JSON lines of {id, text}"),
    ]


def _methods() -> list[tuple[str, str]]:
    """What `keepsight tune --method` takes: a part of the model, a continual method, or PART+METHOD."""
    import inspect

    from keepsight.tune.config import TRAINED_PARTS
    from keepsight.tune.methods import METHODS

    continual = [
        (name, (inspect.getdoc(method) or "").partition("\n")[0]) for name, method in METHODS.items()
    ]
    return [*TRAINED_PARTS.items(), *continual]


def _sequences() -> list[tuple[str, str]]:
    """What `keepsight tune --sequence` takes besides a YAML file."""
    from keepsight.sequencing import SEQUENCES

    return [(name, ", ".join(tasks)) for name, tasks in SEQUENCES.items()]


def _envs() -> list[tuple[str, str]]:
    """What `env:NAME` names."""
    from keepsight.tasks.environments import environments

    return environments()


def _questions() -> list[tuple[str, str]]:
    """What `keepsight diagnose --questions` takes."""
    from keepsight.diagnose.about import question_titles

    return list(question_titles().items())


# shelf -> the function that gives (name, description) of everything on it
SHELVES: Mapping[str, Callable[[], list[tuple[str, str]]]] = {
    "tasks": _tasks,
    "sets": _sets,
    "models": _models,
    "methods": _methods,
    "envs": _envs,
    "judges": lambda: list(JUDGES.items()),
    "questions": _questions,
    "sequences": _sequences,
}
