"""A headless Chromium that is driven over its DevTools protocol: pages, what they print and request, scripts, pictures."""

import asyncio
import base64
import json
import subprocess
import time
import urllib.request
from pathlib import Path

from tornado.websocket import websocket_connect

from aps_book.pdf import NAMES, find

__all__ = ["NAMES", "Chromium", "find"]

LARGEST_MESSAGE = 64 << 20
TIMEOUT = 180  # seconds that a step may take, on a busy machine


class Chromium:
    """One browser with one tab.

    Attributes:
      said: errors and warnings of the console since the last `open`.
      requested: addresses that were requested since then.
    """

    def __init__(self, executable, folder):
        self._loop = asyncio.new_event_loop()
        self._next, self._answers = 0, {}
        self.said, self.requested = [], []
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
        options += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
        command = [executable, *options, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._socket = self._run(self._connect(self._port(Path(folder) / "DevToolsActivePort")))
        except BaseException:
            self._process.kill()
            raise
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def _run(self, work):
        return self._loop.run_until_complete(asyncio.wait_for(work, TIMEOUT))

    def _port(self, path):
        end = time.monotonic() + TIMEOUT
        while not (path.exists() and "\n" in path.read_text()):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("Chromium did not start")
            time.sleep(0.1)
        return path.read_text().splitlines()[0]

    async def _connect(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT) as answer:
            tab = next(one for one in json.load(answer) if one["type"] == "page")
        return await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=LARGEST_MESSAGE)

    async def _sent(self, text):
        await self._socket.write_message(text)

    async def _received(self):
        return await self._socket.read_message()

    def send(self, method, **parameters):
        """What the browser answers to a command of the protocol. Raises RuntimeError where it refuses."""
        self._next += 1
        number = self._next
        self._run(self._sent(json.dumps({"id": number, "method": method, "params": parameters})))
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self):
        message = json.loads(self._run(self._received()))
        if "id" in message:
            self._answers[message["id"]] = message
            return None
        name, body = message["method"], message["params"]
        if name == "Runtime.exceptionThrown":
            detail = body["exceptionDetails"]
            self.said.append(detail.get("exception", {}).get("description", detail["text"]))
        elif name == "Runtime.consoleAPICalled" and body["type"] in ("error", "warning"):
            self.said.append(" ".join(str(one.get("value", one.get("description"))) for one in body["args"]))
        elif name == "Log.entryAdded" and body["entry"]["level"] == "error":
            self.said.append(f"{body['entry']['text']} {body['entry'].get('url', '')}")
        elif name == "Network.requestWillBeSent":
            self.requested.append(body["request"]["url"])
        return name

    def open(self, address, width=1280, height=800):
        """Load a page in a window of this size and wait until it is there, equations included."""
        self.resize(width, height)
        self.said, self.requested = [], []
        self.send("Page.navigate", url=address)
        while self._read() != "Page.loadEventFired":
            pass
        self.run("window.MathJax?.startup?.promise ?? null")

    def resize(self, width, height=800):
        """Another size of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def run(self, script):
        """The value of a JavaScript expression, awaited. Raises RuntimeError where it throws."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", script[:80]))
        return found["result"].get("value")

    def prefers(self, mode):
        """What the reader's system prefers, "light" or "dark"; pages follow it, also those that are open."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": mode}])

    def press(self, key, number=0):
        """Press and release a key, such as "Tab". number: the key's, which the browser's own controls want."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number)

    def picture(self, path, whole=False):
        """Save a PNG of the window, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._loop.close()
