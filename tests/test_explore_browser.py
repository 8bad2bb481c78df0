"""explore.ipynb in JupyterLab and a real browser: run all, move, toggle, click, reset, save."""

import os

import numpy as np
import pytest
from lab_browser import BRAIN, ExplorerPage, copy_of_explorer, find_browser, jupyterlab

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow
LIMIT_MS, BUSY_LIMIT_MS = 300, 3000
N_EVENTS = 20


@pytest.fixture(scope="session")
def chromium_path():
    """Session-wide and asked for first: without a browser the smoke run is not made in vain."""
    with playwright.sync_playwright() as driver:
        path = find_browser(driver)
    if path is None:
        pytest.skip("no Chromium here: `apt install chromium` or `playwright install chromium`")
    return path


@pytest.fixture(scope="module")
def chromium(chromium_path):
    """A browser, closed before the next file: its event loop would be in papermill's way."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def explored(chromium_path, smoke, chromium, tmp_path_factory):
    """The notebook, run in JupyterLab on the smoke run's files, and the run's profile."""
    profile = smoke[0]
    folder = tmp_path_factory.mktemp("lab")
    copy_of_explorer(folder, PROFILE=profile.name, SEED=profile.seed)
    with jupyterlab(folder) as url:
        page = ExplorerPage(chromium, url)
        page.run_all()
        yield page, profile


@pytest.fixture
def page(explored):
    """The page, as it is after a reset."""
    page, _ = explored
    yield page
    page.click_button("Reset")
    page.page.get_by_text("Click on a slice to choose").wait_for()


def test_the_slider_moves_the_picture_in_time(page):
    start = page.digest()
    keys = ["ArrowRight", "ArrowLeft"] * (N_EVENTS // 2)
    times = [page.press_slider(key) for key in keys]
    assert page.digest() == start
    median, late = np.percentile(times, [50, 95])
    load = os.getloadavg()[0]
    print(f"\nevent to picture: median {median:.0f} ms, p95 {late:.0f} ms, load {load:.1f}")
    # JupyterLab, browser and this test make a load of one themselves.
    idle = load < os.cpu_count()
    assert median < (LIMIT_MS if idle else BUSY_LIMIT_MS)


def test_fresh_noise_and_back(page):
    start = page.digest()
    page.press("noise", "fresh")
    assert page.digest() != start
    page.press("noise", "fixed")
    assert page.digest() == start


def test_a_click_on_the_brain_chooses_a_voxel_and_reset_undoes_it(page):
    start, brain, number = page.digest(), page.digest(BRAIN), page.number()
    page.click_brain(110, 90)
    assert page.number() != number
    assert f"voxel {page.number()} chosen" in page.message()
    assert page.digest() != start
    page.acted(lambda: page.click_button("Reset"))
    assert (page.digest(), page.digest(BRAIN), page.number()) == (start, brain, number)


def test_areas_and_concepts(page):
    start = page.digest()
    page.press("kind", "area")
    page.choose("area", "faces")
    area = page.digest()
    page.press("kind", "concept")
    assert len({start, area, page.digest()}) == 3


def test_the_view_is_saved(page, explored):
    folder = explored[1].runs / "explore"
    before = set(folder.glob("*.png"))
    page.click_button("Save as PNG")
    page.page.get_by_text("Saved:").wait_for()
    (saved,) = set(folder.glob("*.png")) - before
    assert saved.name in page.message() and saved.read_bytes().startswith(b"\x89PNG")


def test_nothing_went_wrong_and_nothing_left_the_machine(page):
    assert page.errors() == []
    assert page.problems == []
    assert page.outside == []
