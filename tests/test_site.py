"""`make html`: complete, linked, described, folded, and silent towards every other machine."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from lab_browser import find_browser

from fmri_utils.project.profiles import PROJECT_ROOT, load_profile
from pipeline.pages import __main__ as site
from pipeline.pages.__main__ import EXPLORER, main, run_explorer
from pipeline.request import parse_request
from pipeline.steps import steps

NAMES = [p.stem for p in (*(step.source for step in steps()), EXPLORER)]
LOADING = {"src", "srcset", "poster", "data", "action"}


@pytest.fixture(scope="module")
def pages(smoke, tmp_path_factory):
    """Every page of the smoke run, parsed, by its path."""
    profile, arguments, _ = smoke
    folder = tmp_path_factory.mktemp("site")
    run_explorer(parse_request(arguments))
    site.write_sources(profile, folder / "sources")
    site.build_site(folder / "sources", folder / "html")
    found = sorted((folder / "html").glob("*.html"))
    return {path: BeautifulSoup(path.read_text(), "html.parser") for path in found}


def folder_of(pages):
    return next(iter(pages)).parent


def articles(pages):
    """The pages that were written here, without index of terms and search."""
    return {p: s for p, s in pages.items() if p.stem not in ("genindex", "search", "py-modindex")}


def test_every_part_of_the_collection_has_a_page_and_a_place_in_the_navigation(pages):
    stems = {path.stem for path in pages}
    expected = {*NAMES, "index", "figures", "glossary", "results"}
    assert expected <= stems
    for path, soup in pages.items():
        listed = {a["href"].split("#")[0] for a in soup.select(".sidebar-tree a")}
        assert {f"{n}.html" for n in expected - {"index", path.stem}} <= listed


def test_nothing_is_loaded_from_elsewhere(pages):
    for path, soup in pages.items():
        for tag in soup.find_all(True):
            loaded = {k: v for k, v in tag.attrs.items() if k in LOADING}
            if tag.name in ("link", "image", "use"):
                loaded |= {k: v for k, v in tag.attrs.items() if k.endswith("href")}
            for value in loaded.values():
                assert not re.match(r"(?i)\s*(\w+:)?//", value), (path.name, value)
        styles = "".join(s.get_text() for s in soup.find_all("style"))
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", styles)
    for sheet in folder_of(pages).rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", sheet.read_text()), sheet.name


def test_every_link_and_anchor_leads_somewhere(pages):
    anchors = {p: {t["id"] for t in s.find_all(id=True)} for p, s in pages.items()}
    n_links = 0
    for path, soup in pages.items():
        for tag in soup.find_all(["a", "link", "img", "script"]):
            url = urlsplit(tag.get("href") or tag.get("src") or "")
            if url.scheme or not (url.path or url.fragment):
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            assert target.is_file(), (path.name, url.path)
            if url.fragment and target in anchors:
                assert unquote(url.fragment) in anchors[target], (path.name, url.geturl())
            n_links += 1
    assert n_links > 200


def test_every_picture_is_described(pages):
    described = {}
    for path, soup in articles(pages).items():
        for image in soup.select("article img"):
            text = image.get("alt", "")
            assert len(text) > 25 and not text.endswith((".png", ".gif")), (path.name, image)
            described.setdefault(path.stem, []).append(text)
    assert set(NAMES) | {"figures", "index"} == set(described)
    for texts in described.values():
        assert len(set(texts)) == len(texts)
    assert "animation" in " ".join(described["figures"]).lower()


@pytest.mark.parametrize("name", NAMES)
def test_cells_with_pictures_say_so_and_show_them(smoke, pages, name):
    """A description without a picture would be a figure that was never shown."""
    import nbformat

    assert pages
    for cell in nbformat.read(smoke[0].runs / f"{name}.ipynb", as_version=4).cells:
        shown = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        optional = "study" in cell.source  # drawn where `make study` has run
        assert bool(shown) == ("alt" in cell.metadata) or optional, cell.source


def test_solutions_have_run_and_are_folded(pages):
    for path, soup in pages.items():
        if not path.stem[0].isdigit():
            continue
        folded = soup.select("article details.hide")
        solutions = [d for d in folded if d.select(".cell_input") and d.select(".cell_output")]
        assert 2 <= len(solutions) <= 3, path.name
        answers = [d for d in soup.select("article details") if d.summary.get_text() == "Answer"]
        assert len(answers) == len(solutions)
        assert not any(d.has_attr("open") for d in [*folded, *answers])


def test_tables_and_formulas_are_drawn_and_neither_progress_nor_settings(pages):
    for path, soup in articles(pages).items():
        text = soup.get_text()
        for bad in ("it/s]", "0%|", "OVERRIDES = []"):
            assert bad not in text, path.name
        assert "vnd.jupyter.widget" not in path.read_text()
        text = " ".join(str(t) for t in soup.select_one("article").find_all(["p", "li"]))
        assert not re.search(r"\|\s*[-—–]+\s*\|", text), path.name
    by_name = {path.stem: soup for path, soup in pages.items()}
    for name in ("04_lafite_reconstruction", "08_figures", "results"):
        cells = by_name[name].select("article td")
        assert "PixCorr" in {cell.get_text(strip=True) for cell in cells}
    soup = by_name["07_self_supervised"]
    assert soup.select("math") and "$$" not in soup.select_one("article").get_text()


def test_what_has_not_run_is_named_with_the_command_that_runs_it(capsys):
    assert main(["PROFILE=smoke", "SEED=972"]) == 2
    error = capsys.readouterr().err
    assert "01_data_prep has not run" in error and "make all PROFILE=smoke" in error
    assert not load_profile("smoke", seed=972).runs.exists()


def test_pages_in_a_browser_ask_nobody_else_and_fit_a_narrow_window(pages):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            pytest.skip("no browser here")
        options = ["--no-sandbox", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=path, args=options, timeout=180_000)
        page = browser.new_page(viewport={"width": 420, "height": 800})
        page.set_default_timeout(180_000)  # a busy machine is slow, not wrong
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        for file in pages:
            page.goto(file.as_uri())
            widths = "[document.documentElement.scrollWidth, window.innerWidth]"
            content, window = page.evaluate(widths)
            assert content <= window + 1, file.name
        page.goto((folder_of(pages) / "01_data_prep.html").as_uri())
        solution = page.locator("article details.hide", has=page.locator(".cell_output")).last
        output = solution.locator(".cell_output").last
        assert not output.is_visible()
        solution.locator("summary").click()
        assert output.is_visible()
        browser.close()
    assert len(asked) > len(pages)
    outside = [url for url in asked if urlsplit(url).scheme not in ("file", "data", "blob")]
    assert not outside and not complaints


def test_readme_describes_its_pictures():
    text = (PROJECT_ROOT / "README.md").read_text()
    described = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    assert described
    for alt, target in described:
        assert len(alt) > 25 and (PROJECT_ROOT / target).is_file()
    for name in ("glossary.md", "figures.md", "index.md"):
        assert Path(PROJECT_ROOT / "notebooks" / name).is_file()
