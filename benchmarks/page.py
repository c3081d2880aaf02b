"""How quick the page is: `python benchmarks/page.py TEXT_RUN IMAGE_RUN [ROUNDS]`.

`textdae app` on both runs in a real browser (a Chromium of the system, driven by Playwright): seconds from the command, and from
the page's load, to the first picture; milliseconds from a turn of the dial to the redraw, each under a noise that was not drawn
before; and the size of the built front end and of the exported page, which is opened from its file. ROUNDS 0: the sizes alone.
"""

import gzip
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from compare import Run
from playwright.sync_api import sync_playwright

from textdae.app.server import STATIC

TURNS = 18
CURVES = "document.querySelectorAll('.against .line.strong circle').length >= 36"
"""Both curves are whole, but for a level at which nothing is scored: the server is idle."""
PICTURES = "performance.getEntriesByType('mark').filter(e => e.name.startsWith('first-picture'))"


def until(page, condition: str, seconds: int = 120) -> None:
    """Wait for a condition in the page, whose policy forbids Playwright's own way."""
    for _ in range(seconds * 100):
        if page.evaluate(condition):
            return
        time.sleep(0.01)
    raise SystemExit(f"the page never came to this: {condition}")


@contextmanager
def served(runs: list[str]):
    """`textdae app` as a process: its address, and when the command was given."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "textdae", "app", *runs, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://127.0.0.1:\d+/", server.stdout.readline())
        if found is None:
            raise SystemExit("the page did not open")
        yield found[0], began
    finally:
        server.terminate()
        server.wait()


def first_pictures(page, address: str) -> list[float]:
    """Seconds from the page's load to the first picture of each run."""
    page.goto(address)
    until(page, f"{PICTURES}.length === 2")
    return sorted(mark / 1000 for mark in page.evaluate(f"{PICTURES}.map(e => e.startTime)"))


def turns(page, index: int, seed: int) -> list[float]:
    """Milliseconds from a turn of the dial to the redraw, through all its levels, under noise of this seed."""
    article = page.locator("article").nth(index)
    dial = article.get_by_label("How much is destroyed")
    for _ in range(seed):
        article.get_by_role("button", name="Throw again").click()
        time.sleep(2)
    dial.press("Home")
    time.sleep(5)
    page.evaluate("performance.clearMeasures('redraw')")
    for count in range(1, TURNS + 1):
        dial.press("ArrowRight")
        until(page, f"performance.getEntriesByName('redraw').length >= {count}")
        time.sleep(0.4)  # the baseline of this level is drawn meanwhile
    return page.evaluate("performance.getEntriesByName('redraw').map(e => e.duration)")


def keep(run: Run, name: str, values: list[float], unit: str) -> None:
    load = f"load {os.getloadavg()[0]:.1f}"
    run.add(name, statistics.median(values), unit, values, load if unit in ("s", "ms") else None)
    print(f"{name}: {statistics.median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g})")


def measure_times(run: Run, page, runs: list[str], rounds: int) -> None:
    with served(runs) as (address, _):  # prepares the corpus, the answers of the first picture and the curves
        first_pictures(page, address)
        until(page, CURVES, 900)
    commands = []
    for _ in range(rounds):
        with served(runs) as (address, began):
            page.goto(address)
            until(page, f"{PICTURES}.length >= 1")
            commands.append(time.perf_counter() - began)
    keep(run, "the page: from the command to the first picture, warm", commands, "s")
    with served(runs) as (address, _):
        first_pictures(page, address)
        loads = [first_pictures(page, address) for _ in range(2 * rounds)]
        keep(run, "the page: from its load to the first picture", [first for first, _ in loads], "s")
        both = [last for _, last in loads]
        keep(run, "the page: from its load to the first picture of both runs", both, "s")
        until(page, CURVES)
        for index, name in enumerate(("text", "images")):
            keep(run, f"the page: a turn of the dial to the redraw, {name}", turns(page, index, 3), "ms")


def measure_sizes(run: Run, page, runs: list[str]) -> None:
    front_end = sum(len(gzip.compress(path.read_bytes())) for path in STATIC.iterdir()) / 1000
    keep(run, "the page: its front end, compressed", [front_end], "kB")
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        command = [sys.executable, "-m", "textdae", "--quiet", "app", *runs, "--export", str(site)]
        subprocess.run(command, check=True)
        size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) / 1e6
        keep(run, "the page: exported, of a text and an image run", [size], "MB")
        loads = [first_pictures(page, (site / "index.html").as_uri())[1] for _ in range(3)]
        keep(run, "the exported page: from its load to the first picture of both runs", loads, "s")


def main(run: Run, text: str, image: str, rounds: int = 3) -> None:
    with sync_playwright() as playwright:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        if rounds:
            measure_times(run, page, [text, image], rounds)
        measure_sizes(run, page, [text, image])
        browser.close()


if __name__ == "__main__":
    with Run(__doc__, 2) as run:
        main(run, *run.words[:2], *map(int, run.words[2:]))
