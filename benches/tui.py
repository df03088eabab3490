#!/usr/bin/env python3
"""How quick `advmod tui` is while an attack keeps all cores busy, and what the drawing costs.

    cargo build --release && python3 benches/tui.py target/release/advmod

Starts the program on a pseudoterminal of 120x36, waits until an attack runs, presses keys that change the screen at random moments and
takes the time until bytes of the new frame arrive. Then it reads from /proc how much processor time the interface's thread and the whole
process have used. Needs Linux and nothing but Python.
"""

import argparse
import fcntl
import os
import pathlib
import pty
import random
import select
import shutil
import statistics
import struct
import sys
import tempfile
import termios
import time

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(path):
    """User and system time of a process or thread, from its `stat` file."""
    with open(path) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def read_for(terminal, seconds, until=None):
    """Bytes that arrive within so many seconds, or until some of them are there."""
    end, seen = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            break
        if until is not None and until in seen:
            break
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--presses", type=int, default=60)
    parser.add_argument("--attack", default="cw", help="one that runs for minutes")
    options = parser.parse_args()
    folder = tempfile.mkdtemp()
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        run = ["--attacks", options.attack, "--samples", "1000", "--out", folder]
        os.execv(options.program, [options.program, "tui", *run])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    journal = pathlib.Path(folder, "run.jsonl")
    end = time.monotonic() + 120
    while not (journal.exists() and '"kind":"attack"' in journal.read_text()):
        read_for(terminal, 0.2)
        if time.monotonic() > end:
            sys.exit("no attack began within two minutes")
    read_for(terminal, 3)
    process, thread = f"/proc/{child}/stat", f"/proc/{child}/task/{child}/stat"
    began, before = time.monotonic(), (cpu_seconds(thread), cpu_seconds(process))
    delays = []
    for press in range(options.presses):
        read_for(terminal, random.uniform(0.3, 0.6))
        # A screen of its own each time, told apart by the mark of the open tab.
        key, mark = (b"5", b"[5") if press % 2 == 0 else (b"1", b"[1")
        at = time.monotonic()
        os.write(terminal, key)
        if mark not in read_for(terminal, 10, mark):
            sys.exit(f"no answer to {key!r} within ten seconds")
        delays.append(1000 * (time.monotonic() - at))
    wall = time.monotonic() - began
    interface, everything = cpu_seconds(thread) - before[0], cpu_seconds(process) - before[1]
    os.write(terminal, b"\x03\x03")
    read_for(terminal, 10)
    os.waitpid(child, 0)
    shutil.rmtree(folder)
    delays.sort()
    print(f"{len(delays)} key presses: median {statistics.median(delays):.0f} ms, 95 % within {delays[int(0.95 * len(delays))]:.0f} ms")
    print(f"{wall:.0f} s, {everything / wall:.2f} cores busy: drawing took {100 * interface / everything:.2f} % of the processor time")


if __name__ == "__main__":
    main()
