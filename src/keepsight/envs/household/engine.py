"""The engine of ALFWorld: the package's own PDDL domain and grammar, Fast Downward's states, TextWorld's wording.

`Engine` answers as TextWorld's `PddlEnv` under ALFWorld's `AlfredDemangler` does, which a test compares word by word. It
differs in what it leaves out: a game is translated once and kept (`PddlEnv` does it three times for each reset), no plan
is searched, and commands are written from their templates instead of being derived from the grammar one by one.

TextWorld evaluates what stands in braces in a grammar. Only the grammar that ships with ALFWorld is ever given to it; of
a game file nothing but the PDDL problem is read.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keepsight.envs.household.facts import Fact
from keepsight.errors import KeepsightError

__all__ = ["Engine", "need_packages", "package_texts"]

_LONGEST_NAME = re.compile(r"\S{150}")  # the engine's names of operators have room for 1,023 characters
_GO = "gotolocation"
_FREE: list[Any] = []  # libraries whose engines are gone; to unload one is not safe


def need_packages() -> None:
    """Imports what the engine stands on. Raises KeepsightError where it is missing."""
    try:
        _package()
    except ImportError as error:
        raise KeepsightError(
            f"ALFWorld needs packages that are missing ({error}); pip install 'keepsight[text-env]'"
        ) from error


class Engine:
    """One game being played. `load` begins it."""

    def __init__(self) -> None:
        need_packages()
        self._library = _library_of_its_own()
        weakref.finalize(self, _FREE.append, self._library)

    def load(self, problem: str) -> str:
        """Begins a game and says what the player sees first.

        Args:
            problem: in PDDL, of the domain "alfred".

        Raises:
            KeepsightError: the engine cannot read it.
        """
        from textworld.envs.pddl.logic import Atom
        from textworld.logic import State

        self._game = _translated(problem)
        self._library.load_sas(self._game.sas)
        atoms = (Atom * self._library.get_state_size())()
        self._library.get_state(atoms)
        there = [fact for fact in (atom.get_fact(self._game.types) for atom in atoms) if not fact.is_negation]
        self._state = State(self._game.logic, [*self._game.first, *there])
        self._look_around()
        return self._worded("#look.feedback#", {}, {})

    @property
    def commands(self) -> tuple[str, ...]:
        """The admissible commands, sorted; never empty."""
        return tuple(sorted(self._operators))

    def do(self, command: str) -> str:
        """Does an admissible command and says what came of it. Raises KeyError for another."""
        from textworld.logic import Placeholder, Variable

        operator = self._operators[command]
        verb, *arguments = operator.name.split()
        parameters = self._game.parameters[verb]
        self._apply(operator)
        mapping = {Placeholder(p, t): Variable(a, t) for (p, t), a in zip(parameters, arguments)}
        entities = {p: self._game.entities[a] for (p, _), a in zip(parameters, arguments)}
        self._look_around()
        return self._worded(_logic().actions[verb].feedback_rule, entities, mapping)

    @property
    def won(self) -> bool:
        """Whether the goal holds now."""
        return bool(self._library.check_goal())

    def facts(self) -> list[Fact]:
        """What is true now, in the player's names."""
        called = self._game.names
        positive = (fact for fact in self._state.facts if not fact.name.startswith(("not_", "new-axiom@")))
        return [(fact.name, *(called[each.name] for each in fact.arguments)) for fact in positive]

    def _apply(self, operator: Any) -> None:
        from textworld.envs.pddl.logic import Atom

        effects = (Atom * operator.nb_effect_atoms)()
        self._library.apply_operator(operator.id, effects)
        for effect in effects:
            fact = effect.get_fact(self._game.types)
            self._state.remove_fact(fact.negate())
            self._state.add_fact(fact)

    def _look_around(self) -> None:
        from fast_downward import Operator

        operators = (Operator * self._library.get_applicable_operators_count())()
        self._library.get_applicable_operators(operators)
        self._operators: dict[str, Any] = {}
        for operator in operators:
            self._operators.setdefault(self._game.command(operator.name), operator)

    def _worded(self, rule: str, entities: Mapping[str, Any], mapping: Mapping[Any, Any]) -> str:
        context = {
            "state": self._state,
            "facts": (),
            "variables": dict(entities),
            "mapping": dict(mapping),
            "entity_infos": self._game.entities,
        }
        return str(_logic().grammar.derive(rule, context)).strip()


@dataclass(frozen=True)
class _Entity:
    """What TextWorld's grammar asks of an EntityInfo. The grammar copies it for every rule; one of these is not copied."""

    id: str
    name: str
    definite: str = "the"
    indefinite: str = "a"

    def __deepcopy__(self, memo: dict[int, Any]) -> _Entity:
        return self


@dataclass(frozen=True)
class _Game:
    """A problem as the engine wants it."""

    sas: bytes
    logic: Any  # TextWorld's, with the types
    first: tuple[Any, ...]  # facts that hold at first, those that never change among them
    types: Mapping[str, str]  # id -> type
    parameters: Mapping[str, tuple[tuple[str, str], ...]]  # action -> (parameter, type)
    entities: Mapping[str, _Entity]  # id -> what a grammar may say of it
    names: Mapping[str, str]  # id -> the player's name
    commands: dict[str, str]  # operator -> command, filled as they are met

    def command(self, operator: str) -> str:
        """What a player writes for an operator."""
        if operator not in self.commands:
            verb, *arguments = operator.split()
            template = "go to {r}" if verb == _GO else _logic().actions[verb].template
            names = {p: self.names[a] for (p, _), a in zip(self.parameters[verb], arguments)}
            self.commands[operator] = template.format(**names)
        return self.commands[operator]


def _library_of_its_own() -> Any:
    """Fast Downward's library, which keeps one state: no two engines may share one."""
    import fast_downward

    try:
        return _FREE.pop()
    except IndexError:
        return fast_downward.load_lib()


@lru_cache(maxsize=1)
def _package() -> Any:
    """The package. It makes the folder of its data on import, by default in the user's cache; one that is there is kept."""
    os.environ.setdefault("ALFWORLD_DATA", tempfile.gettempdir())
    import alfworld
    import textworld.envs.pddl.pddl

    if textworld.envs.pddl.pddl.fast_downward_missing:
        raise ImportError("No module named 'fast_downward'")
    return alfworld


@lru_cache(maxsize=1)
def package_texts() -> tuple[str, str]:
    """ALFWorld's PDDL domain and TextWorld grammar, as they ship."""
    package = _package()
    domain, grammar = (
        Path(each).read_text("utf-8") for each in (package.ALFRED_PDDL_PATH, package.ALFRED_TWL2_PATH)
    )
    return domain, grammar


@lru_cache(maxsize=1)
def _logic() -> Any:
    from textworld.envs.pddl.logic import GameLogic

    domain, grammar = package_texts()
    return GameLogic(domain=domain, grammar=grammar)


@lru_cache(maxsize=128)
def _translated(problem: str) -> _Game:
    import fast_downward

    if _LONGEST_NAME.search(problem):
        raise KeepsightError("the game has a name of 150 characters or more; give another game")
    try:
        with _arguments_kept():
            task, sas = fast_downward.pddl2sas(package_texts()[0], problem)
    except (Exception, SystemExit) as error:  # the translator is a program: it may end by exit
        raise KeepsightError(f"the game's PDDL cannot be read ({error!r}); give another game") from error
    types = {each.name: each.type_name for each in task.objects}
    names, entities = _called(types)
    return _Game(
        sas=sas.encode(),
        logic=_typed(task.types),
        first=tuple(_first_facts(task.init, types)),
        types=types,
        parameters={
            a.name: tuple((p.name.strip("?"), p.type_name) for p in a.parameters) for a in task.actions
        },
        entities=entities,
        names=names,
        commands={},
    )


@contextmanager
def _arguments_kept() -> Iterator[None]:
    """The translator writes its own `sys.argv`."""
    kept = sys.argv
    try:
        yield
    finally:
        sys.argv = kept


def _typed(types: Any) -> Any:
    from textworld.logic import GameLogic, Type

    logic = GameLogic()
    for name, each in {
        each.name: each for each in reversed(types)
    }.items():  # "object" is there twice; the first counts
        logic.types.add(Type(name, each.supertype_names))
    return logic


def _first_facts(init: Any, types: Mapping[str, str]) -> Iterator[Any]:
    """The problem's facts; not its numbers, and not that a thing equals itself."""
    from textworld.logic import Proposition, Variable

    for atom in init:
        if getattr(atom, "predicate", "=") != "=":
            yield Proposition(atom.predicate, [Variable(each, types[each]) for each in atom.args])


def _called(types: Mapping[str, str]) -> tuple[dict[str, str], dict[str, _Entity]]:
    """The player's names and the grammar's entities of all ids."""
    from alfworld.agents.utils.misc import Demangler

    demangler = Demangler(game_infos={each: SimpleNamespace(id=each) for each in types})
    names = {each: demangler.demangle_alfred_name(each) for each in types}
    return {each: name.strip() for each, name in names.items()}, {
        each: _Entity(each, name) for each, name in names.items()
    }
