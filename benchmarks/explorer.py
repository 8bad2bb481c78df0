"""The explorer in a browser: from an event to the new picture in the page, in the demo profile.

Run with ``make bench``, or alone: ``.venv/bin/python benchmarks/explorer.py``. JupyterLab, kernel
and browser (Debian's Chromium) share the first two cores of the machine. Each action is done 20
times; the clock runs in the page, from the key or button to the frame with the decoded picture.
Runs notebooks 01 to 05 first where they are not up to date. Writes ``explorer.json`` beside this
file, with the load that others made before the start: only idle cores tell the limit of 300 ms.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lab_browser import ExplorerPage, chromium, copy_of_explorer, find_browser, jupyterlab

from fmri_utils.project.artifacts import atomic_path
from pipeline.engine import make
from pipeline.request import parse_request

N_EVENTS, N_CORES, LIMIT_MS = 20, 2, 300


def actions(page: ExplorerPage) -> Iterator[tuple[str, Callable[[int], float]]]:
    """What is measured; each takes the number of the event and gives milliseconds."""
    keys = "ArrowRight", "ArrowLeft"
    images = page.entries("image")
    areas = page.entries("area")

    def slide(i: int) -> float:
        return page.press_slider(keys[i % 2])

    yield "slider, one voxel", slide
    yield "slider dragged, one voxel", lambda i: page.drag_slider((i % 5) - 2.5)
    yield "click on the brain", lambda i: page.click_brain((60, 150)[i % 2], 90)
    yield "another image", lambda i: page.choose("image", images[1 + i])
    page.press("kind", "area")
    yield "another area", lambda i: page.choose("area", areas[(1 + i) % len(areas)])
    yield "slider, an area", slide
    page.press("kind", "concept")
    yield "slider, a concept", slide
    yield "noise, fresh or fixed", lambda i: page.press("noise", ("fresh", "fixed")[i % 2])
    page.press("noise", "fresh")
    yield "slider, fresh noise", slide


def measure(page: ExplorerPage) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of every action, in ms."""
    results = {}
    for name, act in actions(page):
        times = [act(i) for i in range(N_EVENTS)]
        median, late = np.percentile(times, [50, 95])
        results[name] = {"median_ms": round(median), "p95_ms": round(late), "n": len(times)}
        print(f"{name:40s} median {median:4.0f} ms, 95th percentile {late:4.0f} ms")
    return results


def main() -> None:
    """Measure and write the table."""
    make(parse_request(["05", "PROFILE=demo"]))
    load = os.getloadavg()[0]
    cores = sorted(os.sched_getaffinity(0))[:N_CORES]
    os.sched_setaffinity(0, cores)  # what is started from here inherits it
    with tempfile.TemporaryDirectory() as folder:
        copy_of_explorer(Path(folder), PROFILE="demo")
        with (
            sync_playwright() as driver,
            jupyterlab(Path(folder)) as url,
            chromium(driver, find_browser(driver)) as browser,
        ):
            page = ExplorerPage(browser, url)
            page.run_all()
            results = measure(page)
            version = browser.version
            assert not page.errors() and not page.problems, (page.errors(), page.problems)
    report = {
        "machine": {"cpu": platform.machine(), "cores": len(cores), "load_before": round(load, 2)},
        "browser": f"Chromium {version}",
        "limit_ms": LIMIT_MS,
        "within_limit": all(row["p95_ms"] < LIMIT_MS for row in results.values()),
        "event_to_picture": results,
    }
    print(json.dumps(report, indent=1))
    with atomic_path(Path(__file__).with_name("explorer.json")) as tmp:
        tmp.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
