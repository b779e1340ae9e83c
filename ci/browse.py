"""Make a checkpoint in the shapes of GPT-2, show it as a page, and use the page in Chromium as a reader would.

Called by ci/page with the browser and the screenshot's path. Chromium is driven by the DevTools protocol over its
debugging pipe (JSON messages that end in NUL, on file descriptors 3 and 4): no package, no port, no download.
"""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastinit.compare import compare
from fastinit.laws import Constant, Normal
from fastinit.plan import Plan, Tensor
from fastinit.show import show
from fastinit.show.page import html
from fastinit.write import write

LAYERS, WIDTH, CONTEXT, VOCABULARY = 12, 768, 1024, 50257
PATIENCE = 60  # seconds for an answer: a browser's first start on a busy machine is slow
SIZE = {"width": 1400, "height": 1000, "deviceScaleFactor": 1, "mobile": False}


def gpt2() -> Iterator[Tensor]:
    """The 124M model. Radford et al. 2019: N(0, 0.02), positions 0.01, residual projections over sqrt(2 layers)."""

    def tensor(name: str, shape: tuple[int, ...], law: Normal | Constant) -> Tensor:
        return Tensor(name, shape, "float32", law)

    normal, residual = Normal(0.0, 0.02), Normal(0.0, 0.02 / math.sqrt(2 * LAYERS))
    yield tensor("wte.weight", (VOCABULARY, WIDTH), normal)
    yield tensor("wpe.weight", (CONTEXT, WIDTH), Normal(0.0, 0.01))
    for block in (f"h.{i}" for i in range(LAYERS)):
        for norm in ("ln_1", "ln_2"):
            yield tensor(f"{block}.{norm}.weight", (WIDTH,), Constant(1.0))
            yield tensor(f"{block}.{norm}.bias", (WIDTH,), Constant(0.0))
        for part, inputs, outputs, law in (
            ("attn.c_attn", WIDTH, 3 * WIDTH, normal),
            ("attn.c_proj", WIDTH, WIDTH, residual),
            ("mlp.c_fc", WIDTH, 4 * WIDTH, normal),
            ("mlp.c_proj", 4 * WIDTH, WIDTH, residual),
        ):
            yield tensor(f"{block}.{part}.weight", (inputs, outputs), law)
            yield tensor(f"{block}.{part}.bias", (outputs,), Constant(0.0))
    yield tensor("ln_f.weight", (WIDTH,), Constant(1.0))
    yield tensor("ln_f.bias", (WIDTH,), Constant(0.0))


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, program: str, profile: str) -> None:
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()

        def arrange() -> None:
            """Put the ends of the child at 3 and 4; by way of higher numbers, which cannot be 3 or 4 themselves."""
            os.dup2(os.dup2(commands, 63), 3)
            os.dup2(os.dup2(answers, 64), 4)

        self._process = subprocess.Popen(
            [
                *(program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
                # A container's root has no sandbox and little shared memory; the page is our own.
                *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"),
            ],
            preexec_fn=arrange,
            pass_fds=(3, 4),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._number, self._session, self._rest = 0, "", b""
        self.faults: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Emulation.setDeviceMetricsOverride", **SIZE)

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command; its result. What the page complains of meanwhile is kept in `faults`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._answer()).get("id") != self._number:
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.faults.append(json.dumps(answer["params"])[:500])
        if "error" in answer:
            raise SystemExit(f"ci/page: Chromium refuses {method}: {answer['error']['message']}")
        return answer["result"]

    def _answer(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                raise SystemExit("ci/page: Chromium ended before it answered; start it by hand to see why")
            self._rest += chunk
        text, self._rest = self._rest.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise SystemExit(f"ci/page: {expression} fails in the page: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there."""
        self.call("Page.navigate", url=path.as_uri())
        until = time.monotonic() + PATIENCE
        while self.value("location.protocol + document.readyState") != "file:complete":
            check(time.monotonic() < until, "the page loads")
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element."""
        where = f"document.querySelector({json.dumps(selector)})"
        check(self.value(f"{where} !== null"), f"there is {selector}")
        self.value(f"{where}.scrollIntoView({{block: 'center'}})")
        x, y = self.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({where}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, text: str = "") -> None:
        """A key of the keyboard, on what has the focus."""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, text=text, windowsVirtualKeyCode=13)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=13)

    def close(self) -> None:
        """End the browser and whatever it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def check(holds: object, what: str) -> None:
    """Say what holds; end where it does not."""
    print(f"{'right' if holds else 'WRONG'}  {what}", flush=True)
    if not holds:
        raise SystemExit(f"ci/page: it does not hold that {what}")


VISIBLE = "[...document.querySelectorAll('tbody tr')].filter(row => row.getClientRects().length)"


def column(browser: Browser, number: int) -> list[float]:
    """The sort values of a column, from top to bottom."""
    found: list[float] = browser.value(f"{VISIBLE}.map(row => Number(row.cells[{number}].dataset.value))")
    return found


def use(browser: Browser, page: Path, tensors: int, screenshot: Path) -> None:
    """Sort, filter, look at a histogram, enlarge it."""
    browser.open(page)
    constants = browser.value("document.querySelectorAll('tbody tr.constant').length")
    check(browser.value(f"{VISIBLE}.length") == tensors - constants > 0, f"{constants} constants are folded")
    browser.click("#constants")
    check(browser.value(f"{VISIBLE}.length") == tensors, f"every one of the {tensors} tensors has a row")
    check(browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page is not wider than the window")
    heads: list[str] = browser.value("[...document.querySelectorAll('thead th')].map(head => head.textContent)")
    std = heads.index("Std")
    before = column(browser, std)
    browser.click(f"thead th:nth-child({std + 1}) button")
    after = column(browser, std)
    check(after == sorted(before) != before, "a click on Std sorts the rows")
    sort_of = f"document.querySelector('thead th:nth-child({std + 1})').ariaSort"
    check(browser.value(sort_of) == "ascending", "the header says so to a screen reader")
    browser.press("Enter", "\r")
    check(column(browser, std) == sorted(before, reverse=True), "Enter on the header sorts the other way round")
    screenshot.write_bytes(base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"]))
    browser.click("#filter")
    browser.call("Input.insertText", text="WTE.w")
    names = browser.value(f"{VISIBLE}.map(row => row.cells[0].dataset.value)")
    check(names == ["wte.weight"], "the filter leaves wte.weight alone")
    bars = f"{VISIBLE}[0].querySelector('svg .bars').getBoundingClientRect()"
    check(browser.value(f"{bars}.width > 100 && {bars}.height > 20"), "its histogram is drawn")
    check(browser.value(f"{VISIBLE}[0].querySelector('svg .line') !== null"), "its law is drawn over it")
    check(browser.value(f"{VISIBLE}[0].querySelector('.good') !== null"), "it fits its law")
    browser.click("tbody tr:not([hidden]) .open")
    check(browser.value("document.querySelector('dialog[open] svg') !== null"), "a click enlarges it")
    check(not browser.faults, f"the page has no complaint {browser.faults or ''}".rstrip())


# What reaches beyond the window, or beyond the sheet it lies on, other than curves that leave their frame.
BEYOND = """[...document.querySelectorAll("body *")].filter(one => {
  const box = one.getBoundingClientRect(), sheet = one.closest(".sheet");
  const edge = Math.min(innerWidth, sheet ? sheet.getBoundingClientRect().right : innerWidth);
  return box.width && !one.closest("svg") && (box.right > edge + 1 || box.left < -1);
}).map(one => one.outerHTML.slice(0, 80))"""


def fits(browser: Browser, page: Path) -> None:
    """On a phone and on a desk, by day and by night: nothing is cut off, and the paper has the reader's colour."""
    for width in (390, 1280):
        for scheme in ("light", "dark"):
            browser.call("Emulation.setDeviceMetricsOverride", **SIZE | {"width": width, "mobile": width < 500})
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            browser.open(page)
            beyond = browser.value(BEYOND)
            check(not beyond, f"nothing of {page.name} is cut off at {width} px, {scheme} {beyond or ''}".rstrip())
            red = browser.value("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
            check((red > 128) == (scheme == "light"), "its paper has the reader's colour")


def main(program: str, screenshot: Path) -> None:
    """Make, show, use."""
    with tempfile.TemporaryDirectory(prefix="fastinit-page-", ignore_cleanup_errors=True) as scratch:
        plan = Plan(tuple(gpt2()))
        write(plan, Path(scratch, "gpt2"), seed=0, durable=False)
        shown = show(Path(scratch, "gpt2"))
        page = Path(scratch, "page.html")
        page.write_text(html(shown, "GPT-2, 124M, freshly initialised"), encoding="utf-8")
        print(f"{shown.summary}; read at {shown.gigabytes_per_second:.2f} GB/s; page of {page.stat().st_size:,} bytes")
        check(not any(one.remarks for one in shown.tensors), "every tensor follows its law")
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"ci/page: Chromium did not answer within {PATIENCE} s"))
        signal.alarm(2 * PATIENCE)
        browser = Browser(program, str(Path(scratch, "profile")))
        try:
            use(browser, page, len(plan.tensors), screenshot)
            starts = Path(scratch, "starts.html")
            starts.write_text(compare("relu", depth=20, width=64).html(), encoding="utf-8")
            fits(browser, page)
            fits(browser, starts)
        finally:
            browser.close()
    print(f"screenshot in {screenshot}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
