"""Episodes on the page and in the terminal: all that was played is told, counted, and only text."""

import io
import math
from dataclasses import replace
from random import Random

import pytest
from PIL import Image
from rich.console import Console

from keepsight.console import episode_lines, figures_table
from keepsight.report import episode_text, matrix_table, write_html
from keepsight.report.comparisons import read_audit
from keepsight.report.episode_figures import episode_figures, in_per_cent, told_figures
from keepsight.report.episode_views import episodes_view
from keepsight.report.episodes import number, read_episode
from keepsight.report.gallery import Caps
from keepsight.types import Media, Output, Record, ResultMatrix, Sample, Score
from tests.report.fake_audit import EVIL, demo_audit
from tests.report.fake_episodes import (
    SCORERS,
    TASK,
    away,
    episode_matrix,
    episode_run,
    expert,
    mute,
    played,
    scores_of,
    wavering,
)
from tests.report.test_html import elements, plain
from tests.report.test_page import LOWEST_CONTRAST, chromium, overflow, visit  # noqa: F401  (fixtures)

browser = pytest.mark.browser


def stubborn(env, step):
    """Right where the target is even, else wrong."""
    return away(env, step) if env.target % 2 else expert(env, step)


@pytest.fixture(scope="module")
def pair():
    return episode_matrix({"base": wavering, "tuned": stubborn}, n=24)


@pytest.fixture(scope="module")
def pair_page(pair, tmp_path_factory):
    return write_html(pair, tmp_path_factory.mktemp("pair") / "page.html")


def view(matrix, **caps):
    return episodes_view(read_audit(matrix), Caps(**caps))


# ---- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("player", [expert, away, mute, wavering])
def test_an_episode_adds_up(player):
    for seed in range(8):
        record = played(player, seed)
        episode = read_episode(record)
        scores = [step.scores["reward"] for step in record.output.steps]
        assert [step.number for step in episode.steps] == list(range(1, len(scores) + 1))
        assert math.isclose(episode.total, math.fsum(score.value for score in scores))
        assert episode.outcome == ("solved" if "solved" in scores[-1].tags else "cut off")
        assert [step.random for step in episode.steps] == ["random_action" in score.tags for score in scores]
        assert sum(episode.faults.values()) == sum(step.random for step in episode.steps)
    assert (played(expert, 0).output.steps == ()) is False


def made(*tags, status="ok", error=None, steps=1):
    """An episode whose last step has these tags."""
    step = Record(
        Sample("e/0", "?", group="e"), Output("x"), {"reward": Score(0.5, "x", status, "", tuple(tags))}
    )
    return Record(Sample("e", "?"), Output("x", error=error, steps=(step,) * steps))


@pytest.mark.parametrize(
    "record, outcome, faults",
    [
        (made("solved", "correct"), "solved", {}),
        (made("solved", "truncated"), "solved", {}),
        (made("truncated"), "cut off", {}),
        (made("wrong"), "unsolved", {}),
        (made("illegal", "random_action"), "unsolved", {"illegal": 1}),
        (made(status="unparsed"), "unsolved", {"unreadable": 1}),
        (made("solved", error="503"), "failed", {}),
        (made(steps=0), "failed", {}),
    ],
)
def test_how_it_ended(record, outcome, faults):
    episode = read_episode(record)
    assert (episode.outcome, dict(episode.faults)) == (outcome, faults)


@pytest.mark.parametrize(
    "value, signed, text",
    [(1.0, True, "+1"), (-1.5, True, "−1.5"), (0.0, True, "0"), (-0.0, True, "0"), (3.0, False, "3"),
     (0.1 + 0.2, False, "0.3"), (-3.5, False, "−3.5"), (math.nan, True, "–"), (1234567.0, False, "1.23457e+06")],
)  # fmt: skip
def test_rewards_in_words(value, signed, text):
    assert number(value, signed=signed) == text


# ---- the choice ----------------------------------------------------------------------------------------------


def outcomes(case):
    return {ended.row: ended.outcome for ended in case.ended}


def test_what_was_solved_and_is_not_now_comes_first(pair):
    (task,) = view(pair, episodes=100).tasks
    kinds = []
    for case in task.cases:
        before, now = (outcomes(case)[row] == "solved" for row in (0, 1))
        kinds.append({(True, False): 0, (False, True): 1, (False, False): 2, (True, True): 3}[before, now])
    assert kinds == sorted(kinds) and set(kinds) >= {0, 3}
    assert len(task.cases) == 24 and not task.lines


def test_both_checkpoints_of_a_case_played_the_same_episode(pair):
    for case in view(pair).tasks[0].cases:
        base, tuned = case.tracks
        assert base.steps[0].frames == tuned.steps[0].frames == (case.start,)
        for row, track in enumerate(case.tracks):
            record = next(r for r in pair[pair.rows[row], TASK].records if r.sample.id == case.id)
            assert [step.said for step in track.steps] == [step.output.text for step in record.output.steps]


@pytest.mark.parametrize("caps", [{}, {"episodes": 3}, {"episodes": 2, "episode_lines": 10}, {"episode_bytes": 9_000}, {"frame_bytes": 6_000}])  # fmt: skip
def test_what_is_left_out_is_counted(pair, caps):
    (task,) = view(pair, **caps).tasks
    full, listed = len(task.cases), len(task.lines)
    assert 1 <= full <= Caps(**caps).episodes
    assert all(case.tracks for case in task.cases) and not any(case.tracks for case in task.lines)
    assert task.note.startswith(f"{full} of 24 episodes step by step")
    assert (f", {listed} as a line" in task.note) == bool(listed)
    assert (f"; {24 - full - listed} more are not listed" in task.note) == (full + listed < 24)
    ids = [case.id for case in (*task.cases, *task.lines)]
    assert len(set(ids)) == len(ids)


def test_every_kind_is_among_those_in_full(pair):
    (task,) = view(pair, episodes=4).tasks
    assert len({tuple(outcomes(case).values()) for case in task.cases}) >= 2


def test_budgets_bound_frames_and_dialogues(pair):
    full, few = view(pair), view(pair, frame_bytes=6_000)
    assert sum(map(len, few.frames)) < sum(map(len, full.frames))
    brief = view(pair, episode_bytes=9_000)
    assert 1 <= len(brief.tasks[0].cases) < len(full.tasks[0].cases)
    assert "no start picture" in few.tasks[0].note and "no start picture" not in full.tasks[0].note


def test_a_frame_is_embedded_once(pair, pair_page):
    seen = {
        media.sha256
        for run in pair.runs.values()
        for record in run.records
        for step in record.output.steps
        for media in step.sample.media
    }
    frames = view(pair).frames
    assert len(set(frames)) == len(frames) <= len(seen) <= 30
    images = [attrs["href"] for tag, attrs in elements(pair_page).tags if tag == "image"]
    assert images == list(frames)
    uses = {attrs["href"] for tag, attrs in elements(pair_page).tags if tag == "use"}
    assert uses == {f"#frame-{place}" for place in range(len(frames))}


def test_long_episodes_lose_their_middle_and_say_so():
    record = made("truncated", steps=200)
    matrix = ResultMatrix(("a",), (TASK,), {("a", TASK): episode_run("a", TASK, [scored(record)])})
    (track,) = view(matrix).tasks[0].cases[0].tracks
    assert [step.number for step in track.steps] == [*range(1, 51), *range(191, 201)]
    assert track.left_out.startswith("140 steps are left out") and track.gap == 50


def scored(record):
    return replace(record, scores=scores_of(record.output, 0) if record.output.steps else dict.fromkeys(
        scores_of(made().output, 0), Score(math.nan, status="error")))  # fmt: skip


def test_many_checkpoints():
    rows = {"base": expert, **{f"lora/epoch-{epoch}": wavering for epoch in range(1, 7)}}
    (task,) = view(episode_matrix(rows, n=4)).tasks
    for case in task.cases:
        assert len(case.ended) == 7 and [track.ended.row for track in case.tracks] == [0, 1, 2, 6]
        assert case.note.startswith("3 more checkpoints")


# ---- the page ------------------------------------------------------------------------------------------------


def test_the_page_tells_every_step_without_its_script(pair, pair_page):
    text = plain(pair_page)
    for case in view(pair).tasks[0].cases:
        for track in case.tracks:
            for step in track.steps:
                assert " ".join(step.said.replace('"', "&#34;").split()) in text
    assert "drawn at random: the answer names no legal action" in text
    assert "drawn at random: the answer could not be read" in text
    assert "The number moved away from the target." in text and "Prompt: as at step 1" in text
    page = elements(pair_page)
    steps = [attrs["id"] for tag, attrs in page.tags if tag == "li" and attrs.get("class") == "step"]
    assert len(set(steps)) == len(steps) > 50
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs["href"].startswith("#asked-")}
    assert {link.removeprefix("#") for link in links} <= ids, "links to the step that has the prompt"


def test_the_policy_holds_with_episodes(pair_page):
    from tests.report.test_html import test_policy_allows_only_our_own_script_and_style as check

    check(pair_page)


def test_the_same_episodes_give_the_same_bytes(pair, pair_page, tmp_path):
    assert write_html(pair, tmp_path / "again.html").read_bytes() == pair_page.read_bytes()


def test_an_evaluation_says_its_figures_first(tmp_path):
    matrix = episode_matrix({"tiny": expert}, n=20)
    page = write_html(matrix, tmp_path / "one.html")
    (head,) = elements(page).inside["h1"]
    assert " ".join(head.split()) == (
        "tiny on numberline: success rate 100.0 % [83.9–100.0] of 20 episodes; best play 100.0 %, random play 25.0 %."
    )
    text = plain(page)
    assert "Evaluation of tiny" in text and "Do the judges agree?" not in text
    assert elements(page).data["samples"] == {"0": []}
    for words in ("Failures and leaks", "Accuracy and its interval", "Thumbnails", "leaks from elsewhere"):
        assert words not in text, "nothing was classified"
    for words in (
        "References",
        "Interval and correction",
        "over all comparisons",
        "base first",
        "the reference",
    ):
        assert words not in text, "nothing was compared"
    assert "search the pictures" not in text and "The success rate is the share of played episodes" in text
    assert "Environments" in text and "number of scored episodes" in text


def test_two_checkpoints_have_the_notes_on_comparing_and_none_on_classes(pair_page):
    text = plain(pair_page)
    for words in ("References", "Interval and correction", "Environments", "24 episodes each", "base first"):
        assert words in text
    assert "Failures and leaks" not in text and "Accuracy and its interval" not in text


def test_pictures_and_environments_stand_side_by_side(tmp_path):
    demo, played_ = demo_audit(20), episode_matrix({"base": wavering, "linear/epoch-1": mute}, n=8)
    runs = {
        cell: run for cell, run in demo.runs.items() if cell[0] in played_.rows and cell[1] == "emt:letters"
    }
    matrix = ResultMatrix(played_.rows, ("emt:letters", TASK), {**runs, **played_.runs})
    page = elements(write_html(matrix, tmp_path / "both.html"))
    assert page.data["samples"]["0"] and not page.data["samples"]["1"]
    assert not page.data["cells"]["1.0"]["figures"]
    assert [row[0] for row in page.data["cells"]["1.1"]["figures"]][:2] == ["success rate", "mean return"]
    text = plain(tmp_path / "both.html")
    assert "Do the judges agree?" in text and "what each of 3 judges calls" in text
    for words in ("Failures and leaks", "Accuracy and its interval", "The success rate is the share", "Sets"):
        assert words in text
    assert not [attrs for tag, attrs in page.tags if attrs.get("id") == "gallery" and "hidden" in attrs]


def test_episodes_without_pictures_dialogues_and_failures(tmp_path):
    talk = ("first answer", "You failed this trial because 25 is not 24.", "second answer", "Again.")
    sample = Sample("e/2", "Cards: 1 2 3 4", group="e", history=talk)
    last = Record(
        sample, Output("third answer", stop="length"), {"reward": Score(-1.0, "1+2", tags=("truncated",))}
    )
    first = replace(last, sample=replace(sample, id="e/0", history=()))
    records = [
        Record(Sample("e", "?"), Output("x", steps=(first, last))),
        Record(Sample("gone", "?"), Output("", error="connection refused")),
    ]
    run = episode_run("a", TASK, [scored(record) for record in records])
    path = write_html(ResultMatrix(("a",), (TASK,), {("a", TASK): run}), tmp_path / "talk.html")
    text = plain(path)
    for words in (*talk, "Dialogue, 5 turns", "cut at the length limit", "failed", "connection refused"):
        assert words in text
    assert not [tag for tag, _ in elements(path).tags if tag in ("image", "use")]


def test_a_frame_that_cannot_be_read_is_told(tmp_path):
    step = made("solved").output.steps[0]
    step = replace(step, sample=replace(step.sample, media=(Media(data=b"no picture"),)))
    run = episode_run("a", TASK, [scored(Record(Sample("e", "?"), Output("x", steps=(step,))))])
    path = write_html(ResultMatrix(("a",), (TASK,), {("a", TASK): run}), tmp_path / "bad.html")
    assert "not a picture in a known format" in plain(path)


# ---- strangers' text -----------------------------------------------------------------------------------------


def evil_matrix():
    """Markup wherever a model, an environment or a file can put text into an episode."""
    picture = io.BytesIO()
    Image.frombytes("RGB", (32, 32), Random(0).randbytes(3 * 32 * 32)).save(picture, "PNG")
    history = (EVIL, f"</p>{EVIL}")
    sample = Sample(
        f"{EVIL}/0", f"<svg onload=window.hacked=3>{EVIL}", (Media(data=picture.getvalue()),), history=history
    )
    tags = ("solved", EVIL, 'x" onclick="window.hacked=5')
    score = Score(1.0, f'"{EVIL}', explanation=f"</dd>{EVIL}\u202e", tags=tags)
    steps = (Record(sample, Output(EVIL + "\x00\ud800"), {"reward": score}),) * 3
    record = scored(Record(Sample(f'"><b>{EVIL}', EVIL), Output(EVIL, steps=steps)))
    lost = scored(Record(record.sample, Output(EVIL, error=EVIL, steps=steps[:1])))
    rows, col = (f"base{EVIL}", f'"{EVIL}'), f"env:{EVIL}"
    runs = {(row, col): episode_run(row, col, [each]) for row, each in zip(rows, (record, lost))}
    return ResultMatrix(rows, (col,), runs)


@pytest.fixture(scope="module")
def evil_episodes(tmp_path_factory):
    return write_html(evil_matrix(), tmp_path_factory.mktemp("evil") / "episodes.html")


def test_hostile_episodes_are_only_text(evil_episodes, request):
    from tests.report.test_html import test_nothing_is_fetched_or_linked_outside as check

    check("evil_episodes", request)
    page = elements(evil_episodes)
    assert len(page.inside["script"]) == 2 and len(page.inside["style"]) == 1
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "textarea", "b" + "ase")]
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    assert {tag for tag, attrs in page.tags if "href" in attrs} <= {"a", "image", "use", "link"}


# ---- figures and the terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, values, share",
    [("solved", (0.5,), True), ("return", (0.4, 0.1, 0.7), False), ("positive_return", (0.4,), True),
     ("steps", (1.0,), False), ("mean_reward", (0.5,), False), ("illegal_rate", (0.2, math.nan), True),
     ("recognition", (-0.1,), False)],
)  # fmt: skip
def test_shares_are_told_from_counts(name, values, share):
    assert in_per_cent(name, *values) == share


def test_figures_name_the_others_last_and_follow_the_scores(pair):
    run = pair["base", TASK]
    found = episode_figures(run)
    assert [each.name for each in found] == [
        "success rate", "mean return", "positive return", "step accuracy", "illegal rate", "mean steps", "best play", "random play",
    ]  # fmt: skip
    mean = math.fsum(score.value for score in run.scores("return")) / len(run.records)
    assert found[1].value == f"{mean:.3g}".replace("-", "−")
    solved = sum(score.value for score in run.scores("solved"))
    assert told_figures(run).startswith(f"success rate {100 * solved / 24:.1f} % [")
    assert told_figures(run).endswith("] of 24 episodes; best play 100.0 %, random play 25.0 %")


@pytest.mark.parametrize("width", [40, 60, 100])
def test_figures_in_a_narrow_terminal(pair, width):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(figures_table(ResultMatrix(("base",), pair.cols, pair.runs)))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for each in episode_figures(pair["base", TASK]):
        assert any(each.value in line and line.rstrip().endswith(each.n) for line in lines), each.name


def test_an_audit_tells_the_environments_figures(pair):
    assert [line.split(":")[0] for line in episode_lines(pair)] == ["base on env", "tuned on env"]
    assert episode_lines(demo_audit(12)) == []
    assert "numberline" in matrix_table(pair)


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("player", [expert, wavering])
def test_an_episode_as_text(player, width):
    record = played(player, 1)
    text = episode_text(record, width)
    assert max(map(len, text.splitlines())) <= width
    numbered = [line for line in text.splitlines() if line[:3].strip().isdigit() and line[3:4] == "."]
    assert len(numbered) == len(record.output.steps)


def test_text_of_hostile_and_of_failed_episodes():
    (record, lost) = (evil_matrix()[row, evil_matrix().cols[0]].records[0] for row in evil_matrix().rows)
    for each in (record, lost, made(steps=0)):
        text = episode_text(each)
        assert "\x00" not in text and "\u202e" not in text and "\ud800" not in text
    assert "failed" in episode_text(lost)


# ---- in a browser --------------------------------------------------------------------------------------------


def now(page, case=0):
    return page.locator("details.case").nth(case).locator(".step.now .count").all_inner_texts()


@browser
def test_a_player_steps_both_checkpoints(visit, pair_page):  # noqa: F811
    page = visit(pair_page)
    case = page.locator("details.case").first
    lengths = [int(text.split()[-1]) for text in now(page)]
    assert [text.split()[1] for text in now(page)] == ["1", "1"] and case.locator(".step.now").count() == 2
    case.get_by_label("One step forward").click()
    assert now(page) == [f"Step {min(2, n)} of {n}" for n in lengths]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("End")
    assert now(page) == [f"Step {n} of {n}" for n in lengths]
    assert case.get_by_label("One step forward").get_attribute("aria-disabled") == "true"
    page.keyboard.press("Home")
    assert now(page) == [f"Step 1 of {n}" for n in lengths]
    case.locator(".timeline button").nth(1).click()
    assert now(page)[0].startswith("Step 2" if lengths[0] > 1 else "Step 1")
    assert case.locator(".step.now [data-asked]").count() == 0, "every step shows its own prompt"
    case.locator(".step.now .asked summary").first.click()
    assert "You are playing a game called number line" in case.inner_text()


@browser
def test_an_episode_plays_and_pauses(visit, pair_page):  # noqa: F811
    page = visit(pair_page)
    page.clock.install()
    case = page.locator("details.case").first
    case.get_by_label("Play the episode").click()
    page.clock.run_for(2_500)
    assert any(text.startswith("Step 3") for text in now(page))
    case.get_by_label("Pause the episode").click()
    page.clock.run_for(5_000)
    assert any(text.startswith("Step 3") for text in now(page))


@browser
def test_the_filter_finds_what_was_lost(visit, pair, pair_page):  # noqa: F811
    page = visit(pair_page)
    before, after = (
        {r.sample.id for r in pair[row, TASK].records if r.scores["solved"].value} for row in pair.rows
    )
    for show, ids in (
        ("lost", before - after),
        ("gained", after - before),
        ("", before | {f"seed-{i}" for i in range(24)}),
    ):
        page.select_option("#episode-filters [name=show]", show)
        assert set(page.locator(".case:visible .name").all_inner_texts()) == ids or show == ""
        assert page.locator("#episode-count").inner_text() == f"{len(ids)} of 24 shown"
    page.select_option("#episode-filters [name=checkpoint]", "1")
    page.select_option("#episode-filters [name=show]", "solved")
    assert set(page.locator(".case:visible .name").all_inner_texts()) == after
    page.click('[data-cell="1.0"]')
    page.locator("#panel .choices button", has_text="solved before, not now").click()
    assert set(page.locator(".case:visible .name").all_inner_texts()) == before - after


@browser
def test_the_address_names_episode_and_step(visit, pair_page):  # noqa: F811
    page = visit(pair_page)
    page.locator("details.case > summary").nth(2).click()
    case = page.locator("details.case").nth(2)
    case.get_by_label("One step forward").click()
    other = visit(pair_page, address=page.evaluate("location.hash"))
    assert now(other, 2) == now(page, 2) != []
    assert visit(pair_page, address="#episode=none&of=x&step=-5").locator("details.case[open]").count() == 1


@browser
def test_a_lone_evaluation_shows_all_its_figures_on_a_phone(visit, tmp_path):  # noqa: F811
    page = visit(write_html(episode_matrix({"tiny": wavering}, n=8), tmp_path / "one.html"), width=400)
    ends = page.eval_on_selector_all(
        ".played dd", "each => each.map(one => one.getBoundingClientRect().right)"
    )
    assert len(ends) == len(SCORERS) and max(ends) <= 400 and overflow(page) == 0
    page.click('[data-cell="0.0"]')
    assert "The only checkpoint here" in page.locator("#panel").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert (
        "an episode's steps" in page.locator("#help").inner_text()
        and "g" not in page.locator("#help kbd").all_inner_texts()
    )


@browser
def test_episodes_fit_and_can_be_read(visit, pair_page):  # noqa: F811
    spans = ".case span, .case p, .exchange dd, .exchange dt, .played td, #episodes .hint"
    for width, scheme in ((1280, "light"), (400, "dark")):
        page = visit(pair_page, width=width, scheme=scheme)
        assert overflow(page) == 0
        assert page.evaluate(LOWEST_CONTRAST.replace(".matrix .cell span", spans)) >= 4.5


@browser
def test_hostile_episodes_stay_text(visit, evil_episodes):  # noqa: F811
    for width in (1280, 400):
        page = visit(evil_episodes, width=width)
        page.locator("details.case .controls button").last.click()
        for fold in page.locator(".asked:visible summary").all():
            fold.click()
        page.select_option("#episode-filters [name=checkpoint]", "1")
        page.click('[data-cell="1.0"]')
        assert page.evaluate("window.hacked") is None and overflow(page) == 0


@browser
def test_without_script_and_on_paper_all_steps_stand_below_each_other(chromium, pair_page):  # noqa: F811
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pair_page.as_uri())
    first = page.locator("details.case").first
    n = first.locator(".step").count()
    assert n > 2 and page.locator("#episode-filters").is_hidden()
    assert all(step.is_visible() for step in first.locator(".step").all())
    context.close()
    page = chromium.new_page()
    page.goto(pair_page.as_uri())
    page.emulate_media(media="print")
    first = page.locator("details.case").first
    assert all(step.is_visible() for step in first.locator(".step").all())
    assert first.locator(".controls").is_hidden()
    page.close()
