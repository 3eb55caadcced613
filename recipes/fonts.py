"""Writes the fonts that envs/ ships: DejaVu Sans and its bold face, cut down to the characters of Europe's languages and what games draw.

    python -m recipes.fonts src/keepsight/envs/fonts

Taken from the fonts that matplotlib carries. DejaVu is free: https://dejavu-fonts.github.io/License.html
"""

from __future__ import annotations

import argparse
from pathlib import Path

FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
# Latin, its supplements and Extended-A; dashes, quotes and the ellipsis; arrows; card suits.
CHARACTERS = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x180),
    *range(0x2010, 0x2027),
    *range(0x2190, 0x219A),
    *range(0x2660, 0x2668),
]


def write_fonts(folder: Path) -> list[Path]:
    """The written files."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont
    from matplotlib import get_data_path

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in FILES:
        font = TTFont(Path(get_data_path()) / "fonts" / "ttf" / name, recalcTimestamp=False)
        subsetter = Subsetter(Options(hinting=False, layout_features=["kern"], notdef_outline=True))
        subsetter.populate(unicodes=CHARACTERS)
        subsetter.subset(font)
        font.save(folder / name)
        written.append(folder / name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for path in write_fonts(parser.parse_args().folder):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
