"""The explore notebook as a reader uses it: JupyterLab in a real browser, run from the menu, widgets moved.

Screenshots go to ``$CYCLE_SCREENSHOTS``, else to pytest's folder of this run. Skipped where no Chromium is installed.
"""

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

import pytest
import yaml
from playwright.sync_api import sync_playwright

from cycle_utils.paths import NOTEBOOKS, ROOT


def _browser() -> str | None:
    """This machine's Chromium, or the one that playwright has installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    with sync_playwright() as browsers:
        found = browsers.chromium.executable_path
    return found if Path(found).is_file() else None


BROWSER = _browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: .venv/bin/playwright install chromium")
SMALL = yaml.safe_load((Path(__file__).parent / "overrides.yaml").read_text())["09_explore"]
PATIENCE = 120_000  # milliseconds: for what trains or loads a model


def _small_copy(folder: Path, model: str) -> None:
    """The notebook with the sizes of the tests as its defaults, and widgets on."""
    notebook = json.loads((NOTEBOOKS / "09_explore.ipynb").read_text())
    cell = next(c for c in notebook["cells"] if c["metadata"].get("tags") == ["parameters"])
    text = "".join(cell["source"])
    for name, value in {**SMALL, "model": model, "interactive": True}.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
    cell["source"] = text.splitlines(keepends=True)
    (folder / "09_explore.ipynb").write_text(json.dumps(notebook))


def _quiet_settings(folder: Path) -> None:
    """No questions about news, and all cells in the page, also those out of sight."""
    wanted = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, settings in wanted.items():
        file = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def lab(tmp_path_factory, random_lm):
    """The address of a JupyterLab that serves the small copy."""
    folder, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("lab-home")
    _small_copy(folder, random_lm)
    _quiet_settings(home / "settings")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ, "CYCLE_HOME": str(home), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += [f"--notebook-dir={folder}", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(address: str) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"no JupyterLab at {address}")


def test_the_tools_work_in_a_browser(lab, tmp_path):
    pictures = Path(os.environ.get("CYCLE_SCREENSHOTS") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{lab}/lab/tree/09_explore.ipynb")
        try:
            _use(page, pictures)
        finally:
            page.screenshot(path=pictures / "last.png")
            browser.close()
    assert not wrong, wrong


def _use(page, pictures: Path) -> None:
    """Run the notebook, and use each tool."""
    _run_all(page)

    own = _view(page, "Run the loop")
    own.scroll_into_view_if_needed()
    own.get_by_text("Press the button").wait_for()
    own.get_by_role("button", name="Run the loop").click()
    own.get_by_text("done", exact=True).wait_for(timeout=PATIENCE)
    assert own.locator("h4").count() == 1 + SMALL["rounds"]
    page.screenshot(path=pictures / "own_problem.png")
    own.locator("textarea").nth(1).fill("")
    own.get_by_role("button", name="Run the loop").click()
    own.get_by_text("This cannot be run").wait_for()

    stories = _view(page, "mended in")
    _choose(stories, 1, "all")
    stories.locator("h4").first.wait_for()
    page.screenshot(path=pictures / "trajectory.png")
    stories.locator(".noUi-handle").first.press("ArrowLeft")
    stories.get_by_text(re.compile(r": round 0 of \d")).wait_for()

    masks = _view(page, "mask ratio")
    masks.scroll_into_view_if_needed()
    masks.locator(".noUi-handle").first.press("End")
    masks.get_by_text(re.compile(r"^(\d+) of the \1 tokens")).wait_for()
    page.screenshot(path=pictures / "masks.png")

    readings = _view(page, "who")
    readings.scroll_into_view_if_needed()
    readings.locator(".noUi-handle").first.press("Home")
    readings.get_by_text("Open: nothing").wait_for()
    page.screenshot(path=pictures / "readings.png")

    versus = _view(page, "theirs")
    versus.scroll_into_view_if_needed()
    versus.locator(".noUi-handle").first.press("Home")
    versus.get_by_text("After round 0").wait_for()
    page.screenshot(path=pictures / "compare.png")


def _run_all(page) -> None:
    """Run all cells from the menu, and wait until the last one has its number."""
    page.locator(".jp-Notebook").wait_for(timeout=PATIENCE)
    page.get_by_text("| Idle").wait_for(timeout=PATIENCE)  # else JupyterLab asks which kernel to take
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.get_by_text(re.compile(r"^After round \d+, CYCLE alone has solved")).wait_for(timeout=PATIENCE)
    assert page.get_by_text("Traceback").count() == 0


def _view(page, label: str):
    """The view that holds a control of this label."""
    return page.locator(".widget-vbox", has=page.get_by_text(label, exact=True)).first


def _choose(view, number: int, option: str) -> None:
    view.locator("select").nth(number).select_option(label=option)
