"""Writes the glyph outlines that data/drawn ships, from the DejaVu fonts that matplotlib carries.

    python -m recipes.glyphs src/keepsight/data/drawn/glyphs.json

Curves are flattened and rounded to thousandths of the box, so that drawing needs no font engine and a letter has the same
pixels everywhere. DejaVu is free: https://dejavu-fonts.github.io/License.html
"""

from __future__ import annotations

import argparse
import json
import string
from pathlib import Path
from typing import Any

FONT_FILES = {
    "sans": "DejaVuSans.ttf",
    "sans-bold": "DejaVuSans-Bold.ttf",
    "sans-oblique": "DejaVuSans-Oblique.ttf",
    "mono": "DejaVuSansMono.ttf",
    "serif": "DejaVuSerif.ttf",
    "serif-bold": "DejaVuSerif-Bold.ttf",
}
SUITS = "♥♠♣♦"
CHARACTERS = string.ascii_uppercase + string.digits + SUITS
STEPS = 4  # straight pieces per curve; at 48 pixels more cannot be seen


def outlines(folder: Path) -> dict[str, dict[str, list[list[list[int]]]]]:
    """Font -> character -> contours, from the font files in `folder`."""
    return {name: flatten(str(folder / file), CHARACTERS) for name, file in FONT_FILES.items()}


def flatten(path: str, characters: str) -> dict[str, list[list[list[int]]]]:
    """Character -> contours of [x, y] in thousandths, centred, the larger extent from -1000 to 1000."""
    from fontTools.pens.recordingPen import DecomposingRecordingPen
    from fontTools.ttLib import TTFont

    font = TTFont(path)
    glyphs, names = font.getGlyphSet(), font.getBestCmap()
    drawn = {}
    for character in characters:
        if ord(character) in names:
            pen = DecomposingRecordingPen(glyphs)
            glyphs[names[ord(character)]].draw(pen)
            drawn[character] = _centre(_contours(pen.value))
    return drawn


def _contours(commands: list[Any]) -> list[list[tuple[float, float]]]:
    contours: list[list[tuple[float, float]]] = []
    for command, arguments in commands:
        if command == "moveTo":
            contours.append([arguments[0]])
        elif command == "lineTo":
            contours[-1].append(arguments[0])
        elif command == "qCurveTo":
            contours[-1].extend(_quadratics(contours[-1][-1], arguments))
    return contours


def _quadratics(start: tuple[float, float], points: tuple[Any, ...]) -> list[tuple[float, float]]:
    """A TrueType spline: implied on-curve points lie midway between neighbouring control points."""
    flat = []
    controls, end = list(points[:-1]), points[-1]
    for i, control in enumerate(controls):
        stop = end if i == len(controls) - 1 else _middle(control, controls[i + 1])
        for step in range(1, STEPS + 1):
            t = step / STEPS
            flat.append(
                tuple(
                    (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c
                    for a, b, c in zip(start, control, stop)
                )
            )
        start = stop
    return flat


def _middle(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _centre(contours: list[list[tuple[float, float]]]) -> list[list[list[int]]]:
    xs = [x for contour in contours for x, _ in contour]
    ys = [y for contour in contours for _, y in contour]
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    half = max(max(xs) - min(xs), max(ys) - min(ys)) / 2
    return [
        [[round(1000 * (a - x) / half), round(1000 * (y - b) / half)] for a, b in contour]
        for contour in contours
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = outlines(folder)
    text = json.dumps(
        {"licence": "Outlines of DejaVu fonts (free licence)", "fonts": fonts},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    output.write_text(text + "\n", encoding="utf-8")
    print(
        {name: "".join(sorted(set(CHARACTERS) - set(font))) for name, font in fonts.items()},
        output.stat().st_size,
    )


if __name__ == "__main__":
    main()
