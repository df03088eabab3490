#!/usr/bin/env python3
"""Looks at a report.html in a headless Chromium: does it fit a phone and a desktop, light and dark, load nothing, and print?

    scripts/check_html.py CHROMIUM REPORT.html [FOLDER]

Needs Python's standard library and the Chromium binary only. With FOLDER, writes screenshots and a PDF there. Exit code 1 if the page is
wider than its window, something reports an error, or anything but the file itself is requested.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

WIDTHS = [1280, 768, 390, 320]


class Browser:
    """DevTools over a pair of pipes: messages end with a zero byte."""

    def __init__(self, binary, profile):
        here_read, there_write = os.pipe()
        there_read, here_write = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        shell = f'exec "$0" "$@" 3<&{there_read} 4>&{there_write}'
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, binary, *flags], pass_fds=[there_read, there_write], stderr=subprocess.DEVNULL
        )
        os.close(there_read)
        os.close(there_write)
        self.out, self.rest, self.number = os.fdopen(here_write, "wb", 0), b"", 0
        self.source, self.events, self.session = here_read, [], None

    def receive(self):
        while b"\0" not in self.rest:
            read = os.read(self.source, 1 << 20)
            if not read:
                sys.exit("the browser went away")
            self.rest += read
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")


WIDE = """[...document.querySelectorAll('body *')].filter(it => !it.closest('.scroll, .skip, svg') &&
  it.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map(it => it.outerHTML.slice(0, 120))"""


def main(binary, report, folder):
    url = pathlib.Path(report).resolve().as_uri()
    problems = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(binary, profile)
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Network", "Log", "Runtime"]:
            browser.call(f"{domain}.enable")
        for scheme in ["light", "dark"]:
            for width in WIDTHS:
                browser.events.clear()
                browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
                browser.call("Page.navigate", url=url)
                browser.wait("Page.loadEventFired")
                inner, scroll, height = browser.evaluate("[innerWidth, document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
                name = f"{scheme} {width}"
                if scroll > inner or inner != width:
                    problems.append(f"{name}: the page is {scroll} wide in a window of {inner}: {browser.evaluate(WIDE)}")
                for event in browser.events:
                    params = event.get("params", {})
                    if event["method"] == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("data:", url)):
                        problems.append(f"{name}: requests {params['request']['url'][:120]}")
                    if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                        problems.append(f"{name}: {json.dumps(params)[:300]}")
                if folder:
                    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
                    shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
                    (folder / f"{scheme}-{width}.png").write_bytes(base64.b64decode(shot["data"]))
        if folder:
            browser.call("Emulation.clearDeviceMetricsOverride")
            pdf = browser.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
            (folder / "report.pdf").write_bytes(base64.b64decode(pdf["data"]))
        browser.process.terminate()
        browser.process.wait()
    size = os.path.getsize(report)
    if size > 5_000_000:
        problems.append(f"the file has {size} bytes; expected at most 5 MB")
    print("\n".join(problems) or f"{report}: nothing wrong ({size} bytes)")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    shots = pathlib.Path(sys.argv[3]) if len(sys.argv) == 4 else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    sys.exit(main(sys.argv[1], sys.argv[2], shots))
