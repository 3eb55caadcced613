"""Sets that published studies ask about, by name. The pictures are the user's to bring.

Of EMT's four (arXiv:2309.10313) the labels are known here, in data-set order. The four of "Why are Visually-Grounded
Language Models Bad at Image Classification?" (table 6) take theirs from the data: class folders, a table's class names,
or a class list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from keepsight.data.confine import RemoteSource
from keepsight.data.labelled import LabelledSet, label_text
from keepsight.data.readers import read_set
from keepsight.types import KeepsightError

__all__ = ["PUBLISHED", "Published", "published_set"]


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split(", "))


# Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), section 3; order of batches.meta.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The same report; order of fine_label_names in the data set's meta file, in text form.
CIFAR100 = _listed(
    "apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly, "
    "camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile, "
    "cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, "
    "lawn mower, leopard, lion, lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom, oak tree, "
    "orange, orchid, otter, palm tree, pear, pickup truck, pine tree, plain, plate, poppy, porcupine, possum, rabbit, "
    "raccoon, ray, road, rocket, rose, sea, seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel, "
    "streetcar, sunflower, sweet pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip, "
    "turtle, wardrobe, whale, willow tree, wolf, woman, worm"
)


@dataclass(frozen=True)
class Published:
    """What is known of a set without its pictures. Empty `labels`: they come from the folders or the data set."""

    title: str
    labels: tuple[str, ...]
    noun: str = "object"
    synonyms: bool = (
        False  # copies may name a class by all its synonyms ("tench, Tinca tinca"): the first one counts
    )


PUBLISHED: Mapping[str, Published] = {
    "mnist": Published("MNIST", tuple("0123456789"), "number"),
    "cifar10": Published("CIFAR-10", CIFAR10),
    "cifar100": Published("CIFAR-100", CIFAR100),
    "miniimagenet": Published("miniImagenet", ()),
    "imagenet": Published("ImageNet", (), synonyms=True),
    "flowers102": Published("Flowers102", ()),
    "stanfordcars": Published("StanfordCars", ()),
    "caltech101": Published("Caltech101", ()),
}


def published_set(
    name: str,
    path: str | Path | None,
    *,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    remote: RemoteSource | None = None,
) -> LabelledSet:
    """A published set from wherever the user keeps it.

    Args:
        name: one of `PUBLISHED`.
        path, classes, image_root, remote: see `readers.read_set`.

    Raises:
        KeepsightError: no path given, pictures that cannot be read, or labels that are not this set's.
    """
    about = PUBLISHED[name]
    if path is None:
        raise KeepsightError(
            f"set {name}: {about.title} does not come with the package; give path=, a folder of class folders, a "
            "parquet file, JSON lines, a Hugging Face data-set directory or a hub id"
        )
    read = read_set(path, about.labels, classes=classes, image_root=image_root, remote=remote)
    if not about.labels:
        return replace(_first_names(read) if about.synonyms else read, name=name)
    strangers = sorted({label_text(label) for label in read.labels} - set(about.labels))
    if strangers:
        raise KeepsightError(
            f"set {name}: {path} has labels that {about.title} has not ({', '.join(strangers[:3])}); "
            "use the path itself as the set"
        )
    return replace(read, name=name, labels=about.labels, noun=about.noun)


def _first_names(read: LabelledSet) -> LabelledSet:
    """The set with the first of each class's synonyms as its label; classes that it leaves with one name are merged."""
    first = {label: label.partition(",")[0].strip() for label in read.labels}
    labels = tuple(dict.fromkeys(first.values()))
    splits = {
        part: replace(rows, labels=tuple(first.get(label, label) for label in rows.labels))
        for part, rows in read.splits.items()
    }
    merged = f"{len(read.labels)} classes have {len(labels)} first names."
    notes = (*read.notes, *[merged] * (len(labels) < len(read.labels)))
    return replace(read, labels=labels, splits=splits, notes=notes)
