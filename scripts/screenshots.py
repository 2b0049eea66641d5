"""Pictures for the README, of the flights as they really run: `python -m scripts.screenshots` (three minutes).

It starts `midwatch up` with the flights, waits until the bad canary is slow and somebody is paged, and takes pictures
of the console, of the page of an alert, of the canary, and of a previewed dashboard into docs/images.
"""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midwatch.modules import command

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PLATFORM = ROOT / "examples" / "flights" / "platform.yaml"
WIDTH, HEIGHT = 1200, 760
"""Of a picture, in pixels: legible at the width of a page on GitHub."""

MOST_BYTES = 150_000
COLOURS = 255
"""Of a picture: pages of text need no more, and half of the bytes is left."""

ALERT = "ModelLatencyHigh"
SECONDS = 1200.0
"""The flights take three minutes, their training as long the first time, and a machine may be slow."""


def pages(console: str, preview: Path) -> dict[str, str]:
    """Address of each picture's page, by the picture's name."""
    return {
        "console": console,
        "incident": f"{console}/alerts/{ALERT}",
        "canary": f"{console}/canaries/flight-delay?baseline=v1&canary=v2",
        "preview": f"file://{preview}/midwatch-flights-model.html",
    }


def take(browser: Browser, addresses: Mapping[str, str], folder: Path) -> list[Path]:
    """A picture of the top of each page, as PNG; RuntimeError when one is too large for a README."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for name, address in addresses.items():
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address, wait_until="load")
        page.wait_for_selector("h1")
        taken.append(folder / f"{name}.png")
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.quantize(COLOURS).save(taken[-1], optimize=True)
        page.close()
    large = [file.name for file in taken if file.stat().st_size > MOST_BYTES]
    if large:
        raise RuntimeError(f"larger than {MOST_BYTES} bytes: {', '.join(large)}")
    return taken


@contextmanager
def chromium() -> Iterator[Browser]:
    """The installed chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def running(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs as long as the context lasts; it is stopped as Ctrl-C would.

    What it said last is shown when anything goes wrong.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=out)
        try:
            yield process
        except BaseException:
            sys.stderr.write(log.read_text(errors="replace")[-2000:])
            raise
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def wait_for(what: str, is_there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is there; RuntimeError when the process ends before, or after SECONDS."""
    begun = time.monotonic()
    while not is_there():
        if process.poll() is not None or time.monotonic() - begun > SECONDS:
            raise RuntimeError(f"{what} did not come")
        time.sleep(0.5)


def answer(url: str) -> Any:
    """JSON of an address; None when nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as given:  # noqa: S310 - an address of this machine
            return json.load(given)
    except (OSError, ValueError):
        return None


def is_firing(prometheus: str) -> bool:
    """Whether the alert fires."""
    asked = f'{prometheus}/api/v1/query?query=ALERTS{{alertname="{ALERT}",alertstate="firing"}}'
    said = answer(asked.replace('"', "%22").replace("{", "%7B").replace("}", "%7D"))
    return bool(said and said["data"]["result"])


def main() -> None:
    """Run the flights and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="midwatch-screenshots-") as name:
        folder = Path(name)
        state = folder / "state"
        words = [*command("midwatch"), "up", "-f", str(PLATFORM), "--duration", "3m", "--state", str(state)]
        with running(words, folder / "up.log") as up:
            wait_for("the plane", lambda: {"prometheus", "console"} <= parts(state).keys(), up)
            addresses = parts(state)
            wait_for(f"an alert {ALERT}", lambda: is_firing(addresses["prometheus"]), up)
            wait_for("the console", lambda: _is_ready(f"{addresses['console']}/readyz"), up)
            words = [*command("midwatch"), "dashboards", "preview", "-f", str(PLATFORM), "-o", str(folder / "preview")]
            words += ["--prometheus", addresses["prometheus"], "--dashboard", "model", "--since", "3m"]
            subprocess.run(words, cwd=ROOT, check=True, stdout=sys.stderr)
            with chromium() as browser:
                taken = take(browser, pages(addresses["console"], folder / "preview"), IMAGES)
            for file in taken:
                print(file.relative_to(ROOT), file.stat().st_size)  # noqa: T201 - a script's result


def parts(state: Path) -> dict[str, str]:
    """Address of each part of the plane; none before it is there."""
    from chaos.places.local.plane import LocalPlane
    from midwatch.errors import MidwatchError

    try:
        return {name: str(part.url) for name, part in LocalPlane(state).parts.items()}
    except (MidwatchError, OSError):
        return {}


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as given:  # noqa: S310 - an address of this machine
            return bool(given.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
