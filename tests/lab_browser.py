"""JupyterLab and a browser for tests: start both, run a notebook, act on the explorer.

Every wait has a limit. What playwright itself waits for without one (a script in a page that hangs)
is ended by :func:`at_most`.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from papermill.iorw import load_notebook_node, write_ipynb
from papermill.parameterize import parameterize_notebook

ROOT = Path(__file__).parents[1]
TOKEN = "explorer-test"
PICTURE = "img.fmri-utils-picture"
BRAIN = ".fmri-utils-brain img"
ERRORS = '.jp-OutputArea-output[data-mime-type*="error"]'
# Limits: of a program that starts, of all cells, and of one event; several times what they take on
# two cores that a dozen other programs share.
START_SECONDS, RUN_SECONDS, ACTION_SECONDS = 300, 300, 60
# From the event to the frame in which the new picture has been decoded. A drag ends with pointerup.
STOPWATCH = """
(selector) => {
  window.stopwatch = { start: 0, times: [] };
  const begin = () => { window.stopwatch.start = performance.now(); };
  const events = ["keydown", "pointerdown", "pointerup", "change"];
  for (const name of events) document.addEventListener(name, begin, true);
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


@contextlib.contextmanager
def chromium(playwright, path):
    """A browser without a window, closed at the end."""
    browser = playwright.chromium.launch(
        executable_path=path,
        args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        timeout=1000 * START_SECONDS,
    )
    try:
        yield browser
    finally:
        browser.close()


def kernel_seconds():
    """Processor time that the notebook's kernel has used so far."""
    children = psutil.Process().children(recursive=True)
    (kernel,) = [p for p in children if "ipykernel_launcher" in p.cmdline()]
    return sum(kernel.cpu_times()[:2])  # of itself, without what it started


@contextlib.contextmanager
def at_most(seconds):
    """End all processes that the block starts if it takes longer: who waits for them fails then."""
    before = set(psutil.Process().children(recursive=True))

    def end():
        for process in set(psutil.Process().children(recursive=True)) - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def copy_of_explorer(folder, **parameters):
    """explore.ipynb in a folder of its own, with other parameters."""
    notebook = load_notebook_node(str(ROOT / "notebooks" / "explore.ipynb"))
    notebook = parameterize_notebook(notebook, parameters)
    write_ipynb(notebook, str(folder / "explore.ipynb"))


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
    both = {"apputils-extension/notification": quiet, "notebook-extension/tracker": whole}
    for name, values in both.items():
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


def _wait_for(url, server, folder, seconds=START_SECONDS):
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
    start : str
        Digest of the picture at the start.
    """

    def __init__(self, browser, url, *, size=(1440, 1080)):
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.set_default_timeout(1000 * START_SECONDS)
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
        shown = self.page.locator(f"{PICTURE}, {ERRORS}").first
        shown.wait_for(timeout=1000 * RUN_SECONDS)
        assert not self.errors(), self.errors()
        self.page.wait_for_function("s => document.querySelector(s).naturalWidth > 0", arg=PICTURE)
        self.page.locator(BRAIN).wait_for()
        self.page.set_default_timeout(1000 * ACTION_SECONDS)
        self.page.evaluate(STOPWATCH, PICTURE)
        self.page.locator(PICTURE).scroll_into_view_if_needed()
        self.start = self.digest()

    def errors(self):
        """Texts of the errors that cells show."""
        return self.page.locator(ERRORS).all_inner_texts()

    def digest(self, selector=PICTURE):
        """SHA-256 of a picture in the page."""
        return self.page.evaluate(DIGEST, selector)

    def acted(self, action):
        """Do something; milliseconds from the event until the new picture is in the page."""
        before = self.n_drawn()
        action()
        self.page.wait_for_function("n => window.stopwatch.times.length > n", arg=before)
        return self.page.evaluate("n => window.stopwatch.times[n]", before)

    def press_slider(self, key):
        """Move the slider by a step with an arrow key."""
        handle = self.page.locator(".fmri-utils-k .noUi-handle")
        handle.focus()
        return self.acted(lambda: handle.press(key))

    def drag_slider(self, k):
        """Drag the slider to k standard deviations with the mouse."""
        bar = self.page.locator(".fmri-utils-k .noUi-target").bounding_box()
        handle = self.page.locator(".fmri-utils-k .noUi-handle")
        low, high = (float(handle.get_attribute(f"aria-value{end}")) for end in ("min", "max"))
        box = handle.bounding_box()
        y = box["y"] + box["height"] / 2
        mouse = self.page.mouse
        mouse.move(box["x"] + box["width"] / 2, y)
        mouse.down()
        mouse.move(bar["x"] + bar["width"] * (k - low) / (high - low), y, steps=5)
        return self.acted(mouse.up)

    def press(self, control, text):
        """Press one of a control's buttons."""
        button = self.page.locator(f".fmri-utils-{control} button").get_by_text(text, exact=True)
        return self.acted(button.click)

    def click_brain(self, x, y):
        """Click on the brain, in pixels of the picture itself, which may be shown smaller."""
        brain = self.page.locator(BRAIN)
        shown = brain.evaluate("image => image.clientWidth / image.naturalWidth")
        return self.acted(lambda: brain.click(position={"x": x * shown, "y": y * shown}))

    def click_button(self, name):
        """Press "reset" or "save". Not found by their text, to which their icons belong."""
        self.page.locator(f".fmri-utils-{name}_button").click()

    def becomes(self, digest, equal=True, selector=PICTURE):
        """Wait until a picture has this digest, or another one; a late picture may come first."""
        until = time.monotonic() + ACTION_SECONDS
        while (self.digest(selector) == digest) != equal:
            if time.monotonic() > until:
                raise TimeoutError(f"{selector} did not {'come' if equal else 'go'}")
            self.page.wait_for_timeout(50)

    def reset(self):
        """Go back to the start, and wait for its picture."""
        self.click_button("reset")
        self.becomes(self.start)

    def number(self):
        """Number of the chosen voxel."""
        return int(self.page.locator(".fmri-utils-number input").input_value())

    def k(self):
        """Where the slider stands."""
        return float(self.page.locator(".fmri-utils-k .noUi-handle").get_attribute("aria-valuenow"))

    def n_drawn(self):
        """How many pictures came into the page since the start."""
        return self.page.evaluate("() => window.stopwatch.times.length")

    def message(self):
        """The line below the brain."""
        return self.page.locator(".fmri-utils-message").inner_text()
