"""CoIN's eight data sets, from its own JSON and from each set's original annotations."""

from keepsight.data.coin.item import DESCRIBE, INSTRUCTIONS, OBJECT_QUESTION, ORDER, Item, asked
from keepsight.data.coin.sources import CoinSource, open_source

__all__ = [
    "DESCRIBE",
    "INSTRUCTIONS",
    "OBJECT_QUESTION",
    "ORDER",
    "CoinSource",
    "Item",
    "asked",
    "open_source",
]
