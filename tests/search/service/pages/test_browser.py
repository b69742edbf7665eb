"""The pages in a real browser: from signing in to a model that predicts, and what must not run there."""

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import paredown
from servers import STUDY, Running, server, wait_until
from zip_files import images

pytest.importorskip("dash")

from browser import Visitor, chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SMALL = STUDY | {"trials": 4, "objectives": ["accuracy", "latency_ms", "size_bytes"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def running(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with server(folder, f"sqlite:///{folder / 'studies.db'}", "--token-file", "admin-token") as found:
        yield found


@pytest.fixture(scope="module")
def study(running: Running) -> str:
    """The name of a study of alice's that is done, whoever submitted it."""
    client = running.client("alice")
    done = client.submit(SMALL, key="the study of this file")
    assert done.wait(300) == "done", done.details()
    return done.name


def test_a_study_is_submitted_on_a_page_and_its_model_predicts(browser: Any, running: Running, tmp_path: Path) -> None:
    visitor = Visitor(browser, running).sign_in(running.token("bob", "submit"))
    page = visitor.page
    page.get_by_role("heading", name="No studies yet").wait_for()  # an empty page says what to do
    page.get_by_role("link", name="Start one from an example").click()
    wait_until(lambda: "study: digits" in page.locator("#study-text").input_value(), "the example")

    page.locator("#study-text").fill("study: mine\ntask: digits\nobjectives: [accuracy, macs]\ntraining:\n  epoch: 3\n")
    page.get_by_role("button", name="Submit").click()
    refused = page.locator("#study-problem .problem")
    refused.wait_for()
    said = running.client("bob")
    with pytest.raises(Exception, match="epoch: no such key") as same:
        said.submit({"study": "mine", "task": "digits", "objectives": ["accuracy", "macs"], "training": {"epoch": 3}})
    assert str(same.value).partition(": ")[2] in refused.inner_text(), "the message is the API's"
    assert "Line 5" in refused.inner_text()

    page.locator("#study-text").fill(yaml.safe_dump(SMALL | {"study": "mine"}))
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/studies/mine")
    page.locator("#study-head .pill", has_text="done").wait_for(timeout=300_000)
    page.locator("#answer a", has_text="Trial").first.wait_for()

    before = page.locator("#answer").inner_text()
    size = page.locator(".limit", has_text="size_bytes").get_by_role("slider")
    size.focus()
    size.press("Home")
    page.wait_for_function("before => document.querySelector('#answer').innerText !== before", arg=before)
    page.locator("#answer", has_text=re.compile("size_bytes binds|1 of")).wait_for()
    page.wait_for_url("**limit_size_bytes=*")
    shared = page.url
    page.goto(shared)
    page.locator("#answer a", has_text="Trial").first.wait_for()
    limit = page.locator(".limit", has_text="size_bytes")
    wait_until(lambda: "no limit" not in limit.inner_text(), "a shared address keeps it")

    page.get_by_role("checkbox").nth(0).check()
    page.get_by_role("checkbox").nth(1).check()
    page.get_by_role("link", name="Compare 2").click()
    page.get_by_role("heading", name="Where the candidates differ").wait_for()

    best = running.client("bob").open_study("mine").front()["models"][0]["trial"]
    visitor.go(f"/studies/mine/trials/{best}")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download onnx").click()
    downloading.value.save_as(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        archive.extractall(tmp_path)
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    done = paredown(tmp_path, "predict", f"trial-{best:04d}", "one.png")
    assert done.returncode == 0, done.stderr
    assert "one.png" in done.stdout
    assert visitor.problems == []


def test_every_page_is_drawn_in_each_width_and_scheme(
    browser: Any, running: Running, study: str, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("PAREDOWN_TEST_PICTURES", tmp_path))
    pages = {
        "studies": "/",
        "front": f"/studies/{study}",
        "front-3d": f"/studies/{study}?view=3",
        "trials": f"/studies/{study}/trials",
        "trial": f"/studies/{study}/trials/1",
        "analysis": f"/studies/{study}/analysis",
        "compare": f"/studies/{study}/compare?trials=0,1",
        "log": f"/studies/{study}/log",
        "file": f"/studies/{study}/file",
        "change": f"/studies/{study}/change?like=1",
        "new": "/new",
        "queue": "/queue",
        "devices": "/devices?device=f746",
    }
    for width, scheme in ((1300, "light"), (1300, "dark"), (400, "light"), (400, "dark")):
        visitor = Visitor(browser, running, width, scheme).sign_in(running.token("alice", "submit"))
        for name, path in pages.items():
            visitor.go(path)
            visitor.picture(folder, f"{name}-{width}-{scheme}")
            overflow = visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{name} is wider than {width} px"
            assert visitor.page.locator("#said .problem").count() == 0
        assert visitor.problems == []
        visitor.page.context.close()
    admin = Visitor(browser, running, 400).sign_in(running.token("root", "admin"), "/tokens")
    admin.page.locator("#tokens").wait_for()
    admin.picture(folder, "tokens-400-light")
    assert admin.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    tabs = admin.page.locator("#header nav")
    assert tabs.evaluate("one => one.firstChild.scrollWidth - one.clientWidth") <= 0, "all pages are named"


def test_the_table_of_trials_sorts_in_sql_and_opens_a_trial(browser: Any, running: Running, study: str) -> None:
    visitor = Visitor(browser, running).sign_in(running.token("alice", "read"), f"/studies/{study}/trials")
    page = visitor.page
    page.locator(".ag-row[row-index='0']").wait_for()
    wait_until(lambda: page.locator("#grid-count").inner_text() == "4 trials", "counted")
    page.locator(".ag-header-cell", has_text="size_bytes").click()
    smallest = min(
        running.client("alice").open_study(study).trials()["trials"], key=lambda one: one["metrics"]["size_bytes"]
    )
    first = page.locator(".ag-row[row-index='0'] [col-id='number']")
    wait_until(lambda: first.inner_text() == str(smallest["trial"]), "sorted by size")
    first.click()
    page.wait_for_url(f"**/trials/{smallest['trial']}")
    page.get_by_role("heading", name="Learning curve").wait_for()
    assert page.get_by_role("button", name="Pause").count() == 0, "a token that reads has no buttons"
    assert visitor.problems == []


def test_a_new_study_shows_its_data_and_learns_from_earlier_ones(
    browser: Any, running: Running, study: str, tmp_path: Path
) -> None:
    for name, content in images().items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(content)
    running.client("alice").upload("flowers", tmp_path / "photos")
    visitor = Visitor(browser, running).sign_in(running.token("alice", "submit"), "/new")
    page, text = visitor.page, visitor.page.locator("#study-text")
    page.locator("#data-look", has_text="1,078 train").wait_for()
    page.get_by_label("Learn from earlier studies").press("Enter")
    page.get_by_role("option", name=study).click()
    wait_until(lambda: yaml.safe_load(text.input_value()).get("warm_start") == [study], "written into the text")
    page.keyboard.press("Escape")
    page.get_by_label("Data set of yours").click()
    page.get_by_role("option", name="flowers").click()
    page.locator("#data-look", has_text="12 train").wait_for()
    loaded = "() => [...document.querySelectorAll('#data-look img')].filter(one => one.naturalWidth > 0).length === 8"
    page.wait_for_function(loaded)
    assert yaml.safe_load(text.input_value())["task"] == {"image_folder": {"path": "dataset:flowers"}}
    page.get_by_text("Upload images of yours").click()
    assert f"{running.url}/v1/datasets/" in page.locator("#data-upload").inner_text()
    visitor.picture(Path(os.environ.get("PAREDOWN_TEST_PICTURES", tmp_path)), "new-data-1300-light")
    assert visitor.problems == []


def test_a_device_gives_the_model_that_the_command_gives(browser: Any, running: Running, study: str) -> None:
    visitor = Visitor(browser, running).sign_in(running.token("alice", "read"), f"/studies/{study}")
    page = visitor.page
    page.locator("#answer a", has_text="Trial").first.wait_for()
    page.get_by_label("Device").press("Enter")
    page.get_by_role("option", name="pi4", exact=True).click()
    page.wait_for_url("**device=pi4*")
    expected = running.client("alice").open_study(study).select(device="pi4")
    page.locator("#answer h3", has_text=re.compile(f"^Trial {expected['trial']}$")).wait_for()
    assert visitor.problems == []


MARKUP = "<img src=x onerror=\"window.ran='yes'\"><script>window.ran='yes'</script>"


def test_markup_in_names_and_messages_is_shown_and_does_not_run(browser: Any, running: Running) -> None:
    root = running.token("root", "admin")
    visitor = Visitor(browser, running).sign_in(root, "/tokens")
    page = visitor.page
    page.get_by_label("What it is for").fill(MARKUP)
    page.get_by_label("Owner").fill("carol")
    page.get_by_role("button", name="Create").click()
    page.get_by_text("Copy it now").wait_for()
    made = page.locator("#token-text").inner_text()
    page.locator("#tokens", has_text="<img src=x onerror=").wait_for()  # the name is shown as it is
    visitor.go("/new")
    page.locator("#study-text").fill(
        f"study: x\ntask: digits\nobjectives: [accuracy, macs]\n'{MARKUP}': 1\n".replace("'yes'", "1")
    )
    page.get_by_role("button", name="Submit").click()
    page.locator("#study-problem .problem", has_text="<img").wait_for()
    assert page.evaluate("window.ran") is None

    visitor.go("/tokens")
    page.evaluate("markup => { document.querySelector('#tokens').innerHTML = markup }", MARKUP)
    page.wait_for_timeout(1000)
    assert page.evaluate("window.ran") is None, "the policy stops what gets into the page all the same"

    control = browser.new_context(bypass_csp=True).new_page()
    control.goto(running.url + "/sign-in")
    control.evaluate("markup => { document.querySelector('h1').innerHTML = markup }", MARKUP)
    control.wait_for_function("window.ran === 'yes'")  # the same markup runs where nothing stops it

    theirs = Visitor(browser, running).sign_in(made, "/")
    assert theirs.page.get_by_role("link", name="Tokens").count() == 0
    theirs.go("/tokens")
    assert "needed: admin" in theirs.page.locator("#page .problem").inner_text()
    theirs.go("/queue")
    visitor.go("/tokens")
    page.get_by_role("button", name="Revoke <img").click()
    page.locator("#tokens tr", has_text="revoked").wait_for()
    theirs.page.get_by_label("Access token").wait_for()  # a session ends with its token, also on a page that is open


def test_a_study_of_someone_else_is_none(browser: Any, running: Running, study: str) -> None:
    mallory = Visitor(browser, running).sign_in(running.token("mallory", "submit"), "/")
    page = mallory.page
    page.get_by_role("heading", name="No studies yet").wait_for()
    for name in (study, f"alice.{study}", "nowhere"):
        for part in ("", "/trials", "/trials/0", "/analysis", "/compare", "/log", "/file"):
            mallory.go(f"/studies/{name}{part}")
            page.locator("#page", has_text=re.compile(rf"^no study '{re.escape(name)}'\.")).wait_for()
    page.goto(running.url + "/nowhere")
    page.locator("#page .problem", has_text="There is no such page.").wait_for()
    for path in ("report", "trials.csv", "models/0/onnx"):
        assert page.request.get(f"{running.url}/download/{study}/{path}").status == 404
    admin = Visitor(browser, running).sign_in(running.token("root", "admin"), f"/studies/alice.{study}")
    admin.page.get_by_role("heading", name=f"alice.{study}").wait_for()


def test_a_running_study_is_watched_changed_paused_and_cancelled_with_the_keyboard(
    browser: Any, running: Running
) -> None:
    long = running.client("dave").submit(SMALL | {"trials": 500, "study": "long"})
    visitor = Visitor(browser, running).sign_in(running.token("dave", "submit"), "/queue")
    page = visitor.page
    page.locator("#queue .pill", has_text="running").wait_for(timeout=120_000)

    visitor.go("/studies/long/trials")  # where it has no trial yet, the table comes by itself
    page.locator(".ag-row[row-index='0']").wait_for()
    page.locator(".ag-header-cell", has_text="Trial").click()
    first, count = page.locator(".ag-row[row-index='0'] [col-id='number']"), page.locator("#grid-count")
    wait_until(lambda: first.inner_text() == "0", "sorted by number")
    page.evaluate("document.querySelector('#grid').dataset.mark = 'the same'")
    before = count.inner_text()
    wait_until(lambda: count.inner_text() != before, "more trials, without a click")
    assert page.locator("#grid").get_attribute("data-mark") == "the same", "not a new table"
    wait_until(lambda: first.inner_text() == "0", "sorted as before")

    wait_until(lambda: long.counts.get("done", 0) >= 1, "the baseline")
    visitor.go("/studies/long/change?like=0")
    page.get_by_role("button", name="Extend").press("Enter")
    page.locator("#extend-said .problem", has_text="is running; to extend it is possible when").wait_for()
    page.get_by_label("Knobs, a line each").fill("mbconv.kernel=4")
    page.get_by_role("button", name="Put first in line").press("Enter")
    page.locator("#enqueue-said .problem", has_text="mbconv.kernel: '4' is not allowed").wait_for()
    page.get_by_label("Knobs, a line each").fill("mbconv.kernel=5")
    page.get_by_role("button", name="Put first in line").press("Enter")
    page.locator("#enqueue-said .done").wait_for()

    visitor.go("/queue")
    page.get_by_role("button", name="Pause long").focus()
    page.keyboard.press("Enter")
    page.locator("#said", has_text="long stops within a batch").wait_for()
    page.locator("#queue .pill", has_text="paused").wait_for(timeout=120_000)
    page.get_by_role("button", name="Cancel long").press("Enter")
    page.get_by_role("heading", name="The queue is empty").wait_for()
    entries = running.ask("/v1/audit", running.token("root", "admin")).document()["entries"]
    written = [(one["owner"], one["method"], one["path"]) for one in entries if one["owner"] == "dave"]
    assert ("dave", "POST", "/v1/studies/long/pause") in written
    assert not [one for one in written if "_dash" in one[2]], "looking is no change"
    assert visitor.problems == []
