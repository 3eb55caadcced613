"""V-IRL: the rail, its rewards, what is said."""

import itertools
import json
import pickle
import random

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import keepsight.envs
from keepsight.envs.actions import parse_action
from keepsight.envs.virl import wording
from keepsight.envs.virl.compass import DIRECTIONS, TURNS, direction, relation, turn, wrapped
from keepsight.envs.virl.intersection import tells_of_intersection
from keepsight.envs.virl.navigation import _files
from keepsight.envs.virl.pickled import MAPPING
from keepsight.envs.virl.route import Landmark, Milestone, Point, Route, instruction, rail
from keepsight.errors import UsageError
from tests.envs.long_texts import assert_reads_quickly
from tests.fuzz import mutated


def made(**arguments):
    env = keepsight.envs.make("virl", **{"resolution": 32, **arguments})
    env.reset(seed=3)
    return env


def answer(action, observation="No landmarks nearby;"):
    return json.dumps({"current observation": observation, "current instruction": "", "action": action})


def to_turn(env):
    """Leads the player to the first intersection that has a landmark."""
    while not (env.point.intersection and env.point.landmark):
        assert not env.play(env.expert()).truncated
    return env


# ---- directions


@pytest.mark.parametrize(
    "before,after,word",
    [
        (350, 10, "slightly right"),
        (10, 350, "slightly left"),
        (0, 45, "slightly right"),
        (0, 46, "right"),
        (0, 315, "slightly left"),
        (0, 314, "left"),
        (90, 270, "right"),
        (270, 90, "right"),
        (300, 120, "right"),
        (359, 0, "slightly right"),
        (200, 200, "slightly left"),
        (0, 298, "left"),
    ],
)
def test_turns_are_wrapped(before, after, word):
    assert turn(before, after) == word


def test_a_turn_does_not_depend_on_where_north_is():
    for by in range(-179, 181):
        assert {turn(before, (before + by) % 360) for before in range(0, 360, 7)} == {turn(0, by)}
    assert wrapped(180) == wrapped(-180) == 180
    assert all(-180 < wrapped(each) <= 180 for each in np.linspace(-1000, 1000, 777))


def test_words_for_headings_and_sides():
    assert [direction(each) for each in range(0, 360, 45)] == list(DIRECTIONS)
    assert [direction(each) for each in (298, 212, 120, 22, 23, 337, 338, 359.9)] == [
        "northwest", "southwest", "southeast", "north", "northeast", "northwest", "north", "north"
    ]  # fmt: skip
    assert [relation(350, 350 + each) for each in (0, 45, 90, 135, 180, -135, -90, -45)] == [
        "front", "right front", "right", "right behind", "behind", "left behind", "left", "left front"
    ]  # fmt: skip


# ---- the rail

PLANE = (lambda a, b: float(np.hypot(a[0] - b[0], a[1] - b[1]))), (lambda place: place)


def small_route():
    shop = Landmark("Old Hare Inn", "right behind")
    return Route(
        "small",
        (0.0, 0.0),
        350,
        (
            Milestone((0.0, 50.0), 0, "north", shop),
            Milestone((30.0, 50.0), 90, "east", None),
            Milestone((30.0, 45.0), 180, "south", Landmark("Golden Wheel Books", "left", destination=True)),
        ),
    )


def test_the_instruction_is_in_the_figures_words():
    assert instruction(small_route()) == (
        "First, turn slightly right to face north.",
        "Move forward until you reach the next intersection where Old Hare Inn is on your right behind.",
        "Turn right to face east.",
        "Move forward until you reach the next intersection.",
        "Turn right to face south.",
        "Move forward until the destination Golden Wheel Books is on your left.",
    )


def test_the_rail_of_a_small_route():
    points = rail(small_route(), 2, 8.0, *PLANE)
    assert [point.absolute for point in points] == [
        "turn_direction(north)", "forward()", "forward()",
        "turn_direction(east)", "forward()", "forward()",
        "turn_direction(south)", "stop()",
    ]  # fmt: skip
    assert [point.relative for point in points if "turn" in point.relative] == [
        "turn_direction(slightly right)", "turn_direction(right)", "turn_direction(right)"
    ]  # fmt: skip
    assert [point.heading for point in points] == [350, 0, 0, 0, 90, 90, 90, 180]
    assert [point.sentence for point in points] == [0, 1, 1, 2, 3, 3, 4, 5]
    assert [point.intersection for point in points] == [False] * 3 + [True] + [False] * 2 + [True, False]
    assert points[1].place == pytest.approx((0, 50 / 3))
    assert points[-1].landmark.destination and points[3].landmark.name == "Old Hare Inn"


@pytest.mark.parametrize("most", [1, 3, 100])
def test_points_of_a_street_are_apart(most):
    places = [point.place for point in rail(small_route(), most, 8.0, *PLANE)]
    away = [PLANE[0](a, b) for a, b in itertools.pairwise(places)]
    assert min(away[:-1]) >= 8.0 - 1e-9  # the last street is 5 m long
    assert len(places) <= 4 + 3 * most


def test_points_without_a_picture_are_left_out_and_turns_are_not():
    points = rail(small_route(), 5, 8.0, PLANE[0], lambda place: place if place[0] in (0.0, 30.0) else None)
    assert [point.absolute for point in points].count("forward()") == 5  # of the first street alone
    with pytest.raises(Exception, match="route small has no street view near"):
        rail(small_route(), 5, 8.0, PLANE[0], lambda place: None)


# ---- playing


@pytest.mark.parametrize("directions", ["absolute", "relative"])
@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("city", ["aldmoor", "solera", "nordvik", "nachtberg"])
def test_the_expert_always_arrives(city, vision, directions):
    env = keepsight.envs.make("virl", city=city, vision=vision, directions=directions, resolution=32)
    for route in range(0, 40, 3):
        env.reset(options={"route": route})
        for left in range(len(env.points) - 1, -1, -1):
            move = env.play(env.expert())
            assert (move.reward, move.status, move.tags) == (1.0, "parsed", ("recognized",))
            assert (move.terminated, move.solved) == (left == 0, left == 0) and not move.truncated


def test_a_wrong_answer_moves_nobody_and_may_be_revised():
    env = to_turn(made())
    at = env.at
    wrong = answer("stop()", "I observe an intersection; " + env.point.landmark.told("my"))
    move = env.play(wrong)
    assert (move.reward, move.truncated, env.at) == (-1.0, False, at)
    assert env.dialogue[1:] == (wrong, "Incorrect action.")
    move = env.play(env.expert())
    assert (move.reward, env.at, len(env.dialogue)) == (1.0, at + 1, 1)
    assert not env.play("nonsense").truncated  # the count began anew
    while not (move := env.play(env.expert())).terminated:
        pass
    assert move.solved  # revised answers count


def test_a_point_without_attempts_left_ends_the_episode():
    env = made(attempts=3)
    rewards = [env.play("nonsense") for _ in range(3)]
    assert [move.reward for move in rewards] == [-1.0, -1.0, -2.0]
    assert [move.truncated for move in rewards] == [False, False, True]
    assert not any(move.solved or move.terminated for move in rewards)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.play(env.expert())


@pytest.mark.parametrize(
    "observation,intersection,landmark,missed",
    [
        ("I observe an intersection", True, None, ""),
        ("No landmarks nearby; I observe an intersection", True, None, ""),
        ("There is no intersection here", True, None, "You are at"),
        ("I am not at any intersection.", False, None, ""),
        ("The intersection is not here yet", False, None, ""),
        ("The next intersection is far", False, None, ""),
        ("We don't see an intersection", False, None, ""),
        ("", True, None, "You are at"),
        ("", False, None, ""),
        ("INTERSECTION", False, None, "You are not at"),
        ("No landmarks nearby;", False, "Café de la Presse", "You did not name"),
        ("CAFE DE LA PRESSE is on my left", False, "Café de la Presse", ""),
        ("the cafe, de la-presse!", False, "Café de la Presse", ""),
        ("a cafe de la pressed", False, "Café de la Presse", "You did not name"),
        ("Hotel 32One; an intersection", True, "Hotel 32One", ""),
        ("Hotel 32; an intersection", True, "Hotel 32One", "You did not name"),
        ("9/11 Memorial ahead", False, "9/11 Memorial", ""),
        ("老王 on my left", False, "老王", ""),
    ],
)
def test_what_an_observation_misses(observation, intersection, landmark, missed):
    point = Point((0, 0), 0, "", "", 0, Landmark(landmark, "left") if landmark else None, intersection)
    assert wording.misses(observation, point, landmarks=True).startswith(missed)
    assert bool(wording.misses(observation, point, landmarks=True)) == bool(missed)
    if "name" in missed:
        assert not wording.misses(observation, point, landmarks=False)


HERE = [
    "I observe an intersection",
    "No landmarks nearby; I observe an intersection",
    "No landmarks nearby I observe an intersection",
    "No landmarks nearby, you see an intersection",
    "Old Hare Inn is on my left front; I observe an intersection",
    "There is no landmark at the intersection",
    "There are no landmarks in view at this intersection.",
    "I am at the intersection but do not see Hotel",
    "I am at the intersection and do not see Hotel",
    "At the intersection I can't see Hotel 32One",
    "I cannot see Hotel 32One from the intersection",
    "I don’t see any landmark, but I am at an intersection",
    "Without a landmark at the intersection, it is hard to tell",
    "An intersection without landmarks",
    "The intersection has no landmark",
    "The intersection does not have a landmark",
    "The intersection is not the one of the instruction",
    "At the intersection none of the landmarks is visible",
    "None of the landmarks are at this intersection",
    "There is nothing at the intersection",
    "I have reached the next intersection",
    "I reach the next intersection",
    "I am now at the next intersection",
    "I moved forward to the intersection",
    "I was moving forward, and I arrived at the intersection",
    "An intersection with Hotel 32One ahead",
    "Hotel 32One is ahead at the intersection",
    "No landmarks are visible and an intersection is here",
    "The landmark is not visible and intersection is visible",
    "I am not at a landmark; intersection",
    "No landmarks nearby - an intersection",
    "Intersection: yes, landmark: none",
    "intersection",
    "Two streets cross (an intersection)",
    "INTERSECTIONS",
    "I am standing at a four-way intersection (no landmarks).",
]
NOT_HERE = [
    "No landmarks nearby;",
    "I cannot see an intersection",
    "I can't see any intersection",
    "I can’t see any intersection",
    "I cant see an intersection",
    "I see no intersection",
    "I do not see any landmark or an intersection near Hotel 32One",
    "There are no visible landmarks or intersections",
    "There are no landmarks and intersections",
    "There are no shops, signs, or intersections in view",
    "There is neither a landmark nor an intersection",
    "intersection: none",
    "Intersection: No",
    "Intersection here? No.",
    "{'landmarks': 'none', 'intersection': False}",
    "You don’t observe an intersection",
    "You do not observe any intersection",
    "I am not at an intersection",
    "I'm not yet at the intersection",
    "I do not think I am at an intersection",
    "I am not sure that I see an intersection",
    "We are nowhere near an intersection",
    "There is no sign of an intersection",
    "I have not reached the intersection",
    "I have yet to reach the intersection",
    "I am moving forward to the next intersection",
    "I am walking along the street towards the intersection.",
    "I am approaching an intersection",
    "Move forward until you reach the next intersection",
    "I keep going to reach the next intersection",
    "I am on the way to the intersection",
    "I am between two intersections",
    "There is an intersection ahead",
    "I can see the intersection a few steps away",
    "The intersection is far from here",
    "The next intersection is not visible",
    "The intersection is not here yet",
    "The intersection cannot be seen",
    "The intersection isn't in view",
    "An intersection does not appear",
    "No landmarks nearby; no intersection",
    "A straight street without any intersection",
]


@pytest.mark.parametrize("text", HERE)
def test_an_observation_that_tells_of_an_intersection(text):
    assert tells_of_intersection(text) and tells_of_intersection(text.upper())


@pytest.mark.parametrize("text", NOT_HERE)
def test_an_observation_that_tells_of_none(text):
    assert not tells_of_intersection(text) and not tells_of_intersection(text.upper())


def test_who_repeats_the_template_has_observed_nothing():
    env = made()
    said = "latest observation from the street view grid"
    assert said in env.prompt() and not env.point.intersection
    for text in (
        answer("stop()", said),
        f'"current observation": {said},\n"action": "stop()"',
        answer("stop()", ""),
    ):
        env.reset(seed=3)
        move = env.play(text)
        assert (move.reward, move.tags) == (-1.0, ())
        env = to_turn(env)
        move = env.play(text)
        assert (move.reward, move.tags) == (-1.5, ())


@pytest.mark.parametrize("intersection", [True, False])
def test_no_observation_takes_long(intersection):
    point = Point((0, 0), 0, "", "", 0, Landmark("Café", "left"), intersection)
    assert_reads_quickly(lambda text: wording.misses(text, point, landmarks=True))


def test_failed_detection_costs_more_and_is_told():
    env = to_turn(made(attempts=9))
    name = env.point.landmark.name
    for observation, reward, told in [
        (f"{name}; I observe an intersection", -1.0, ""),
        (f"{name} is near", -1.5, " You are at an intersection."),
        ("I observe an intersection", -1.5, " You did not name the landmark that is nearby."),
    ]:
        move = env.play(answer("stop()", observation))
        assert (move.reward, move.message) == (reward, "Incorrect action." + told)
        assert move.tags == ("misrecognized" if told else "recognized",)
        assert name not in move.message
    assert env.play(answer(env.right(env.point), "nothing")).reward == 1.0  # the action alone decides


def test_words_alone_need_no_landmark_and_no_thoughts_no_observation():
    env = to_turn(made(vision=False))
    assert env.play(answer("stop()", "I observe an intersection")).reward == -1.0
    env = to_turn(made(thoughts=False))
    move = env.play('{"action": "stop()"}')
    assert (move.reward, move.tags) == (-1.0, ())
    assert json.loads(env.expert()) == {"action": env.right(env.point)}
    assert '"current observation"' not in env.prompt()


@pytest.mark.parametrize(
    "text,status",
    [
        ("", "unparsed"),
        ("I would go on.", "unparsed"),
        ('{"action": "turn_direction(up)"}', "illegal"),
        ('{"action": 7}', "illegal"),
        ('{"action": null}', "unparsed"),
        ('{"action": "forwards"}', "illegal"),
        ('{"current observation": "x",\n"current instruction": "y",\n"action": "stop()",\n}', "parsed"),
        ('{"action": "STOP()"}', "parsed"),
        ("stop()", "parsed"),
        ('"action": "turn_direction(southwest)" or so', "parsed"),
        ("{" * 5000, "unparsed"),
        ('{"current observation": ["intersection"], "action": ["stop()"]}', "unparsed"),
    ],
)
def test_any_text_is_judged(text, status):
    env = made()
    at = env.at
    move = env.play(text)
    assert move.status == status and env.at == at and move.reward in (-1.0, -1.5)
    assert "random_action" not in move.tags


def test_fuzzed_texts_never_crash():
    env, rng = made(attempts=100, vision=False), random.Random(5)
    for _ in range(2000):
        text = mutated(env.expert().encode(), rng).decode("utf-8", rng.choice(["replace", "surrogateescape"]))
        move = env.play(text)
        assert isinstance(env.dialogue[-1], str)
        assert move.reward in (1.0, -1.0, -1.5, -2.0, -2.5)
        if move.terminated or move.truncated:
            env.reset(options={"route": 3})


# ---- what is said


def test_the_prompt_of_figure_d4():
    env = made(vision=False)
    while env.points[1].absolute != "forward()":  # the first street is a short one
        env.reset()
    while env.at < 2:
        env.play(env.expert())
    text = env.prompt()
    titles = [line for line in text.splitlines() if line.startswith("[")]
    assert titles == [
        "[Task Description]", "[Instruction]", "[Action space]", "[Observations and actions sequence]", "[Output]"
    ]  # fmt: skip
    assert (
        f"O_1: No landmarks nearby;\nA_1: {env.points[0].absolute}\nO_2: No landmarks nearby;\nA_2: forward()\nO_3: "
        in text
    )
    assert "\nA_3:\n[Output]\nYour response should be a valid json file in the following format:\n{\n" in text
    assert "x∈['north', 'northeast', 'east', 'southeast', 'south', 'southwest', 'west', 'northwest'];" in text


def test_vision_tells_of_intersections_and_not_of_the_landmark_that_is_to_be_seen():
    env = to_turn(made())
    last = env.prompt().split("O_")[-1]
    assert last.startswith(
        f"{env.at + 1}: You observe an image of 4 views; You observe an intersection\nA_{env.at + 1}:\n"
    )
    assert env.point.landmark.name not in last
    assert "[front, right\nback, left]" in env.prompt()
    words = to_turn(made(vision=False))
    assert f"{words.point.landmark.told()}; You observe an intersection\nA_" in words.prompt()


def test_relative_directions_are_the_action_space_and_the_history():
    env = made(directions="relative")
    env.play(env.expert())
    assert "x∈['left', 'right', 'slightly left', 'slightly right'];" in env.prompt()
    assert env.prompt().count("turn_direction(") == 2 and env.points[0].relative in env.prompt()
    assert set(env.actions) == {"forward()", "stop()", *(f"turn_direction({each})" for each in TURNS)}


def test_the_experts_answer_is_that_of_the_figures():
    env = to_turn(made())
    told = json.loads(env.expert())
    assert list(told) == ["current observation", "current instruction", "action"]
    landmark = env.point.landmark
    assert (
        told["current observation"]
        == f"{landmark.name} is on my {landmark.relation}; I observe an intersection"
    )
    assert told["current instruction"].startswith("Turn ") and told["action"] == env.point.absolute


@pytest.mark.parametrize("vision", [True, False])
def test_what_is_hidden_is_not_said(vision):
    """The history and the list of actions name actions; the last line, which asks for one, does not."""
    env = made(vision=vision)
    while not env.point.landmark:
        last = env.prompt().split("O_")[-1].split("[Output]")[0]
        assert env.hidden()["action"] not in last
        env.play(env.expert())
        env.play("nonsense")
        assert all(env.right(env.point) not in reply for reply in env.replies)


# ---- as a Gymnasium environment


@pytest.mark.parametrize(
    "arguments", [{}, {"action": "index"}, {"vision": False}, {"directions": "relative"}]
)
def test_gymnasiums_checker(arguments):
    check_env(keepsight.envs.make("virl", resolution=32, **arguments), skip_render_check=True)


def test_numbers_for_actions():
    env = gymnasium.make("keepsight/VIRL-v1", action="index", resolution=32).unwrapped
    picture, _ = env.reset(seed=0)
    assert env.action_space.n == 10 and picture.shape == (69, 69, 3)
    assert env.actions[0] == "forward()" and env.actions[-1] == "stop()"
    while True:
        _, reward, terminated, truncated, info = env.step(env.actions.index(env.right(env.point)))
        assert reward == 1.0 and not truncated
        if terminated:
            break
    assert info["solved"]
    env.reset(seed=0)
    assert [env.play(9).reward for _ in range(2)] == [-1.0, -2.0]


def test_a_seed_is_an_episode_and_a_pickle_goes_on_alike():
    def seen(env):
        return env.picture().tobytes(), env.dialogue, env.facts(), env.hidden()

    a, b = made(), made()
    for text in ["nonsense", None, None, "stop()", None]:
        assert seen(a) == seen(b)
        a.play(text or a.expert())
        b.play(text or b.expert())
        b = pickle.loads(pickle.dumps(b))
    assert seen(a) == seen(b)


def test_routes_are_all_drawn_and_can_be_named():
    env = made()
    numbers = {env.reset()[1]["route"] for _ in range(20)}
    assert len(numbers) > 15
    assert env.reset(options={"route": 41})[1]["route"] == env.reset(options={"route": 41})[1]["route"]
    for wrong in (1000, -1, "one", True):
        with pytest.raises(UsageError, match="option route"):
            env.reset(options={"route": wrong})


@pytest.mark.parametrize("length", [1, 5, 100])
def test_no_route_is_longer_than_a_new_environment_says(length):
    env = keepsight.envs.make("virl", vision=False, straight_line_length=length)
    most = env.horizon
    found = []
    for route in range(60):
        env.begin(options={"route": route})
        found.append(env.horizon)
    assert max(found) <= most
    assert len(set(found)) > 3


def test_the_horizon_is_enough_and_no_more():
    env = made(attempts=2)
    steps = 0
    move = None
    while move is None or not (move.terminated or move.truncated):
        env.play("nonsense")
        move = env.play(env.expert())
        steps += 2
    assert steps == env.horizon and move.solved


@pytest.mark.parametrize(
    "arguments,told",
    [
        ({"directions": "up"}, "directions"),
        ({"attempts": 0}, "attempts"),
        ({"straight_line_length": True}, "straight_line_length"),
        ({"resolution": 10**9}, "resolution"),
        ({"city": "paris"}, "no city 'paris'; choose from aldmoor"),
        ({"vision": False, "action": "index"}, "vision=True"),
        ({"street_views": "there"}, "give routes"),
        ({"routes": "there.json"}, "give street_views"),
        ({"routes": "there.json", "vision": False, "city": "solera"}, "give routes or city=solera"),
    ],
)
def test_wrong_arguments_are_named(arguments, told):
    with pytest.raises(UsageError, match=told):
        keepsight.envs.make("virl", **arguments)


@pytest.mark.parametrize(
    "written",
    [
        "turn_direction('north')",
        "turn_direction (north)",
        "turn_direction( North )",
        "Turn_Direction(north)",
        r"turn_direction(\"north\")",
    ],
)
def test_a_call_may_be_written_in_other_ways(written):
    for text in (f'{{"action": "{written}"}}', f"action: {written}"):
        assert (
            parse_action(wording.called(text), ("turn_direction(north)", "forward()")).action
            == "turn_direction(north)"
        )


def test_brackets_may_be_left_out_of_an_action_and_words_stay_words():
    actions = ("forward()", "stop()")
    assert parse_action(wording.called('{"action": "Forward"}'), actions).action == "forward()"
    assert parse_action(wording.called("I go forward and stop."), actions).action is None
    assert parse_action(wording.called('{"action": "turn_direction(up)"}'), actions).status == "illegal"


def test_the_mapping_of_street_views_is_part_of_what_was_asked(tmp_path):
    (tmp_path / "views").mkdir()
    for folder in ("views", "."):
        (tmp_path / folder / MAPPING).write_text("[]")
    routes = tmp_path / "routes.json"
    assert _files(routes, tmp_path / "views") == (routes, tmp_path / "views" / MAPPING)
    (tmp_path / "views" / MAPPING).unlink()
    assert _files(routes, tmp_path / "views") == (routes, tmp_path / MAPPING)
    assert _files(None, None) == ()
