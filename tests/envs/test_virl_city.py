"""Drawn cities: shortest ways, landmarks on their sides, legible signs, pictures that are what the prompt says."""

import itertools
import random

import numpy as np
import pytest

import keepsight.envs
from keepsight.envs.virl import drawing
from keepsight.envs.virl.city import CITIES, City, district, scene
from keepsight.envs.virl.compass import RELATIONS, bearing, direction, wrapped
from keepsight.envs.virl.drawing import House, Scene, looked
from keepsight.envs.virl.houses import _from_streets
from keepsight.envs.virl.navigation import LINE
from keepsight.envs.virl.streets import Streets, distance, way
from keepsight.envs.virl.styles import STYLES

SIZE = 64
FOUR = [(city, number) for city in CITIES for number in (0, 33)]


def length(streets, path):
    return sum(distance(streets.places[a], streets.places[b]) for a, b in itertools.pairwise(path))


def brute_force(streets, start, end):
    """The least length of all simple paths."""
    inner = [i for i in range(len(streets.places)) if i not in (start, end)]
    paths = (
        (start, *middle, end)
        for count in range(len(inner) + 1)
        for middle in itertools.permutations(inner, count)
        if all(b in streets.neighbours[a] for a, b in itertools.pairwise((start, *middle, end)))
    )
    return min((length(streets, path) for path in paths), default=None)


def test_shortest_ways_against_all_paths():
    rng = random.Random(0)
    for _ in range(20):
        places = [(rng.random(), rng.random()) for _ in range(6)]
        pairs = [pair for pair in itertools.combinations(range(6), 2) if rng.random() < 0.45]
        streets = Streets.of(places, pairs)
        start, end = rng.sample(range(6), 2)
        path = way(streets.shortest_from(start), end)
        best = brute_force(streets, start, end)
        assert (path[0] == start) == (best is not None)
        if best is not None:
            assert length(streets, path) == pytest.approx(best)
            assert all(b in streets.neighbours[a] for a, b in itertools.pairwise(path))


@pytest.mark.parametrize("city,number", FOUR)
def test_routes_are_shortest_ways_that_turn(city, number):
    plan, routes = district(city, number).plan, district(city, number).routes
    at = {place: i for i, place in enumerate(plan.streets.places)}
    assert len({route.name for route in routes}) == len(routes) == 20
    for route in routes:
        corners = [at[route.start], *(at[milestone.place] for milestone in route.milestones)]
        before = plan.streets.shortest_from(corners[0])
        best = length(plan.streets, way(before, corners[-1]))
        places = [plan.streets.places[i] for i in corners]
        assert sum(distance(a, b) for a, b in itertools.pairwise(places)) == pytest.approx(best)
        headings = [milestone.heading for milestone in route.milestones]
        assert all(abs(wrapped(b - a)) >= 19 for a, b in itertools.pairwise([route.heading, *headings][1:]))
        assert abs(wrapped(headings[0] - route.heading)) >= 9
        assert corners[0] in plan.quiet and corners[-1] in plan.shops
        assert all(len(plan.streets.neighbours[i]) >= 3 for i in corners[1:-1])


def test_every_turn_is_to_another_word():
    for city in CITIES:
        for number in range(0, 1000, 40):
            route = City(city).route(number)
            faced = [direction(route.heading), *(milestone.facing for milestone in route.milestones)]
            assert all(a != b for a, b in itertools.pairwise(faced)), route.name


@pytest.mark.parametrize("city,number", FOUR)
def test_a_landmark_is_where_it_is_said_to_be(city, number):
    plan, routes = district(city, number).plan, district(city, number).routes
    shops = {
        shop.name: shop for kept in (plan.corner_shops, plan.shops) for each in kept.values() for shop in each
    }
    assert len(shops) == sum(len(each) for kept in (plan.corner_shops, plan.shops) for each in kept.values())
    for route in routes:
        for milestone in route.milestones:
            assert milestone.facing == direction(milestone.heading)
            if milestone.landmark is None:
                continue
            shop = shops[milestone.landmark.name]
            away = wrapped(bearing(milestone.place, shop.sign_at) - milestone.heading)
            side = RELATIONS.index(milestone.landmark.relation) * 45
            assert abs(wrapped(away - side)) < 22.5
            ends = [wrapped(bearing(milestone.place, end) - milestone.heading) % 360 for end in shop.sign]
            assert len({int((end + 45) % 360 // 90) for end in ends}) == 1, (
                "the sign is cut by the border of two views"
            )
    assert all(route.milestones[-1].landmark.relation in ("left", "right") for route in routes)


def test_headings_are_of_all_kinds_and_not_multiples_of_90():
    headings = [
        m.heading for n in range(3) for route in district("aldmoor", n).routes for m in route.milestones
    ]
    assert {direction(each) for each in headings} == {
        "north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest"
    }  # fmt: skip
    assert sum(each % 90 == 0 for each in headings) < len(headings) / 10


def test_streets_have_unlike_many_points():
    env = keepsight.envs.make("virl", vision=False)
    counts = set()
    for seed in range(20):
        env.reset(seed=seed)
        runs = "".join("f" if point.absolute == "forward()" else " " for point in env.points).split()
        counts |= {len(run) for run in runs}
    assert len(counts) >= 4


def test_cities_share_neither_names_nor_colours():
    for a, b in itertools.combinations(CITIES, 2):
        assert not {word for words in STYLES[a].words for word in words} & {
            w for words in STYLES[b].words for w in words
        }
        assert not set(STYLES[a].walls) & set(STYLES[b].walls) and STYLES[a].road != STYLES[b].road
    grounds = [views(City(city), 0)[0][-8:].mean(axis=(0, 1)) for city in CITIES]
    skies = [views(City(city), 0)[0][:8].mean(axis=(0, 1)) for city in CITIES]
    for means in (grounds, skies):
        assert all(np.abs(a - b).max() > 15 for a, b in itertools.combinations(means, 2))


def test_cities_are_always_the_same():
    routes = [City(city).route(7) for city in CITIES]
    district.cache_clear()
    scene.cache_clear()
    assert [City(city).route(7) for city in CITIES] == routes
    assert len({route.name for route in routes}) == 4 and len(City("solera")) == 1000


# ---- pictures


def views(city, number, size=SIZE):
    """The four views at the start of a route."""
    route = city.route(number)
    return [
        city.view(number, route.start, (route.heading + right) % 360, size) for right in (0, 90, 180, 270)
    ]


def quarter(picture, i):
    """View i of a grid."""
    size = (picture.shape[0] - LINE) // 2
    top, left = (side * (size + LINE) for side in divmod(i, 2))
    return picture[top : top + size, left : left + size]


def test_the_grid_is_front_right_back_left():
    env = keepsight.envs.make("virl", resolution=SIZE)
    env.reset(seed=1)
    env.play(env.expert())
    point, picture = env.point, env.picture()
    for i, right in enumerate((0, 90, 180, 270)):
        expected = env.world.view(env.number, point.place, (point.heading + right) % 360, SIZE)
        assert np.array_equal(quarter(picture, i), expected)
    assert not picture[SIZE : SIZE + LINE].any() and not picture[:, SIZE : SIZE + LINE].any()


def test_pictures_are_new_and_the_kept_ones_cannot_be_changed():
    env = keepsight.envs.make("virl", resolution=SIZE)
    env.reset(seed=1)
    first = env.picture()
    first[...] = 7
    assert (env.picture() != 7).any()
    with pytest.raises(ValueError, match="read-only"):
        views(City("aldmoor"), 0)[0][...] = 7


def painted(monkeypatch, name):
    """Makes the sign of one shop magenta, so that it can be found."""
    drawn = drawing._sign

    def sign(house, *arguments):
        picture = drawn(house, *arguments)
        return np.full_like(picture, (255, 0, 255)) if house.name == name else picture

    monkeypatch.setattr(drawing, "_sign", sign)


def magenta(picture):
    return int(((picture[..., 0] > 160) & (picture[..., 1] < 40) & (picture[..., 2] > 160)).sum())


SIDES = {"front": {0}, "right": {1}, "behind": {2}, "left": {3}, "right front": {0, 1}, "right behind": {1, 2},
         "left behind": {2, 3}, "left front": {0, 3}}  # fmt: skip


def test_a_landmark_is_in_the_view_of_its_side(monkeypatch):
    """Whole in one view, on the named side, large enough to be read, and hidden by nothing."""
    found = set()
    for city, number in FOUR[::3]:
        drawn = scene(city, number)
        for milestone in (
            m for route in district(city, number).routes[:3] for m in route.milestones if m.landmark
        ):
            with monkeypatch.context() as patch:
                painted(patch, milestone.landmark.name)
                pixels = [
                    magenta(looked(drawn, milestone.place, milestone.heading + right, SIZE))
                    for right in (0, 90, 180, 270)
                ]
            (view,) = np.flatnonzero(pixels)
            assert view in SIDES[milestone.landmark.relation], (milestone, pixels)
            assert pixels[view] > SIZE**2 / 60
            found.add(milestone.landmark.relation)
    assert len(found) >= 5 and {"left", "right"} <= found


def test_a_sign_on_the_right_is_drawn_as_it_is_written():
    """Not mirrored, and at full size as sharp as the lettering itself."""
    house = House(
        ((-3.0, 7.5), (3.0, 7.5)), 3.5, 5.0, (90, 90, 200), "Old Hare Inn", (255, 255, 255), (0, 0, 0)
    )
    view = looked(Scene.of(STYLES["aldmoor"], [((-50.0, 0.0), (50.0, 0.0))], [house]), (0.0, 0.0), 0.0, 512)
    sign = drawing._sign(house, 96, 6.0)
    dark = np.argwhere((view < 60).all(axis=2))  # the rim
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0) + 1
    shown = view[top:bottom, left:right, 0]
    rows = np.arange(shown.shape[0]) * sign.shape[0] // shown.shape[0]
    columns = np.arange(shown.shape[1]) * sign.shape[1] // shown.shape[1]
    expected = sign[rows][:, columns, 0].astype(float)
    inner = np.s_[10:-10, 10:-10]  # without the rim, which is the same on both sides
    alike = np.corrcoef(shown[inner].ravel().astype(float), expected[inner].ravel())[0, 1]
    mirrored = np.corrcoef(shown[:, ::-1][inner].ravel().astype(float), expected[inner].ravel())[0, 1]
    assert alike > 0.8 > mirrored + 0.2
    assert left == pytest.approx(256 - 3 / 7.5 * 256, abs=2) and right == pytest.approx(
        256 + 3 / 7.5 * 256, abs=2
    )


def test_streets_are_seen_where_they_lead_and_only_there():
    style = STYLES["aldmoor"]
    cross = Scene.of(style, [((0.0, 0.0), (0.0, 90.0)), ((0.0, 0.0), (90.0, 0.0))], [_far_house()])
    road = np.array(style.road)
    open_ways = []
    for heading in (0, 90, 180, 270):
        view = looked(cross, (0.0, 0.0), heading, SIZE).astype(int)
        middle = view[SIZE // 2 + 6, SIZE // 2]  # some 12 m ahead
        open_ways.append(bool(np.abs(middle - road).max() < 30))
    assert open_ways == [True, True, False, False]


def test_the_nearer_wall_hides_the_farther_and_the_higher_looks_over_the_lower():
    red, blue = (200, 0, 0), (0, 0, 200)
    near = House(((-5.0, 10.0), (5.0, 10.0)), 2.0, 4.0, red, "x", red, red)
    far = House(((-9.0, 20.0), (9.0, 20.0)), 2.0, 18.0, blue, "x", blue, blue)
    for houses in ([near, far], [far, near]):
        view = looked(Scene.of(STYLES["aldmoor"], [((0.0, 0.0), (0.0, 5.0))], houses), (0.0, 0.0), 0.0, SIZE)
        column = view[:, SIZE // 2]
        assert column[SIZE // 2][0] > 100 > column[SIZE // 2][2] and column[SIZE // 2 - 12][2] > 100


def test_what_a_high_wall_hides_is_not_seen_above_a_low_one_behind_it():
    red, green, blue = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    houses = [
        House(((-40.0, y), (40.0, y)), 1.0, height, colour, "x", colour, colour)
        for y, height, colour in ((10.0, 12.0, red), (20.0, 4.0, green), (30.0, 14.0, blue))
    ]
    for order in itertools.permutations(houses):
        view = looked(Scene.of(STYLES["aldmoor"], [((0.0, 0.0), (0.0, 5.0))], order), (0.0, 0.0), 0.0, SIZE)
        column = view[: SIZE // 2, SIZE // 2].astype(int)
        assert (column[:, 0] > 150).any() and not ((column[:, 2] > 150) & (column[:, 0] < 50)).any()


def test_signs_stand_beside_the_streets():
    for city, number in FOUR:
        plan = district(city, number).plan
        ends = np.array([end for each in plan.corner_shops.values() for shop in each for end in shop.sign])
        assert len(ends) and _from_streets(ends, np.array(plan.lines)).min() > drawing.ROAD - 0.1


def test_a_wall_at_or_behind_the_camera_is_no_trouble():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ends = rng.uniform(-3, 3, (6, 4))
        houses = [House(((a, b), (c, d)), 2.0, 5.0, (1, 2, 3)) for a, b, c, d in ends.tolist()]
        around = Scene.of(STYLES["solera"], [((0.0, 0.0), (0.0, 50.0))], houses)
        with np.errstate(invalid="raise"):
            assert looked(around, (0.0, 0.0), float(rng.uniform(0, 360)), 33).shape == (33, 33, 3)


def _far_house():
    return House(((900.0, 900.0), (910.0, 900.0)), 5.0, 5.0, (1, 2, 3))
