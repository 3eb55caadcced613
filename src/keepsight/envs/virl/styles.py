"""How the drawn cities look and what their shops are called: four that share neither colours nor words."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STYLES", "Style"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """Colours (red, green, blue) and words of one city. A shop's name is one word of each list."""

    zenith: Colour
    horizon: Colour
    ground: Colour
    pavement: Colour
    road: Colour
    marking: Colour
    walls: tuple[Colour, ...]
    window: Colour
    boards: tuple[tuple[Colour, Colour], ...]  # (board, letters) of signs
    heights: tuple[float, float]  # metres, least and most of a building
    words: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


STYLES: dict[str, Style] = {
    "aldmoor": Style(
        zenith=(96, 142, 196),
        horizon=(206, 220, 232),
        ground=(120, 140, 96),
        pavement=(178, 174, 168),
        road=(88, 90, 94),
        marking=(236, 232, 220),
        walls=((150, 82, 66), (168, 104, 82), (128, 74, 64), (176, 128, 104), (142, 96, 88)),
        window=(62, 76, 92),
        boards=(
            ((250, 246, 232), (32, 32, 40)),
            ((24, 62, 44), (252, 248, 236)),
            ((24, 36, 84), (255, 250, 240)),
        ),
        heights=(8.0, 20.0),
        words=(
            ("Copper", "Golden", "Silver", "Crooked", "Quiet", "Little", "Old", "Merry", "Green", "Royal"),
            (
                "Anchor",
                "Kettle",
                "Thistle",
                "Badger",
                "Lantern",
                "Barrel",
                "Raven",
                "Clover",
                "Wheel",
                "Hare",
            ),
            ("Tavern", "Bakery", "Books", "Tailor", "Chemist", "Bank", "Inn", "Grocer"),
        ),
    ),
    "solera": Style(
        zenith=(40, 132, 222),
        horizon=(250, 232, 196),
        ground=(216, 188, 136),
        pavement=(232, 210, 172),
        road=(158, 128, 104),
        marking=(255, 244, 206),
        walls=((244, 226, 190), (236, 196, 140), (228, 164, 112), (250, 240, 220), (222, 182, 160)),
        window=(96, 70, 56),
        boards=(
            ((196, 44, 32), (255, 250, 232)),
            ((18, 96, 120), (255, 250, 232)),
            ((255, 222, 92), (92, 22, 16)),
        ),
        heights=(5.0, 11.0),
        words=(
            ("Casa", "Villa", "Plaza", "Patio", "Torre", "Fonte", "Porta", "Playa", "Monte", "Isla"),
            ("Azul", "Rosa", "Dorada", "Verde", "Clara", "Nueva", "Vieja", "Blanca", "Alta", "Serena"),
            ("Cafe", "Museum", "Market", "Cinema", "Hotel", "Gallery", "Bodega", "Tapas"),
        ),
    ),
    "nordvik": Style(
        zenith=(148, 168, 184),
        horizon=(230, 234, 238),
        ground=(238, 242, 246),
        pavement=(214, 222, 230),
        road=(120, 128, 138),
        marking=(250, 214, 90),
        walls=((186, 52, 44), (222, 172, 58), (58, 96, 134), (72, 118, 92), (234, 230, 222)),
        window=(240, 240, 236),
        boards=(
            ((20, 24, 32), (250, 250, 250)),
            ((250, 250, 250), (146, 20, 30)),
            ((12, 54, 92), (252, 226, 110)),
        ),
        heights=(6.0, 13.0),
        words=(
            ("Fjord", "Polar", "Birch", "Frost", "Amber", "Hollow", "Nordic", "Winter", "Cedar", "Stone"),
            ("Bear", "Salmon", "Sledge", "Otter", "Falcon", "Moose", "Rune", "Sail", "Elk", "Puffin"),
            ("Sauna", "Bistro", "Wool", "Skis", "School", "Library", "Smithy", "Boats"),
        ),
    ),
    "nachtberg": Style(
        zenith=(10, 12, 30),
        horizon=(58, 44, 84),
        ground=(34, 38, 44),
        pavement=(70, 70, 84),
        road=(36, 36, 44),
        marking=(220, 220, 236),
        walls=((54, 58, 78), (70, 62, 84), (48, 66, 78), (82, 74, 82), (60, 54, 62)),
        window=(250, 214, 122),
        boards=(
            ((16, 10, 34), (255, 82, 178)),
            ((8, 22, 34), (92, 244, 250)),
            ((28, 22, 6), (255, 226, 92)),
        ),
        heights=(18.0, 46.0),
        words=(
            ("Neon", "Cobalt", "Velvet", "Mirror", "Static", "Turbo", "Silk", "Chrome", "Midnite", "Astro"),
            ("Comet", "Dragon", "Panda", "Circuit", "Tiger", "Orbit", "Echo", "Lotus", "Pixel", "Cipher"),
            ("Arcade", "Noodles", "Lounge", "Records", "Gym", "Pharma", "Karaoke", "Diner"),
        ),
    ),
}
