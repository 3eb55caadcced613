"""The shipped outlines are what the recipe makes of the fonts."""

import json
from importlib.resources import files
from pathlib import Path


def test_glyphs_json_is_the_recipe_s_output():
    import matplotlib

    from recipes.glyphs import outlines

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    shipped = json.loads(files("keepsight.data.drawn").joinpath("glyphs.json").read_text(encoding="utf-8"))[
        "fonts"
    ]
    assert shipped == outlines(folder)
