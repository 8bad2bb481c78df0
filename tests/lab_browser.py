"""JupyterLab and a browser for tests: start both, run a notebook, act on the explorer."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOKEN = "explorer-test"
PICTURE = "img.fmri-utils-picture"
BRAIN = "img.fmri-utils-clickable"
ERRORS = '.jp-OutputArea-output[data-mime-type*="error"]'
# From the event to the frame in which the new picture has been decoded.
STOPWATCH = """
(selector) => {
  window.stopwatch = { start: 0, times: [] };
  const begin = () => { window.stopwatch.start = performance.now(); };
  for (const name of ["keydown", "pointerdown"]) document.addEventListener(name, begin, true);
  document.querySelector(selector).addEventListener("load", () => requestAnimationFrame(
    () => window.stopwatch.times.push(performance.now() - window.stopwatch.start)));
}
"""
DIGEST = """
async (selector) => {
  const bytes = await (await fetch(document.querySelector(selector).src)).arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (b) => b.toString(16).padStart(2, "0")).join("");
}
"""


def find_browser(playwright):
    """Path of Debian's Chromium, or of the one that playwright installs; None without."""
    own = Path(playwright.chromium.executable_path)
    return shutil.which("chromium") or (str(own) if own.is_file() else None)


def copy_of_explorer(folder, **parameters):
    """explore.ipynb in a folder of its own, with other values in its parameters cell."""
    notebook = json.loads((ROOT / "notebooks" / "explore.ipynb").read_text())
    cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", ()))
    text = "".join(cell["source"])
    for name, value in parameters.items():
        text, n = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value!r}", text)
        assert n == 1, name
    cell["source"] = text.splitlines(keepends=True)
    (folder / "explore.ipynb").write_text(json.dumps(notebook))


@contextlib.contextmanager
def jupyterlab(folder):
    """JupyterLab over a folder, without the user's settings; gives the address of explore.ipynb."""
    home = folder / ".home"
    environment = dict(os.environ, IPYTHONDIR=str(home / "ipython"), OMP_NUM_THREADS="1")
    for name in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{name}_DIR"] = str(home / name.lower())
    settings = home / "settings" / "@jupyterlab"
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    quiet = {"fetchNews": "false", "checkForUpdates": False}  # it would ask, and ask the net
    whole = {"windowingMode": "none"}  # otherwise what is off the screen is not in the page
    for name, values in (
        ("apputils-extension/notification", quiet),
        ("notebook-extension/tracker", whole),
    ):
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", server, folder)
            yield f"http://127.0.0.1:{port}/lab/tree/explore.ipynb?token={TOKEN}&reset"
        finally:
            server.terminate()  # JupyterLab ends its kernels
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(url, server, folder, seconds=180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise AssertionError("JupyterLab ended:\n" + (folder / "lab.log").read_text()[-2000:])
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not answer within {seconds} s")


class ExplorerPage:
    """explore.ipynb in a browser.

    Attributes
    ----------
    problems : list of str
        Errors on the console and uncaught ones.
    outside : list of str
        Addresses asked for beyond this machine.
    """

    def __init__(self, browser, url, *, seconds=90):
        self.seconds = seconds
        self.page = browser.new_page(viewport={"width": 1440, "height": 1080})
        self.page.set_default_timeout(1000 * seconds)
        self.problems, self.outside = [], []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note_console)
        self.page.on("request", self._note_request)
        self.page.goto(url)

    def _note_console(self, message):
        if message.type == "error":
            self.problems.append(f"{message.text} ({message.location.get('url', '')})")

    def _note_request(self, request):
        if not re.match(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:", request.url):
            self.outside.append(request.url)

    def run_all(self):
        """Run every cell and wait for the explorer's picture."""
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        # Before its kernel is there, JupyterLab would ask which one to take.
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text("Run", exact=True).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
        self.page.locator(f"{PICTURE}, {ERRORS}").first.wait_for()
        assert not self.errors(), self.errors()
        self.page.wait_for_function("s => document.querySelector(s).naturalWidth > 0", arg=PICTURE)
        self.page.locator(BRAIN).wait_for()
        self.page.evaluate(STOPWATCH, PICTURE)
        self.page.locator(PICTURE).scroll_into_view_if_needed()

    def errors(self):
        """Texts of the errors that cells show."""
        return self.page.locator(ERRORS).all_inner_texts()

    def digest(self, selector=PICTURE):
        """SHA-256 of a picture in the page."""
        return self.page.evaluate(DIGEST, selector)

    def acted(self, action):
        """Do something; milliseconds from the event until the new picture is in the page."""
        before = self.page.evaluate("() => window.stopwatch.times.length")
        action()
        self.page.wait_for_function("n => window.stopwatch.times.length > n", arg=before)
        return self.page.evaluate("n => window.stopwatch.times[n]", before)

    def press_slider(self, key):
        """Move the slider by a step with an arrow key."""
        handle = self.page.locator(".fmri-utils-k .noUi-handle")
        handle.focus()
        return self.acted(lambda: handle.press(key))

    def press(self, control, text):
        """Press one of a control's buttons."""
        button = self.page.locator(f".fmri-utils-{control} button").get_by_text(text, exact=True)
        return self.acted(button.click)

    def choose(self, control, text):
        """Choose an entry of a drop-down list."""
        menu = self.page.locator(f".fmri-utils-{control} select")
        self.page.evaluate("() => { window.stopwatch.start = performance.now(); }")
        return self.acted(lambda: menu.select_option(label=text))

    def click_brain(self, x, y):
        """Click on the brain, in pixels of the picture itself, which may be shown smaller."""
        brain = self.page.locator(BRAIN)
        shown = brain.evaluate("image => image.clientWidth / image.naturalWidth")
        return self.acted(lambda: brain.click(position={"x": x * shown, "y": y * shown}))

    def click_button(self, text):
        """Press one of the two buttons below the controls."""
        self.page.get_by_role("button", name=text, exact=True).click()

    def number(self):
        """Number of the chosen voxel."""
        return int(self.page.locator(".fmri-utils-number input").input_value())

    def message(self):
        """The line below the brain."""
        return self.page.locator(".fmri-utils-message").inner_text()
