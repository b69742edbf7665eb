"""Pages that stay open while something new comes: failed trials that run again, new lines, new data sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import STUDY, Running, server, wait_until
from zip_files import images

pytest.importorskip("dash")

from browser import Visitor, chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEACHERS = """
from pathlib import Path
from torch import nn

class Large(nn.Conv2d):
    def forward(self, images):
        if len(images) > 2 and not Path(__file__).with_name("mended").exists():
            raise MemoryError("no room for that many images")
        return super().forward(images).mean((2, 3))

def large(channels, classes):
    return Large(channels, classes, 1)
"""
"""A teacher that takes a few images, and all of them when the file `mended` is beside it."""
FAILING = STUDY | {
    "study": "failing",
    "space": STUDY["space"] | {"steps": ["distillation", "quantization"]},
    "distillation": {"teacher": "teachers:large"},
    "trials": 6,
}
LAYOUT = "document.querySelector('#parallel .js-plotly-plot').layout"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("server")
    (made / "teachers.py").write_text(TEACHERS)
    return made


@pytest.fixture(scope="module")
def running(browser: Any, folder: Path) -> Iterator[Running]:
    options = ("--token-file", "admin-token", "--allow", "teachers")
    with server(folder, f"sqlite:///{folder / 'studies.db'}", *options) as found:
        yield found


def brush(page: Any, axis: int, low: float, high: float) -> None:
    """Drag a box over an axis of the parallel coordinates, between two heights from 0 to 1."""
    place = page.locator("#parallel .nsewdrag").first
    place.wait_for(state="attached")
    place.scroll_into_view_if_needed()
    box, axes = place.bounding_box(), page.evaluate(f"{LAYOUT}.xaxis.tickvals.length")
    x = box["x"] + box["width"] * (axis + 0.2) / (axes - 0.15)
    bottom, top = (box["y"] + box["height"] * (1.07 - height) / 1.14 for height in (low, high))
    page.mouse.move(x - 12, bottom)
    page.mouse.down()
    page.mouse.move(x, (bottom + top) / 2, steps=3)
    page.mouse.move(x + 12, top, steps=3)
    page.mouse.up()


def test_failed_trials_run_again_and_join_the_range_that_is_kept(browser: Any, running: Running, folder: Path) -> None:
    study = running.client().submit(FAILING)
    assert study.wait(300) == "done", study.details()
    failed = [one["trial"] for one in study.trials()["trials"] if one["state"] == "failed"]
    sizes = {one["trial"]: one["metrics"]["size_bytes"] for one in study.trials()["trials"] if one["metrics"]}
    assert failed
    middle = (min(sizes.values()) + max(sizes.values())) / 2
    small = {trial for trial, size in sizes.items() if size < middle}

    visitor = Visitor(browser, running).sign_in(running.token("alice", "submit"), "/studies/failing/trials")
    page, count = visitor.page, visitor.page.locator("#grid-count")
    brush(page, 2, -0.03, 0.5)
    wait_until(lambda: count.inner_text() == f"{len(small)} trials", "the table is narrowed to the box")
    page.locator(".ag-header-cell", has_text="size_bytes").click()

    changing = page.context.new_page()
    changing.goto(f"{running.url}/studies/failing/change")
    cause = changing.get_by_role("checkbox", name=f"out_of_memory ({len(failed)})")
    cause.check()
    (folder / "mended").touch()
    changing.get_by_role("button", name="Retry").click()
    changing.locator("#retry-said .done", has_text="failed trials with the cause out_of_memory come first").wait_for()
    changing.locator("#retry-note", has_text="No trial has failed.").wait_for()
    assert not cause.is_visible()
    wait_until(lambda: study.counts == {"done": 6, "retried": len(failed)}, "they have run again")
    changing.locator("#study-head .pill", has_text="done").wait_for()
    changing.goto(f"{running.url}/studies/failing/trials/{failed[0]}")
    changing.get_by_role("link", name="trial 6", exact=True).click()
    changing.get_by_role("heading", name="Trial 6").wait_for()

    sizes = {one["trial"]: one["metrics"]["size_bytes"] for one in study.trials()["trials"] if one["metrics"]}
    small = {trial for trial, size in sizes.items() if size < middle}
    wait_until(lambda: count.inner_text() == f"{len(small)} trials", "new trials in the range, and no others")
    drawn = "document.querySelector('#parallel .js-plotly-plot').data.flatMap(one => one.text)"
    wait_until(lambda: any("trial 6<br>" in text for text in page.evaluate(drawn)), "their lines")
    (box,) = page.evaluate(f"{LAYOUT}.selections")
    low, high = min(sizes.values()), max(sizes.values())
    assert low + max(box["y0"], box["y1"]) * (high - low) == pytest.approx(middle, rel=0.05), "the box is where it was"
    first = page.locator(".ag-row[row-index='0'] [col-id='number']")
    wait_until(lambda: first.inner_text() == str(min(sizes, key=sizes.__getitem__)), "sorted as before")
    assert visitor.problems == []


def test_a_data_set_can_be_chosen_as_soon_as_it_is_there_and_a_draft_outlives_the_session(
    browser: Any, running: Running, tmp_path: Path
) -> None:
    token = running.token("bob", "submit")
    visitor = Visitor(browser, running).sign_in(token, "/new")
    page, text = visitor.page, visitor.page.locator("#study-text")
    text.fill("study: flowers\ntask: {image_folder: {path: dataset:flowers}}\n")
    text.press("Tab")
    page.locator("#data-look", has_text="no data set 'flowers'; yours: none").wait_for()
    assert not page.get_by_label("Data set of yours").is_visible()
    for name, content in images().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    running.client("bob").upload("flowers", tmp_path)
    page.get_by_label("Data set of yours").click()
    page.get_by_role("option", name="flowers").wait_for()
    page.locator("#data-look", has_text="12 train").wait_for()

    slow = f"{running.url}/new"  # the page that comes anew is slow, so that the old one lives on for a while
    page.route(slow, lambda route: (page.wait_for_timeout(500), route.continue_()))
    page.context.clear_cookies()  # as after twelve hours, or a restart of the server
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    wait_until(lambda: text.input_value().startswith("study: flowers"), "the draft")
    text.fill("study: drafted\ntask: digits\nobjectives: [accuracy, macs]\ntrials: 1\nsampler: random\n")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/studies/drafted")
    visitor.go("/new")
    wait_until(lambda: "study: digits" in text.input_value(), "what was submitted is no draft")
    running.client("bob").open_study("drafted").cancel()
    assert visitor.problems == []
