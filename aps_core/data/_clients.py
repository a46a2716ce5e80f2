"""Clients of package registries (pip, npm) run for one archive: no waiting without a word, and no more bytes than
expected.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

STALL = 20.0  # seconds without a byte after which a download has failed
TOLD_AFTER = 5.0  # seconds after which progress is told
POLL = 0.2
LOG = "client.log"  # what the client said, in its folder
LIMIT = 2**30  # bytes on disk of one fetch: the largest archive has 139 MB, and a client may keep it twice


def run_client(command, folder, what, by_hand, size=None, environment=None):
    """Run ``command``, a client that puts ``what`` into ``folder`` and keeps all its files below it; returns its output.

    size: bytes of the archive where known, for the time left. From the fifth second on, how much has come, the rate and
    the time left are told on standard error. Raises ConnectionError with the client's last words and ``by_hand``, what
    to do instead, where it fails or no byte comes for STALL seconds; ValueError where more than LIMIT bytes come.
    """
    with open(Path(folder) / LOG, "w+b") as log:
        client = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            failed = _watch(client, folder, what, size)
        finally:
            client.kill()
            client.wait()
        log.seek(0)
        said = log.read().decode(errors="replace")
    if failed or client.returncode:
        reason = failed or _last_words(said) or f"{Path(command[0]).name} ended with {client.returncode}"
        raise ConnectionError(f"{what} was not fetched: {reason}. {by_hand}")
    return said


def _watch(client, folder, what, size):
    """Wait for ``client`` to end; returns why it was given up, or None."""
    start = last_growth = told = time.monotonic()
    before = 0
    while client.poll() is None:
        time.sleep(POLL)
        now, have = time.monotonic(), _bytes_below(folder)
        if have > LIMIT:
            raise ValueError(f"{what} takes more than {LIMIT:,} bytes on disk, the limit for a fetch")
        if have > before:
            before, last_growth = have, now
        elif now - last_growth > STALL:
            return f"nothing came for {STALL:g} seconds (is there a network?)"
        if now - start > TOLD_AFTER and now - told > (1 if sys.stderr.isatty() else TOLD_AFTER):
            told = now
            print(
                f"{what}: {progress(have, size, now - start)}",
                file=sys.stderr,
                end="\r" if sys.stderr.isatty() else "\n",
            )
    return None


def progress(have, size, seconds):
    """ "12.3 of 139.0 MB, 2.1 MB/s, 60 s left", without total and time where ``size`` is not known."""
    rate, have = have / seconds, min(have, size or have)  # a client unpacks beside what it downloads
    text = f"{have / 1e6:.1f}{f' of {size / 1e6:.1f}' if size else ''} MB, {rate / 1e6:.2f} MB/s"
    return text + (f", {max(size - have, 0) / rate:.0f} s left" if size and rate > 0 else "")


def _bytes_below(folder):
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that the client takes away meanwhile
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # moved by the client meanwhile
                continue
    return total


def _last_words(said):
    """The line that speaks of the connection, else the last that speaks of an error, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "complete log" not in line]
    network = [line for line in lines if re.search(r"connect|ECONN|ENOTFOUND|EAI_AGAIN|timed? ?out|resolv", line, re.I)]
    wrong = [line for line in lines if "err" in line.lower()]
    return (network[:1] or wrong[-1:] or lines[-1:] or [""])[0][:400]
