"""V-IRL's own files: routes, panoramas, and the mapping that comes as a pickle."""

import contextlib
import itertools
import json
import math
import os
import pickle
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keepsight.envs
from keepsight import tasks
from keepsight.envs.virl.files import milestone_blocks, read_routes
from keepsight.envs.virl.panorama import Panoramas, cropped, metres
from keepsight.envs.virl.pickled import MAPPING, convert_mapping, plain_mapping
from keepsight.errors import KeepsightError
from keepsight.evaluate import evaluate
from keepsight.store import Store
from keepsight.types import Output
from tests.fuzz import mutated

START, FIRST, SECOND, END = [40.0, -74.0], [40.0004, -74.0], [40.0004, -73.9995], [40.0001, -73.9995]
BLOCK = """
{
"intersection_idx": "%d",
"landmarks": "%s",
"distance": "%d meters",
"human_heading": "%d",
"to_next_intersection_heading": "%s",
}
"""


def milestones():
    rows = [
        (1, 'Joe\'s "Best" Pizza, Inc. is on your left front', 44, 350, "0 (north)"),
        (2, "No landmark nearby", 43, 0, "90 (east)"),
        (3, "The destination MoMA: Design Store is on your right", 33, 90, "180 (south)"),
    ]
    return "".join(BLOCK % row for row in rows)


def route(**changes):
    return {
        "dest_place": {"name": "MoMA: Design Store", "geocode": END},
        "start_place": {"name": "Start", "geocode": START, "relocated_geocode": START},
        "route_results": {"geocode_list": [FIRST, SECOND, END], "landmark_list": [{"name": "Joe's"}, None]},
        "init_heading": 350,
        "instruction": "First, ...",
        "milestone_info": milestones(),
        **changes,
    }


def written(folder, value):
    path = folder / "route_infos.json"
    path.write_text(json.dumps(value))
    return path


# ---- routes


@pytest.mark.parametrize("form", [lambda r: [[r], 1], lambda r: [r], lambda r: r, lambda r: [[r, r], 2]])
def test_a_real_route_gives_the_right_steps(tmp_path, form):
    env = keepsight.envs.make(
        "virl", vision=False, routes=written(tmp_path, form(route())), straight_line_length=2
    )
    env.reset(seed=0)
    assert list(env.sentences) == [
        "First, turn slightly right to face north.",
        'Move forward until you reach the next intersection where Joe\'s "Best" Pizza, Inc. is on your left front.',
        "Turn right to face east.",
        "Move forward until you reach the next intersection.",
        "Turn right to face south.",
        "Move forward until the destination MoMA: Design Store is on your right.",
    ]
    answers = []
    while True:
        answers.append(json.loads(env.expert()))
        if env.play(env.expert()).solved:
            break
    assert [each["action"] for each in answers] == [
        "turn_direction(north)", "forward()", "forward()", "turn_direction(east)", "forward()", "forward()",
        "turn_direction(south)", "forward()", "forward()", "stop()",
    ]  # fmt: skip
    assert [
        each["current observation"] for each in answers if "andmarks" not in each["current observation"]
    ] == [
        'Joe\'s "Best" Pizza, Inc. is on my left front; I observe an intersection',
        "The destination MoMA: Design Store is on my right;",
    ]


def test_north_is_a_heading_like_any_other(tmp_path):
    unsaid = {key: value for key, value in route().items() if key != "init_heading"}
    for each in (route(init_heading=0), unsaid):
        (read,) = read_routes(written(tmp_path, [[each], 1]))
        assert read.heading == 0


def test_consecutive_seeds_ask_each_route_once(tmp_path):
    arguments = {"vision": False, "routes": written(tmp_path, [[route() for _ in range(18)], 18])}
    task = tasks.get("env:virl", **arguments)
    asked = [sample.meta["facts"]["route"] for sample in task.test()]
    assert asked == [f"route_infos-{number}" for number in range(18)]
    task = tasks.get("env:virl", n=20, seed=10, **arguments)
    asked = [sample.meta["facts"]["route"] for sample in task.test()]
    assert asked == [f"route_infos-{number % 18}" for number in range(10, 30)]


def test_without_a_seed_a_route_of_a_file_is_drawn(tmp_path):
    env = keepsight.envs.make("virl", vision=False, routes=written(tmp_path, [route() for _ in range(18)]))
    env.begin(seed=5)
    first = env.number
    drawn = []
    for _ in range(40):
        env.begin()
        drawn.append(env.number)
    assert first == 5 and len(set(drawn)) > 10 and drawn != sorted(drawn)
    env.begin(seed=5, options={"route": 2})
    assert env.number == 2


NASTY = [
    ([], "holds no routes"),
    ([[], 0], "holds no routes"),
    (7, "holds no routes"),
    ("x", "holds no routes"),
    ([None], "no start_place"),
    ([[1]], "no start_place"),
    ({}, "no start_place"),
    (route(start_place={}), "no start_place.relocated_geocode"),
    (route(start_place=[START]), "no start_place.relocated_geocode"),
    (route(start_place={"relocated_geocode": [91, 0]}), "no place"),
    (route(start_place={"relocated_geocode": ["40", "74"]}), "no place"),
    (route(start_place={"relocated_geocode": [True, 1]}), "no place"),
    (route(start_place={"relocated_geocode": {"lat": 1}}), "no place"),
    (route(route_results={}), "no route_results.geocode_list"),
    (route(route_results={"geocode_list": [FIRST]}), "1 places and milestone_info 3 blocks"),
    (route(route_results={"geocode_list": "here"}), "no places"),
    (route(init_heading="north"), "init_heading"),
    (route(init_heading=True), "init_heading"),
    (route(milestone_info=None), "not a text"),
    (route(milestone_info=[{}]), "not a text"),
    (route(milestone_info=""), "no whole block"),
    (route(milestone_info="{"), "no whole block"),
    (route(milestone_info="}"), "braces"),
    (route(milestone_info="{\n{\n}\n}"), "braces"),
    (route(milestone_info="{\n__import__('os').system('true')\n}"), "no key and value"),
    (route(milestone_info='{\n"a": "' + "b" * 3_000 + '"\n}'), "no key and value"),
    (route(milestone_info="{\n}\n" * 2000), "more than 1000"),
    (route(milestone_info=milestones().replace("0 (north)", "four (north)")), "to_next_intersection_heading"),
    (route(milestone_info=milestones().replace("0 (north)", "9999 (north)")), "to_next_intersection_heading"),
    (route(milestone_info=milestones().replace("0 (north)", "0 (up)")), "no direction"),
    (route(milestone_info=milestones().replace("0 (north)", "")), "to_next_intersection_heading"),
    (route(milestone_info=milestones().replace("left front", "hind left")), "landmarks"),
    (
        route(milestone_info=milestones().replace("The destination MoMA: Design Store is on your right", "")),
        "landmarks",
    ),
]


@pytest.mark.parametrize("value,told", NASTY)
def test_what_is_no_route_is_told(tmp_path, value, told):
    with pytest.raises(KeepsightError, match=told) as error:
        read_routes(written(tmp_path, value))
    assert (
        "route_infos.json" in str(error.value)
        and "\n" not in str(error.value)
        and len(str(error.value)) < 500
    )


def test_the_route_that_is_wrong_is_named(tmp_path):
    with pytest.raises(KeepsightError, match="route 1 of"):
        read_routes(written(tmp_path, [[route(), {}], 2]))


def test_a_heading_without_a_word_has_its_nearest(tmp_path):
    (read,) = read_routes(written(tmp_path, route(milestone_info=milestones().replace("90 (east)", "80"))))
    assert [each.facing for each in read.milestones] == ["north", "east", "south"]


def test_long_lines_take_no_long_time():
    start = time.process_time()
    for line in ('"a": "' + " " * 1_980 + 'b"', '"a": ' + '"' * 1_990, '"' * 1_990, "x" * 10**6):
        with contextlib.suppress(KeepsightError):
            milestone_blocks("{\n" + line + "\n}")
    assert time.process_time() - start < 2


def test_fuzzed_routes(tmp_path):
    rng, good = random.Random(1), json.dumps([[route()], 1]).encode()
    path, read = tmp_path / "route_infos.json", 0
    for _ in range(200):
        path.write_bytes(mutated(good, rng))
        with contextlib.suppress(KeepsightError):
            read += len(read_routes(path))
    assert read


# ---- panoramas


def striped(width=256):
    """A panorama whose columns tell their heading: red = degrees / 2; whose rows tell their height."""
    columns = (np.arange(width) + 0.5) / width * 180
    picture = np.empty((width // 2, width, 3), np.uint8)
    picture[..., 0] = columns
    picture[..., 1] = ((np.arange(width // 2) + 0.5) / (width // 2) * 255)[:, None]
    picture[..., 2] = 0
    return picture


@pytest.mark.parametrize("heading", [45, 90, 180, 300])
def test_a_crop_looks_where_it_should(heading):
    view = cropped(striped(1024), heading, 101).astype(float)
    assert view[50, 50] == pytest.approx((heading / 2, 127.5, 0), abs=1.5)
    assert view[50, 0, 0] == pytest.approx((heading - 44.7) % 360 / 2, abs=2)
    assert view[50, -1, 0] == pytest.approx((heading + 44.7) % 360 / 2, abs=2)
    assert view[50, 75, 0] == pytest.approx((heading + math.degrees(math.atan(50 / 101))) % 360 / 2, abs=1.5)
    assert view[0, 50, 1] == pytest.approx(255 / 4, abs=3) and view[-1, 50, 1] == pytest.approx(
        255 * 3 / 4, abs=3
    )
    assert (np.diff(view[50, :, 0]) >= 0).all()


def test_crops_go_round_and_fit_together():
    panorama = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    assert np.array_equal(cropped(panorama, -30, 40), cropped(panorama, 330, 40))
    rolled = np.roll(panorama, 32, axis=1)  # a quarter to the right
    assert np.array_equal(cropped(panorama, 10, 40), cropped(rolled, 100, 40))
    assert cropped(np.full((2, 4, 3), 9, np.uint8), 77, 32).tolist() == np.full((32, 32, 3), 9).tolist()


def street_views(folder, rotation=90.0, mapping=True):
    """Panoramas along the route, every five metres."""
    folder.mkdir()
    corners = [START, FIRST, SECOND, END]
    places = [
        (a[0] + (b[0] - a[0]) * i / 10, a[1] + (b[1] - a[1]) * i / 10)
        for a, b in itertools.pairwise(corners)
        for i in range(11)
    ]
    for i in range(len(places)):
        Image.fromarray(striped()).save(folder / f"pano-{i}.jpg", quality=95)
        (folder / f"pano-{i}.metadata.json").write_text(json.dumps({"rotation": rotation}))
    (folder.parent / "gps_pano_mapping.pkl").write_bytes(
        pickle.dumps({place: f"pano-{i}" for i, place in enumerate(places)}, protocol=2)
    )
    if mapping:
        assert convert_mapping(folder.parent / "gps_pano_mapping.pkl", folder.parent / MAPPING) == len(
            set(places)
        )
    return folder


def test_a_route_with_street_views(tmp_path):
    env = keepsight.envs.make(
        "virl",
        routes=written(tmp_path, [[route()], 1]),
        street_views=street_views(tmp_path / "views"),
        resolution=64,
    )
    env.reset(seed=0)
    env.play(env.expert())
    picture, heading = env.picture(), env.point.heading
    for i, right in enumerate((0, 90, 180, 270)):
        top, left = (side * 69 for side in divmod(i, 2))
        seen = picture[top + 32, left + 32, 0]
        assert seen == pytest.approx((heading + right + 90) % 360 / 2, abs=5)  # north lies at 90
    while not (move := env.play(env.expert())).terminated:
        pass
    assert move.solved
    away = [metres(a.place, b.place) for a, b in zip(env.points, env.points[1:])]
    assert min(away) > 7.9


def test_places_without_a_panorama_are_left_out(tmp_path):
    folder = street_views(tmp_path / "views")
    mapping = tmp_path / MAPPING
    rows = [
        row for row in json.loads(mapping.read_text()) if not 40.0001 < row[0] < 40.0003 or row[1] > -73.9999
    ]
    mapping.write_text(json.dumps(rows))
    arguments = {"routes": written(tmp_path, [[route()], 1]), "street_views": folder, "resolution": 32}
    env = keepsight.envs.make("virl", **arguments)
    env.reset(seed=0)
    first = [point.absolute for point in env.points].index("turn_direction(east)")
    assert first < 6
    mapping.write_text(json.dumps(rows[-3:]))
    with pytest.raises(KeepsightError, match="no street view near"):
        keepsight.envs.make("virl", **arguments).reset(seed=0)


@pytest.mark.parametrize(
    "change,told",
    [
        (lambda folder: (folder.parent / MAPPING).unlink(), "convert_mapping"),
        (lambda folder: (folder.parent / MAPPING).write_text("[]"), "no list of"),
        (lambda folder: (folder.parent / MAPPING).write_text('[[91, 0, "a"]]'), "no list of"),
        (lambda folder: (folder.parent / MAPPING).write_text('[[1e999, 0, "a"]]'), "cannot read"),
        (lambda folder: [path.unlink() for path in folder.glob("*.jpg")], "no file 'pano-"),
        (lambda folder: [path.write_bytes(b"") for path in folder.glob("*.jpg")], "empty"),
        (lambda folder: [Image.new("RGB", (10, 10)).save(p) for p in folder.glob("*.jpg")], "twice as wide"),
        (lambda folder: [path.unlink() for path in folder.glob("*.json")], "no file 'pano-"),
        (lambda folder: [path.write_text("{}") for path in folder.glob("*.json")], "rotation"),
        (lambda folder: [path.write_text('{"rotation": "1"}') for path in folder.glob("*.json")], "rotation"),
    ],
)
def test_broken_street_views_are_named(tmp_path, change, told):
    folder = street_views(tmp_path / "views")
    change(folder)
    with pytest.raises(KeepsightError, match=told):
        keepsight.envs.make(
            "virl", routes=written(tmp_path, [[route()], 1]), street_views=folder, resolution=32
        ).reset(seed=0)


class Seeing:
    """Answers as the expert would, and keeps the pictures that it was shown."""

    name, digest = "seeing", "s" * 64

    def __init__(self, env):
        self.env = env
        self.shown = []

    def generate(self, samples, **settings):
        for index, sample in enumerate(samples):
            self.shown.append(sample.media[0].sha256)
            self.env.begin(seed=0)
            for _ in range(sample.meta["point"]):
                self.env.play(self.env.expert())
            yield index, Output(self.env.expert())


def seen_on_the_way(tmp_path, **arguments):
    """What a model is shown in the one episode, as an evaluation into one and the same folder asks it."""
    model = Seeing(keepsight.envs.make("virl", **arguments))
    given = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    evaluate(model, tasks.get("env:virl", **given), Store(tmp_path / "out"))
    return model.shown


@pytest.mark.parametrize("ending", [".jpg", ".metadata.json"])
def test_no_answer_outlives_a_panorama_that_changed(tmp_path, ending):
    folder = street_views(tmp_path / "views")
    arguments = {"routes": written(tmp_path, [[route()], 1]), "street_views": folder, "resolution": 32}
    first = seen_on_the_way(tmp_path, **arguments)
    assert len(first) > 5 and not seen_on_the_way(tmp_path, **arguments)
    env = keepsight.envs.make("virl", **arguments)
    env.begin(seed=0)
    at = Panoramas.read(folder).nearest(env.points[3].place)[1]
    if ending == ".jpg":
        Image.fromarray(striped()[:, ::-1]).save(folder / f"{at}.jpg", quality=95)
    else:
        (folder / f"{at}.metadata.json").write_text(json.dumps({"rotation": 10.0}))
    again = seen_on_the_way(tmp_path, **arguments)
    assert [a == b for a, b in zip(first, again, strict=True)] == [i != 3 for i in range(len(first))]


def test_a_panorama_that_changed_is_read_again(tmp_path):
    panoramas = Panoramas.read(street_views(tmp_path / "views"))
    before = panoramas.view(tuple(START), 0, 32)
    assert np.array_equal(before, panoramas.view(tuple(START), 0, 32))
    at = panoramas.nearest(tuple(START))[1]
    Image.fromarray(striped()[:, ::-1]).save(panoramas.folder / f"{at}.jpg", quality=95)
    assert not np.array_equal(before, panoramas.view(tuple(START), 0, 32))


def test_the_files_of_panoramas_are_part_of_what_was_asked(tmp_path):
    folder, routes = street_views(tmp_path / "views"), written(tmp_path, [[route()], 1])
    named = {row[2] for row in json.loads((tmp_path / MAPPING).read_text())}
    files = keepsight.envs.make("virl", routes=routes, street_views=folder, resolution=32).files()
    pictures = {folder / f"{name}{ending}" for name in named for ending in (".jpg", ".metadata.json")}
    assert set(files) == {routes, tmp_path / MAPPING, *pictures} and len(files) == len(set(files))
    missing = next(iter(sorted(pictures)))
    missing.unlink()
    files = keepsight.envs.make("virl", routes=routes, street_views=folder, resolution=32).files()
    assert set(files) == {routes, tmp_path / MAPPING, *pictures} - {missing}
    assert keepsight.envs.make("virl", routes=routes, vision=False).files() == (routes,)


def test_an_id_cannot_leave_the_folder(tmp_path):
    folder = street_views(tmp_path / "views")
    Image.fromarray(striped()).save(tmp_path / "secret.jpg")
    (tmp_path / MAPPING).write_text(json.dumps([[*START, "../secret"]]))
    with pytest.raises(KeepsightError, match="leaves"):
        Panoramas.read(folder).view(tuple(START), 0, 32)


def test_distances_on_the_sphere():
    assert metres((0, 0), (0, 1)) == pytest.approx(111_195, rel=1e-4)
    assert metres((60, 0), (60, 1)) == pytest.approx(55_597, rel=1e-3)
    assert metres((90, 0), (-90, 55)) == pytest.approx(math.pi * 6_371_008.8)


# ---- the pickle


PLACES = {(40.7 + i / 1000, -74.0 - i / 70): f"pano_é_{i}-" for i in range(1500)} | {
    (1, 2): "whole",
    (1, 2.5): "",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_mapping_is_read_as_python_would(protocol):
    assert plain_mapping(pickle.dumps(PLACES, protocol)) == PLACES
    assert plain_mapping(pickle.dumps({}, protocol)) == {}


def test_a_conversion_keeps_every_place(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(PLACES))
    assert convert_mapping(tmp_path / "m.pkl", tmp_path / MAPPING) == len(PLACES)
    assert {(a, b): name for a, b, name in json.loads((tmp_path / MAPPING).read_text())} == PLACES


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def nested(depth):
    value = (1, 2)
    for _ in range(depth):
        value = (value, value)
    return value


def hostile(path):
    laughs = b"\x80\x02K\x01" + b"\x85" + b"q\x00" + b"h\x00\x86" * 200 + b"."
    itself = b"\x80\x02}q\x00(h\x00h\x00u."
    return {
        "reduce": pickle.dumps({(1.0, 2.0): Runs(path)}),
        "reduce protocol 0": pickle.dumps({(1.0, 2.0): Runs(path)}, 0),
        "global": b"cos\nsystem\n(S'true'\ntR.",
        "inst": b"(S'true'\nios\nsystem\n.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "build": b"\x80\x02}}b.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pabc\n.",
        "an object": pickle.dumps(Image.Image),
        "numpy": pickle.dumps({(np.float64(1), np.float64(2)): "a"}),
        "a set": pickle.dumps({(1.0, 2.0): {"a"}}),
        "nested": b"\x80\x02}K\x01K\x02\x86" + b"q\x00h\x00\x86" * 40 + b"K\x01s.",
        "nested value": pickle.dumps({(1.0, 2.0): nested(40)}),
        "laughs": laughs,
        "itself": itself,
        "long": b"\x80\x02\x8b" + struct.pack("<i", 10_000) + b"\x7f" * 10_000 + b".",
        "long text": b"L" + b"9" * 50_000 + b"L\n.",
        "huge string": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a",
        "negative string": b"T" + struct.pack("<i", -5) + b".",
        "no end": b"\x80\x02}",
        "empty": b"",
        "end alone": b".",
        "two values": b"}}.",
        "mark": b"(.",
        "no mark": b"}u.",
        "odd": b"}(K\x01u.",
        "no memo": b"h\x07.",
        "too few": b"K\x01\x87.",
        "not a dictionary": b"K\x01K\x02K\x03s.",
        "list": pickle.dumps([(1.0, 2.0)]),
        "text": b"hello",
        "mark as key": b"}((u.",
        "mark inside": b"}((K\x01s.",
    }


@pytest.mark.parametrize("name", hostile("x"))
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, name):
    (tmp_path / "m.pkl").write_bytes(hostile(tmp_path / "made")[name])
    start = time.process_time()
    with pytest.raises(KeepsightError, match=r"m\.pkl") as error:
        convert_mapping(tmp_path / "m.pkl", tmp_path / MAPPING)
    assert time.process_time() - start < 3
    assert sorted(os.listdir(tmp_path)) == ["m.pkl"] and len(str(error.value)) < 500


@pytest.mark.parametrize(
    "value",
    [
        {(1.0, 2.0, 3.0): "a"}, {1.0: "a"}, {"a": "b"}, {(1.0, "2"): "a"}, {(1.0, 2.0): 3}, {(math.nan, 2.0): "a"},
        {(1e300, 2.0): "a"}, {(True, 2.0): "a"},
    ],
)  # fmt: skip
def test_what_is_no_mapping_is_refused(tmp_path, value):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(KeepsightError):
        convert_mapping(tmp_path / "m.pkl", tmp_path / MAPPING)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_fuzzed_pickles():
    rng, good = random.Random(2), pickle.dumps(dict(list(PLACES.items())[:20]), 2)
    read = 0
    for _ in range(1500):
        with contextlib.suppress(KeepsightError):
            read += bool(plain_mapping(mutated(good, rng)))
    assert read
