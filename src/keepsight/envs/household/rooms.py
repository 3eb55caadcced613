"""What stands and lies in our own rooms. Names are ALFRED's; what fits where is looked up in ALFWorld's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LAMP", "LAMP_STANDS", "ROOMS", "Room"]

LAMP = "DeskLamp"
LAMP_STANDS = ("Desk", "SideTable", "Dresser")  # kinds of receptacle that a lamp may stand on


@dataclass(frozen=True)
class Room:
    """A kind of room: receptacles with their least and largest number, and the objects that may lie in them."""

    receptacles: Mapping[str, tuple[int, int]]
    objects: tuple[str, ...]


ROOMS: Mapping[str, Room] = {
    "Kitchen": Room(
        {
            "CounterTop": (1, 2),
            "Cabinet": (2, 4),
            "Drawer": (1, 3),
            "Fridge": (1, 1),
            "Microwave": (1, 1),
            "SinkBasin": (1, 1),
            "StoveBurner": (1, 2),
            "DiningTable": (0, 1),
            "Shelf": (0, 2),
            "CoffeeMachine": (0, 1),
            "GarbageCan": (1, 1),
        },
        (
            *(
                "Apple",
                "Bread",
                "Egg",
                "Lettuce",
                "Potato",
                "Tomato",
                "Bowl",
                "Cup",
                "Mug",
                "Pan",
                "Plate",
                "Pot",
            ),
            *(
                "ButterKnife",
                "Fork",
                "Knife",
                "Ladle",
                "Spatula",
                "Spoon",
                "DishSponge",
                "Kettle",
                "SoapBottle",
            ),
            *("PepperShaker", "SaltShaker", "WineBottle"),
        ),
    ),
    "LivingRoom": Room(
        {
            "Sofa": (1, 1),
            "ArmChair": (1, 2),
            "CoffeeTable": (1, 1),
            "SideTable": (1, 2),
            "Drawer": (1, 4),
            "Cabinet": (0, 3),
            "Shelf": (0, 2),
            "Safe": (0, 1),
            "GarbageCan": (1, 1),
        },
        (
            *(
                "Book",
                "Box",
                "Candle",
                "CellPhone",
                "CreditCard",
                "KeyChain",
                "Laptop",
                "Newspaper",
                "Pillow",
            ),
            *("RemoteControl", "Statue", "TissueBox", "Vase", "Watch", "WateringCan"),
        ),
    ),
    "Bedroom": Room(
        {
            "Bed": (1, 1),
            "Desk": (1, 1),
            "SideTable": (1, 2),
            "Dresser": (0, 1),
            "Drawer": (2, 5),
            "Shelf": (0, 3),
            "Safe": (0, 1),
            "GarbageCan": (1, 1),
        },
        (
            *(
                "AlarmClock",
                "Book",
                "Bowl",
                "CD",
                "CellPhone",
                "CreditCard",
                "KeyChain",
                "Laptop",
                "Mug",
                "Pen",
            ),
            *("Pencil", "Pillow", "RemoteControl", "Statue", "TennisRacket", "Watch"),
        ),
    ),
    "Bathroom": Room(
        {
            "SinkBasin": (1, 2),
            "CounterTop": (1, 1),
            "Cabinet": (2, 4),
            "Drawer": (0, 2),
            "Shelf": (0, 1),
            "Toilet": (1, 1),
            "BathtubBasin": (0, 1),
            "GarbageCan": (1, 1),
        },
        (
            "Candle",
            "Cloth",
            "DishSponge",
            "HandTowel",
            "SoapBar",
            "SoapBottle",
            "SprayBottle",
            "TissueBox",
            "ToiletPaper",
        ),
    ),
}
