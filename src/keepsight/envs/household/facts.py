"""What is true in a room: the facts of the engine as a house, which stays, and a scene, which changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["TREATMENTS", "Fact", "House", "Scene", "read_house", "read_scene"]

Fact = tuple[str, ...]  # ("inreceptacle", "mug 1", "cabinet 2"): the predicate in lower case, then names
# The verb of a command -> (who can be treated so, what is true afterwards, the kind of receptacle that does it)
TREATMENTS: Mapping[str, tuple[str, str, str]] = {
    "clean": ("cleanable", "isclean", "sinkbasin"),
    "heat": ("heatable", "ishot", "microwave"),
    "cool": ("coolable", "iscool", "fridge"),
}


@dataclass(frozen=True)
class House:
    """What no command changes. Names are the player's ("cabinet 2"), kinds are bare words ("cabinet")."""

    place: Mapping[str, str]  # receptacle -> where it stands
    kind: Mapping[str, str]  # receptacle or object -> its kind
    openable: frozenset[str]
    portable: frozenset[str]
    lamps: frozenset[str]  # what can be used
    able: Mapping[str, frozenset[str]]  # verb of TREATMENTS -> objects
    fits: frozenset[tuple[str, str]]  # (kind of receptacle, kind of object)


@dataclass(frozen=True)
class Scene:
    """What commands change."""

    at: str  # where the player stands
    opened: frozenset[str]
    inside: frozenset[tuple[str, str]]  # (object, receptacle)
    carried: str | None
    treated: frozenset[tuple[str, str]]  # (verb of TREATMENTS, object)
    lit: frozenset[str]  # lamps that were used


def read_house(facts: Iterable[Fact]) -> House:
    """The part of `facts` that stays."""
    found = _by_predicate(facts)
    kinds = {name: kind.removesuffix("type") for name, kind in found["receptacletype"] + found["objecttype"]}
    return House(
        place={names[0]: names[1] for names in found["receptacleatlocation"]},
        kind=kinds,
        openable=_names(found["openable"]),
        portable=_names(found["pickupable"]),
        lamps=_names(found["toggleable"]),
        able={verb: _names(found[able]) for verb, (able, _, _) in TREATMENTS.items()},
        fits=frozenset((r.removesuffix("type"), o.removesuffix("type")) for r, o in found["cancontain"]),
    )


def read_scene(facts: Iterable[Fact]) -> Scene:
    """The part of `facts` that changes."""
    found = _by_predicate(facts)
    return Scene(
        at=found["atlocation"][0][1],
        opened=_names(found["opened"]),
        inside=frozenset((thing, holder) for thing, holder in found["inreceptacle"]),
        carried=found["holds"][0][1] if found["holds"] else None,
        treated=frozenset((verb, name) for verb, (_, so, _) in TREATMENTS.items() for (name,) in found[so]),
        lit=_names(found["istoggled"]),
    )


def _by_predicate(facts: Iterable[Fact]) -> Mapping[str, list[tuple[str, ...]]]:
    found: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for predicate, *names in facts:
        found[predicate].append(tuple(names))
    return found


def _names(found: Iterable[tuple[str, ...]]) -> frozenset[str]:
    return frozenset(name for (name,) in found)
