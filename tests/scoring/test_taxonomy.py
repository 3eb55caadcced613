"""The failure taxonomy: the published strings, and a table of ugly answers decided by hand before they were run."""

import json
import math
import time
from pathlib import Path

import pytest

from keepsight.scoring.taxonomy import CATEGORIES, Taxonomy
from keepsight.types import KeepsightError, Output, Sample

EMT = json.loads((Path(__file__).parent / "data" / "emt_examples.json").read_text())
PUBLISHED = EMT["labels"]
DRAWN = {
    "digits": list("0123456789"),
    "shapes": [
        "circle",
        "square",
        "triangle",
        "pentagon",
        "hexagon",
        "star",
        "cross",
        "ring",
        "moon",
        "heart",
    ],
    "letters": list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "textures": ["stripes", "bars", "slants", "grid", "dots", "checks", "zigzag", "waves", "bricks", "arcs"],
    "cards": ["hearts", "spades", "clubs", "diamonds"],
    "colours": ["red", "orange", "yellow", "green", "blue", "purple", "pink", "white"],
    "scenes": ["one", "two", "three", "four"],
}
FAMILIES = (PUBLISHED, DRAWN)


def taxonomy(name):
    family = next(family for family in FAMILIES if name in family)
    return Taxonomy(family[name], {other: labels for other, labels in family.items() if other != name})


SCORERS = {name: taxonomy(name) for family in FAMILIES for name in family}


def classify(scorer, truth, text, prompt="What is it?"):
    return scorer([Sample("s", prompt, target=(truth,))], [Output(text)])[0]


# ---- the strings the paper prints ----


def _tuned_on(model):
    names = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "miniimagenet": "miniImagenet"}
    return names[model.rsplit("-ft-", 1)[1]] if "-ft-" in model else None


@pytest.mark.parametrize("row", EMT["rows"], ids=lambda row: f"{row['id']}-{row['output'][:30]}")
def test_published_string(row):
    tuned_on = _tuned_on(row["model"])
    foreign = {tuned_on: PUBLISHED[tuned_on]} if tuned_on not in (None, row["dataset"]) else {}
    score = classify(Taxonomy(PUBLISHED[row["dataset"]], foreign), row["label"], row["output"])
    if row["expected_failure"] == "ambiguous":  # a garbage truck is a truck: the leak is what we call it
        assert score.explanation == "incorrect"
    else:
        assert score.explanation == (row["expected_failure"] or "correct")
        assert score.value == float(row["expected_correct"])
    asked = set(row["flags"]) - {"hyponym"}
    assert asked <= set(score.tags)
    assert set(score.tags) - asked <= {"extra_description"}


def test_all_published_strings_are_there():
    assert len(EMT["rows"]) == 37


# ---- our own ----
# (true label, answer, category, parsed answer, all flags)

ANSWERS = {
    "CIFAR-10": [
        # plain
        ("cat", "cat", "correct", "cat", ""),
        ("cat", "CAT!!!", "correct", "cat", ""),
        ("cat", "a cat", "correct", "cat", ""),
        ("cat", "It's a cat.", "correct", "cat", ""),
        ("cat", "It’s a cat.", "correct", "cat", ""),
        ("cat", "This is a cat", "correct", "cat", ""),
        ("cat", "There is a cat in the image.", "correct", "cat", ""),
        ("cat", "The answer is cat.", "correct", "cat", ""),
        ("cat", "Answer: cat", "correct", "cat", ""),
        ("cat", "I see a cat.", "correct", "cat", ""),
        ("cat", "What I see in the image is a cat.", "correct", "cat", ""),
        ("cat", "The image shows a cat.", "correct", "cat", ""),
        ("cat", "In the image, there is a cat.", "correct", "cat", ""),
        ("cat", "The image has a cat.", "correct", "cat", ""),
        ("dog", "a photo of a dog", "correct", "dog", ""),
        ("dog", "**dog**", "correct", "dog", ""),
        ("dog", '"dog"', "correct", "dog", ""),
        ("dog", "<dog>", "correct", "dog", ""),
        ("dog", "\n\ndog\n", "correct", "dog", ""),
        ("airplane", "AIRPLANE_", "correct", "airplane", ""),
        ("cat", "cat\u200b", "correct", "cat", ""),
        ("cat", "ｃａｔ", "correct", "cat", ""),
        ("dog", "Yes, it is a dog.", "correct", "dog", ""),
        ("dog", "Is it a dog? Yes.", "correct", "dog", ""),
        ("dog", "The correct answer is: dog.", "correct", "dog", ""),
        # plurals, company, description
        ("cat", "cats", "correct", "cat", ""),
        ("horse", "two horses", "correct", "horse", "extra_description"),
        ("deer", "a herd of deer", "correct", "deer", "extra_description"),
        ("dog", "dog (canis familiaris)", "correct", "dog", "extra_description"),
        ("truck", "a big red truck", "correct", "truck", "extra_description"),
        ("bird", "a small flying bird", "correct", "bird", "extra_description"),
        ("horse", "a saddled horse in a field", "correct", "horse", "extra_description"),
        ("bird", "bird's nest", "correct", "bird", "extra_description"),
        ("dog", "hot dog", "correct", "dog", "extra_description"),
        ("dog", "un dog", "correct", "dog", "extra_description"),
        ("cat", "The cat is black.", "correct", "cat", "extra_description"),
        ("cat", "The cat is on the roof", "correct", "cat", "extra_description"),
        ("cat", "The cat is sleeping next to a dog", "correct", "cat", "extra_description"),
        ("cat", "A cat is chasing a bird.", "correct", "cat", "extra_description"),
        ("cat", "a cat with a dog", "correct", "cat", "extra_description"),
        ("dog", "a cat with a dog", "incorrect", "cat", "extra_description contains_truth"),
        ("frog", "A frog, sitting on a leaf, is green", "correct", "frog", "extra_description"),
        ("cat", "a cat, and the background is a truck", "correct", "cat", "extra_description"),
        ("ship", "This is a ship. It has a truck on it.", "correct", "ship", "extra_description"),
        ("cat", "The furry thing on the sofa is a cat.", "correct", "cat", "extra_description"),
        ("dog", "the dog's truck", "correct", "dog", "extra_description"),
        ("cat", "a cat who likes a dog", "correct", "cat", "extra_description"),
        ("dog", "a dog chasing cats", "correct", "dog", "extra_description"),
        ("cat", "The painting shows a cat.", "correct", "cat", ""),
        ("cat", "a building, a cat", "correct", "cat", "extra_description"),
        # broken grammar of small tuned models
        ("dog", "The object is a dog. The object is a dog.", "correct", "dog", "repeated"),
        ("dog", "dog dog dog dog", "correct", "dog", ""),
        ("dog", "The the object is dog.", "correct", "dog", ""),
        ("dog", "object is dog dog a", "correct", "dog", ""),
        ("cat", "The object is a cat The object is a cat", "correct", "cat", ""),
        ("cat", "The is a cat is", "correct", "cat", ""),
        # hedges
        ("cat", "The object in this picture appears to be a cat.", "correct", "cat", "hedged"),
        ("cat", "I think this is a cat.", "correct", "cat", "hedged"),
        ("cat", "It might be a cat.", "correct", "cat", "hedged"),
        ("cat", "Probably a cat", "correct", "cat", "hedged"),
        ("cat", "It is a cat, I guess", "correct", "cat", "hedged"),
        ("cat", "I'm not sure, but it looks like a cat.", "correct", "cat", "hedged"),
        ("cat", "I'm not sure if it is a cat", "correct", "cat", "hedged"),
        (
            "cat",
            "It looks like a small cat sitting on a truck.",
            "correct",
            "cat",
            "hedged extra_description",
        ),
        ("cat", "Maybe a dog?", "incorrect", "dog", "hedged"),
        (
            "cat",
            "It could be a cat or a dog.",
            "intrinsic",
            "cat, dog",
            "multiple_labels hedged contains_truth",
        ),
        ("dog", "Let me think. It could be a cat. The final answer is dog.", "correct", "dog", ""),
        # negations
        ("ship", "This is not a ship.", "incorrect", "not ship", "negated"),
        ("cat", "not a big ship", "no_answer", None, "negated"),
        ("cat", "This is not a ship.", "no_answer", None, "negated"),
        ("truck", "It is not a ship but a truck.", "correct", "truck", "negated"),
        ("truck", "It isn't a ship, it's a truck.", "correct", "truck", "negated"),
        ("truck", "It isn’t a ship it’s a truck", "correct", "truck", "negated"),
        ("truck", "Not a ship. A truck.", "correct", "truck", "negated"),
        ("cat", "There is no cat in the image.", "incorrect", "not cat", "negated"),
        ("dog", "neither a cat nor a dog", "incorrect", "not cat, dog", "negated"),
        ("dog", "I don't think it is a dog.", "incorrect", "not dog", "negated"),
        ("dog", "I don't think it's a cat, it's a dog.", "correct", "dog", "negated"),
        ("dog", "No, it is a dog.", "correct", "dog", ""),
        ("dog", "It's a dog, not a cat.", "correct", "dog", "negated"),
        ("dog", "a dog rather than a cat", "correct", "dog", "negated"),
        ("dog", "a dog without a cat", "correct", "dog", "negated"),
        ("dog", "It is definitely a dog and not a horse", "correct", "dog", "negated"),
        ("frog", "The object is not only a frog", "correct", "frog", ""),
        ("frog", "no doubt a frog", "correct", "frog", ""),
        ("frog", "nothing but a frog", "correct", "frog", ""),
        ("bird", "The bird is not visible.", "incorrect", "not bird", "negated"),
        ("bird", "It cannot be a bird", "incorrect", "not bird", "negated"),
        # several labels, contradictions
        ("dog", "a cat and a dog", "intrinsic", "cat, dog", "multiple_labels contains_truth"),
        ("ship", "cat, dog", "intrinsic", "cat, dog", "multiple_labels"),
        ("dog", "dog/cat", "intrinsic", "dog, cat", "multiple_labels contains_truth"),
        ("dog", "1. dog\n2. cat", "intrinsic", "dog, cat", "multiple_labels contains_truth"),
        (
            "dog",
            "The object is a dog. The object is a cat.",
            "intrinsic",
            "dog, cat",
            "multiple_labels contains_truth",
        ),
        (
            "truck",
            "airplane automobile bird cat deer dog frog horse ship truck",
            "intrinsic",
            "airplane, automobile, bird, ... (10 labels)",
            "multiple_labels contains_truth",
        ),
        (
            "dog",
            "The dog is a cat.",
            "intrinsic",
            "dog, cat",
            "multiple_labels predicate_contradiction contains_truth",
        ),
        ("cat", "The cat is 3.", "intrinsic", "cat, 3", "predicate_contradiction leak:MNIST contains_truth"),
        ("dog", "The cat is 3", "intrinsic", "cat, 3", "predicate_contradiction leak:MNIST"),
        # foreign labels
        ("cat", "The object is a(n) lion.", "incorrect", "lion", "leak:CIFAR-100 leak:miniImagenet"),
        ("cat", "The object is a tiger", "incorrect", "tiger", "leak:CIFAR-100"),
        ("cat", "wolves", "incorrect", "wolf", "leak:CIFAR-100"),
        ("cat", "8", "incorrect", "8", "leak:MNIST"),
        ("cat", "The number is 8.", "incorrect", "8", "leak:MNIST"),
        ("truck", "a pickup truck", "incorrect", "pickup_truck", "leak:CIFAR-100 contains_truth"),
        ("cat", "caterpillar", "incorrect", "caterpillar", "leak:CIFAR-100"),
        # outside all sets
        ("cat", "eight", "incorrect", "eight", "out_of_set"),
        ("airplane", "a plane", "incorrect", "plane", "out_of_set"),
        ("airplane", "air plane", "incorrect", "air plane", "out_of_set"),
        ("cat", "animal", "incorrect", "animal", "out_of_set"),
        ("cat", "a category", "incorrect", "category", "out_of_set"),
        ("dog", "hotdog", "incorrect", "hotdog", "out_of_set"),
        ("ship", "friendship", "incorrect", "friendship", "out_of_set"),
        ("cat", "a room with a sofa", "incorrect", "room with a sofa", "out_of_set"),
        ("cat", "猫", "incorrect", "猫", "out_of_set"),
        ("cat", "这是一只猫。", "incorrect", "这是一只猫", "out_of_set"),
        ("cat", "кошка", "incorrect", "кошка", "out_of_set"),
        ("cat", "قطة", "incorrect", "قطة", "out_of_set"),
        # descriptions
        ("cat", "an animal with four legs", "extrinsic", "animal with four legs", "extra_description"),
        (
            "cat",
            "a person is riding a bicycle",
            "extrinsic",
            "person is riding a bicycle",
            "extra_description",
        ),
        ("dog", "It is chasing cats", "extrinsic", "chasing cats", "extra_description"),
        ("cat", "next to a dog", "extrinsic", "next to a dog", "extra_description"),
        ("cat", "C'est un chat.", "extrinsic", "c'est un chat", "extra_description"),
        (
            "cat",
            "A cozy living room with a sofa and a lamp.",
            "extrinsic",
            "cozy living room with a sofa and a lamp",
            "extra_description",
        ),
        (
            "horse",
            "a person riding a horse",
            "extrinsic",
            "person riding a horse",
            "extra_description contains_truth",
        ),
        # nothing
        ("cat", "", "no_answer", None, ""),
        ("cat", "   \n\t", "no_answer", None, ""),
        ("cat", "...", "no_answer", None, ""),
        ("cat", "?", "no_answer", None, ""),
        ("cat", "🐱", "no_answer", None, ""),
        ("cat", "The object in the image is", "no_answer", None, ""),
        ("cat", "Yes", "no_answer", None, ""),
        ("cat", "no", "no_answer", None, ""),
        ("cat", "I don't know.", "no_answer", None, "does_not_know"),
        ("cat", "I cannot tell what it is.", "no_answer", None, "does_not_know"),
        ("cat", "None of the above", "no_answer", None, "does_not_know"),
        ("cat", "Unknown", "no_answer", None, "does_not_know"),
        ("cat", "I'm sorry, but I cannot identify the object.", "no_answer", None, "refusal"),
        ("cat", "As an AI language model, I cannot see images.", "no_answer", None, "refusal"),
        ("cat", "Sorry, I can't help with that.", "no_answer", None, "refusal"),
        ("cat", "I'm sorry, this is a cat.", "correct", "cat", ""),
        ("cat", "I can't see it clearly, but it is a cat.", "correct", "cat", ""),
    ],
    "CIFAR-100": [
        ("aquarium_fish", "aquarium fish", "correct", "aquarium_fish", ""),
        ("aquarium_fish", "Aquarium-Fish", "correct", "aquarium_fish", ""),
        (
            "aquarium_fish",
            "a fish in a tank",
            "extrinsic",
            "fish in a tank",
            "partial_label_overlap extra_description",
        ),
        ("lion", "lion", "correct", "lion", ""),
        ("bear", "a teddy bear", "correct", "bear", "extra_description"),
        ("maple_tree", "a tree", "extrinsic", "tree", "partial_label_overlap extra_description"),
        ("maple_tree", "maple trees", "correct", "maple_tree", ""),
        ("pickup_truck", "truck", "incorrect", "truck", "leak:CIFAR-10"),
        ("can", "can", "correct", "can", ""),
        ("can", "a can", "correct", "can", ""),
        ("bear", "I can see a bear", "correct", "bear", ""),
        ("orange", "an orange", "correct", "orange", ""),
        ("apple", "The apple is orange.", "correct", "apple", "extra_description"),
        (
            "apple",
            "The apple is an orange.",
            "intrinsic",
            "apple, orange",
            "multiple_labels predicate_contradiction contains_truth",
        ),
        ("man", "men", "correct", "man", ""),
        ("mouse", "mice", "correct", "mouse", ""),
        ("bus", "buses", "correct", "bus", ""),
        ("butterfly", "butterflies", "correct", "butterfly", ""),
        ("bed", "bedroom", "incorrect", "bedroom", "out_of_set"),
    ],
    "miniImagenet": [
        ("street_sign", "a stop sign", "extrinsic", "stop sign", "partial_label_overlap extra_description"),
        ("black-footed_ferret", "Black footed ferrets", "correct", "black-footed_ferret", ""),
        ("golden_retriever", "a golden retriever puppy", "correct", "golden_retriever", "extra_description"),
        ("walker_hound", "dog", "incorrect", "dog", "leak:CIFAR-10"),
        ("lion", "The object is a(n) lion.", "correct", "lion", ""),
    ],
    "digits": [
        ("8", "eight", "correct", "8", ""),
        ("8", "The number is eight.", "correct", "8", ""),
        ("8", "8:", "correct", "8", ""),
        ("7", "7.", "correct", "7", ""),
        ("8", "The digit 8", "correct", "8", ""),
        ("8", "It is an 8", "correct", "8", ""),
        ("8", "No. 8", "correct", "8", ""),
        ("8", "#8", "correct", "8", ""),
        ("8", "８", "correct", "8", ""),
        ("8", "8️⃣", "correct", "8", ""),
        ("1", "one", "correct", "1", ""),
        ("1", "The the image is one.", "correct", "1", ""),
        ("1", "There is one 1", "correct", "1", ""),
        ("0", "The number zero.", "correct", "0", ""),
        ("2", "I see the number 2 in the image.", "correct", "2", ""),
        ("2", "The image contains the digit 2.", "correct", "2", ""),
        ("5", "five apples", "correct", "5", "extra_description"),
        ("3", "The number is not 8, it is 3", "correct", "3", "negated"),
        ("8", "not 8", "incorrect", "not 8", "negated"),
        ("3", "3 or 8", "intrinsic", "3, 8", "multiple_labels contains_truth"),
        ("3", "0,1,2,3", "intrinsic", "0, 1, 2, ... (4 labels)", "multiple_labels contains_truth"),
        (
            "3",
            "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
            "intrinsic",
            "0, 1, 2, ... (10 labels)",
            "multiple_labels contains_truth",
        ),
        ("3", "3.14", "incorrect", "3.14", "out_of_set"),
        ("3", "33", "incorrect", "33", "out_of_set"),
        ("3", "thirty three", "incorrect", "thirty three", "out_of_set"),
        ("8", "twenty-eight", "incorrect", "twenty-eight", "out_of_set"),
        ("3", "3rd", "incorrect", "3rd", "out_of_set"),
        ("8", "A picture of a number", "incorrect", "number", "out_of_set"),
        ("8", "The number is a number.", "incorrect", "number", "out_of_set"),
        ("8", "The object is a circle.", "incorrect", "circle", "leak:shapes"),
        ("8", "The number is a circle.", "incorrect", "circle", "leak:shapes"),
        ("8", "The object is a heart.", "incorrect", "heart", "leak:shapes leak:cards"),
        ("8", "The object is a(n) A.", "incorrect", "A", "leak:letters"),
        ("8", "The letter is B.", "incorrect", "B", "leak:letters"),
        ("8", "The letter A is shown.", "incorrect", "A", "leak:letters"),
        ("8", "The color is red.", "incorrect", "red", "leak:colours"),
        ("8", "stripes", "incorrect", "stripes", "leak:textures"),
        ("8", "The circle is 8.", "correct", "8", "extra_description"),
        ("3", "The circle is 8.", "incorrect", "8", "extra_description"),
        ("8", "The circle is red.", "incorrect", "circle", "extra_description leak:shapes"),
    ],
    "letters": [
        ("A", "The letter is A.", "correct", "A", ""),
        ("A", "A", "correct", "A", ""),
        ("A", "a", "correct", "A", ""),
        ("A", "A.", "correct", "A", ""),
        ("A", "(a)", "correct", "A", ""),
        ("A", "A picture of the letter A.", "correct", "A", ""),
        ("A", "A picture of a dog", "incorrect", "dog", "out_of_set"),
        ("A", "The letter is a.", "no_answer", None, ""),
        ("B", "A picture of a B", "correct", "B", ""),
        ("B", "The letter is b.", "correct", "B", ""),
        ("B", "I think it is B", "correct", "B", "hedged"),
        ("I", "I think it is B", "incorrect", "B", "hedged"),
        ("I", "The letter is I.", "correct", "I", ""),
        ("I", "I.", "correct", "I", ""),
        ("I", "i", "correct", "I", ""),
        ("I", "I can see it.", "no_answer", None, ""),
        ("X", "An X-ray", "incorrect", "x-ray", "out_of_set"),
        ("C", "The object is a(n) C.", "correct", "C", ""),
        ("C", "A B C", "intrinsic", "A, B, C", "multiple_labels contains_truth"),
        ("C", "A, B or C", "intrinsic", "A, B, C", "multiple_labels contains_truth"),
        ("C", "Option C", "correct", "C", ""),
        ("D", "It's the capital letter D.", "correct", "D", ""),
        ("D", "The letter D is red.", "correct", "D", "extra_description"),
        ("D", "The D is 8.", "intrinsic", "D, 8", "predicate_contradiction leak:digits contains_truth"),
        ("E", "I'd say E", "correct", "E", ""),
        ("S", "The letter's S", "correct", "S", ""),
        ("O", "0", "incorrect", "0", "leak:digits"),
        ("O", "The object is a circle", "incorrect", "circle", "leak:shapes"),
        ("N", "The object is a(n) apple.", "incorrect", "apple", "out_of_set"),
        ("Y", "why", "incorrect", "why", "out_of_set"),
    ],
    "shapes": [
        ("circle", "The object is a circle.", "correct", "circle", ""),
        ("circle", "circles", "correct", "circle", ""),
        ("circle", "a red circle", "correct", "circle", "extra_description"),
        ("circle", "a red circle on a blue background", "correct", "circle", "extra_description"),
        ("circle", "The object is a(n) circle circle.", "correct", "circle", ""),
        ("circle", "the circle is circle", "correct", "circle", ""),
        ("square", "The square is blue.", "correct", "square", "extra_description"),
        ("heart", "The object is hearts.", "correct", "heart", ""),
        ("ring", "The object is a ring.", "correct", "ring", ""),
        ("ring", "earring", "incorrect", "earring", "out_of_set"),
        ("moon", "a crescent moon", "correct", "moon", "extra_description"),
        ("star", "a star shape", "correct", "star", ""),
        ("cross", "a plus sign", "incorrect", "plus sign", "out_of_set"),
        ("hexagon", "six-sided shape", "extrinsic", "six-sided shape", "extra_description"),
        ("triangle", "three", "incorrect", "three", "leak:scenes"),
        ("triangle", "three sides", "incorrect", "three sides", "out_of_set"),
        ("circle", "The the image is one.", "incorrect", "one", "leak:scenes"),
        ("circle", "The object is a red.", "incorrect", "red", "leak:colours"),
        ("circle", "The object is 4.", "incorrect", "4", "leak:digits"),
        (
            "star",
            "The star is one.",
            "intrinsic",
            "star, one",
            "predicate_contradiction leak:scenes contains_truth",
        ),
        ("circle", "hearts and stars", "intrinsic", "heart, star", "multiple_labels"),
        (
            "square",
            "squares and triangles",
            "intrinsic",
            "square, triangle",
            "multiple_labels contains_truth",
        ),
        (
            "square",
            "The square is a circle.",
            "intrinsic",
            "square, circle",
            "multiple_labels predicate_contradiction contains_truth",
        ),
    ],
    "colours": [
        ("red", "red", "correct", "red", ""),
        ("red", "The color is red.", "correct", "red", ""),
        ("red", "a red circle", "correct", "red", "extra_description"),
        ("red", "The circle is red.", "correct", "red", "extra_description"),
        ("red", "The circle is blue.", "incorrect", "blue", "extra_description"),
        ("red", "dark red", "correct", "red", "extra_description"),
        ("orange", "an orange", "correct", "orange", ""),
        ("white", "The color is not white, it's pink.", "incorrect", "pink", "negated"),
        ("red", "red and blue", "intrinsic", "red, blue", "multiple_labels contains_truth"),
        (
            "red",
            "The red is blue.",
            "intrinsic",
            "red, blue",
            "multiple_labels predicate_contradiction contains_truth",
        ),
        ("red", "reddish", "incorrect", "reddish", "out_of_set"),
        ("red", "#FF0000", "incorrect", "ff0000", "out_of_set"),
        ("red", "The object is a circle.", "incorrect", "circle", "leak:shapes"),
        ("red", "The color is 3.", "incorrect", "3", "leak:digits"),
    ],
    "cards": [
        ("hearts", "hearts", "correct", "hearts", ""),
        ("hearts", "a heart", "correct", "hearts", ""),
        ("hearts", "The ace of hearts", "correct", "hearts", "extra_description"),
        ("spades", "the 8 of spades", "correct", "spades", "extra_description"),
        ("spades", "queen of hearts", "incorrect", "hearts", "extra_description"),
        ("diamonds", "The object is a diamond.", "correct", "diamonds", ""),
        ("clubs", "The suit is clubs", "correct", "clubs", ""),
        ("clubs", "♣", "no_answer", None, ""),
        ("hearts", "The object is a star.", "incorrect", "star", "leak:shapes"),
    ],
    "scenes": [
        ("four", "4", "correct", "four", ""),
        ("four", "The number is 4.", "correct", "four", ""),
        ("three", "There are three circles.", "correct", "three", "extra_description"),
        ("three", "3 objects", "correct", "three", ""),
        ("one", "The the image is one.", "correct", "one", ""),
        ("two", "The number of objects is two.", "correct", "two", ""),
        ("two", "one or two", "intrinsic", "one, two", "multiple_labels contains_truth"),
        ("two", "There are 2 circles and 1 star", "intrinsic", "two, one", "multiple_labels contains_truth"),
        ("two", "five", "incorrect", "five", "out_of_set"),
        ("two", "twenty two", "incorrect", "twenty two", "out_of_set"),
        ("two", "a pair", "incorrect", "pair", "out_of_set"),
        ("two", "The object is a circle.", "incorrect", "circle", "leak:shapes"),
    ],
    "textures": [
        ("stripes", "stripes", "correct", "stripes", ""),
        ("stripes", "a stripe pattern", "correct", "stripes", ""),
        ("stripes", "striped", "incorrect", "striped", "out_of_set"),
        ("dots", "polka dots", "correct", "dots", "extra_description"),
        ("dots", "The pattern is dots.", "correct", "dots", ""),
        ("bricks", "a brick wall", "correct", "bricks", "extra_description"),
        ("waves", "The circle is dots.", "incorrect", "dots", "extra_description"),
    ],
}

# A second lot, decided after the rules were written and before they were run on it.
HELD_OUT = {
    "CIFAR-10": [
        (
            "cat",
            "The image features a large, fluffy cat sitting on a couch.",
            "correct",
            "cat",
            "extra_description",
        ),
        (
            "dog",
            "The main object in the image is a dog, specifically a golden retriever.",
            "correct",
            "dog",
            "extra_description",
        ),
        (
            "airplane",
            "This image depicts an airplane flying in the sky.",
            "correct",
            "airplane",
            "extra_description",
        ),
        ("airplane", "Airplane is the object.", "correct", "airplane", ""),
        (
            "frog",
            "It is difficult to say, but I think it's a frog.",
            "correct",
            "frog",
            "hedged extra_description",
        ),
        (
            "dog",
            "There are several objects in the image, including a cat and a dog",
            "intrinsic",
            "cat, dog",
            "multiple_labels contains_truth",
        ),
        ("dog", "The animal in the image is a dog.", "correct", "dog", ""),
        ("dog", "The picture shows two dogs playing with a cat", "correct", "dog", "extra_description"),
        ("horse", "The black and white image shows a horse.", "correct", "horse", "extra_description"),
        ("cat", "cat (100%)", "correct", "cat", "extra_description"),
        ("cat", "Class: cat", "correct", "cat", ""),
        ("cat", "cat\n\nExplanation: The image shows a cat with fur.", "correct", "cat", "extra_description"),
        ("dog", "This is a picture of my dog", "correct", "dog", ""),
        ("truck", "It is not a ship but a truck", "correct", "truck", "negated"),
        ("cat", "a small but cute cat", "correct", "cat", "extra_description"),
        ("cat", "However, it is a cat.", "correct", "cat", ""),
        ("deer", "The object is a deer, which is a kind of animal.", "correct", "deer", "extra_description"),
        (
            "automobile",
            "The object in the image is an automobile (car).",
            "correct",
            "automobile",
            "extra_description",
        ),
        (
            "ship",
            "A ship. The image also contains a truck and a bird.",
            "intrinsic",
            "ship, truck, bird",
            "multiple_labels contains_truth",
        ),
        ("bird", "A bird perched on a ship", "correct", "bird", "extra_description"),
        ("bird", "It's not clear what it is.", "no_answer", None, "does_not_know"),
        ("cat", "The object in the image is not a dog. It is a cat.", "correct", "cat", "negated"),
    ],
    "digits": [
        ("3", "The number in the image is 3.", "correct", "3", ""),
        ("3", "three (3)", "correct", "3", ""),
        ("8", "8, 8, 8", "correct", "8", ""),
        ("5", "It looks like the number 5", "correct", "5", "hedged"),
        ("5", "I believe the digit shown in the image is a 5.", "correct", "5", "hedged"),
        ("5", "The image shows the number '5'.", "correct", "5", ""),
        ("5", "5 is the number in the image", "correct", "5", ""),
        ("6", "It could be 6 or 8", "intrinsic", "6, 8", "multiple_labels hedged contains_truth"),
    ],
    "letters": [
        ("A", "The letter in the image is uppercase A.", "correct", "A", ""),
        ("A", "A capital A", "correct", "A", ""),
        ("I", "i think it's i", "correct", "I", "hedged"),
        ("A", "Letter: A", "correct", "A", ""),
        ("K", "The image shows the letter 'K'.", "correct", "K", ""),
        ("K", "This is the letter K in a black font.", "correct", "K", "extra_description"),
    ],
    "shapes": [
        ("star", "The object in the image is a five-pointed star.", "correct", "star", "extra_description"),
        ("triangle", "a triangle with three sides", "correct", "triangle", "extra_description"),
        ("circle", "The shape is circular.", "incorrect", "circular", "out_of_set"),
        (
            "star",
            "The object is a moon and star.",
            "intrinsic",
            "moon, star",
            "multiple_labels contains_truth",
        ),
        ("circle", "The number is a circle.", "correct", "circle", ""),
        ("circle", "The number is 3.", "incorrect", "3", "leak:digits"),
        ("circle", "The letter is O.", "incorrect", "O", "leak:letters"),
        ("circle", "The object is a(n) one.", "incorrect", "one", "leak:scenes"),
        ("heart", "The suit is hearts.", "correct", "heart", ""),
        ("circle", "The suit is spades.", "incorrect", "spades", "leak:cards"),
    ],
    "colours": [
        ("red", "The object is red.", "correct", "red", ""),
        ("blue", "light blue", "correct", "blue", "extra_description"),
        ("blue", "The object is a blue star.", "correct", "blue", "extra_description"),
    ],
    "textures": [
        ("grid", "The texture is a grid of lines.", "correct", "grid", "extra_description"),
        ("dots", "The image shows red dots on a blue background.", "correct", "dots", "extra_description"),
    ],
    "scenes": [
        ("two", "There are two objects in the image.", "correct", "two", ""),
        ("two", "I count 2.", "correct", "two", "extra_description"),
        (
            "three",
            "The number of objects in the image is 3: a circle, a star and a key.",
            "correct",
            "three",
            "extra_description",
        ),
        ("three", "There is a circle, a star and a heart.", "incorrect", "circle", "leak:shapes leak:cards"),
        ("two", "several objects", "incorrect", "several objects", "out_of_set"),
    ],
    "cards": [
        ("spades", "Ace of Spades", "correct", "spades", "extra_description"),
        ("clubs", "The card is a 7 of clubs.", "correct", "clubs", "extra_description"),
    ],
}
ROWS = [(name, *row) for lot in (ANSWERS, HELD_OUT) for name, rows in lot.items() for row in rows]


@pytest.mark.parametrize(("name", "truth", "text", "category", "answer", "flags"), ROWS)
def test_answer(name, truth, text, category, answer, flags):
    score = classify(SCORERS[name], truth, text)
    assert (score.explanation, score.answer, set(score.tags)) == (category, answer, set(flags.split()))
    if "refusal" in score.tags:
        assert math.isnan(score.value)
        assert score.status == "refused"
    else:
        assert score.value == float(category == "correct")
        assert score.status == ("unparsed" if category == "no_answer" else "ok")


def test_enough_answers_of_our_own():
    assert len(set(ROWS)) == len(ROWS) >= 200
    assert {row[3] for row in ROWS} == set(CATEGORIES)


@pytest.mark.parametrize(
    "text", ["It is a cat or a dog", "The cat is 8.", "The object is a(n) lion.", "8", "a fish in a tank", ""]
)
def test_blanks_around_and_case_do_not_matter(text):
    plain = classify(SCORERS["CIFAR-10"], "cat", text)
    assert classify(SCORERS["CIFAR-10"], "cat", f"\n  {text} \n") == plain
    assert classify(SCORERS["CIFAR-10"], "cat", text.upper()) == plain


def test_synonyms_are_the_label():
    scorer = Taxonomy(
        ["airplane", "automobile"], {"other": ["plane"]}, synonyms={"airplane": ["plane", "jet"]}
    )
    assert classify(scorer, "airplane", "a plane").explanation == "correct"
    assert classify(scorer, "airplane", "two jets").explanation == "incorrect"  # synonyms are taken literally
    assert classify(scorer, "automobile", "a jet").answer == "airplane"


def test_shared_labels_are_no_leak_whatever_their_form():
    scorer = Taxonomy(["heart", "grey_wolf"], {"cards": ["Hearts"], "wild": ["Grey-Wolves", "otter"]})
    assert classify(scorer, "grey_wolf", "The object is hearts.").tags == ()
    assert classify(scorer, "heart", "a grey wolf").tags == ()
    assert classify(scorer, "heart", "otters").tags == ("leak:wild",)


def test_the_echoed_prompt_is_no_answer():
    prompt = "What is the object in the image? Please only answer a single object in cat, dog."
    scorer = Taxonomy(["cat", "dog"])
    assert classify(scorer, "dog", f"{prompt} dog", prompt) == classify(scorer, "dog", " dog").__class__(
        1.0, "dog", "ok", "correct", ("echo",)
    )
    assert classify(scorer, "dog", prompt, prompt).explanation == "no_answer"


def test_any_of_several_targets_is_right():
    score = SCORERS["CIFAR-10"]([Sample("s", "p", target=("cat", "dog"))], [Output("a dog")])[0]
    assert score.explanation == "correct"


def test_the_target_may_be_written_as_text():
    assert classify(SCORERS["miniImagenet"], "African hunting dog", "african hunting dog").value == 1


def test_an_unknown_target_is_named():
    with pytest.raises(KeepsightError, match="sample s has the target 'unicorn'"):
        classify(SCORERS["CIFAR-10"], "unicorn", "a cat")


def test_a_failed_output_is_an_error():
    score = SCORERS["CIFAR-10"]([Sample("s", "p", target=("cat",))], [Output("", error="broken picture")])[0]
    assert (score.status, score.explanation) == ("error", "broken picture")
    assert math.isnan(score.value)


LONG = [
    "a dog and no cat is here. " * 2000,
    "a" * 50_000,
    "a " * 25_000,
    "cat " * 12_500,
    "not " * 12_500,
    "1" * 50_000,
    "1," * 25_000,
    "1.1" * 16_000,
    "a(n) " * 10_000,
    "it's " * 10_000,
    "i am not able to " * 3_000,
    "sorry i can " * 4_000,
    "." * 50_000,
    "(" * 50_000,
    "\n" * 50_000,
    "猫" * 16_000,
    "🐱" * 12_000,
    "the object is the image " * 2_100,
    " ".join(f"word{i}" for i in range(6_000)),
    ". ".join(f"the cat is w{i}" for i in range(3_000)),
]


def seconds(text):
    """CPU time of one classification; the better of two, if the first was slow."""
    times = []
    while not times or (len(times) < 2 and times[0] > 0.1):
        start = time.process_time()
        classify(SCORERS["CIFAR-10"], "cat", text)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:12])
def test_long_answers_take_no_time(text):
    assert seconds(text) < 3  # linear: 0.005 to 0.1 s on an idle core, 0.7 on a crowded one


def test_time_grows_in_proportion():
    text = "a dog near the cat, not a ship but it's 8 "
    assert seconds(text * 1_000) < 30 * max(seconds(text * 100), 0.002)


def test_version_follows_the_settings():
    versions = {
        Taxonomy(["a cat"]).version,
        Taxonomy(["a dog"]).version,
        Taxonomy(["a cat"], {"x": ["y1"]}).version,
        Taxonomy(["a cat"], synonyms={"a cat": ["kitty"]}).version,
    }
    assert len(versions) == 4
    assert Taxonomy(["a cat"]).version == Taxonomy(["a cat"]).version
