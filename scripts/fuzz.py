#!/usr/bin/env python3
"""Runs the fuzzers of fuzz/: each reader on a million inputs, or for five minutes, in one gibibyte and five seconds an input.

    scripts/fuzz.py [READER ...] [--runs N] [--seconds S] [--found FOLDER] [--programs FOLDER]

Wants cargo-fuzz (cargo install cargo-fuzz) and builds what it runs; the toolchain is the usual one. Prints a line per reader: inputs, seconds,
inputs that cover something new, the peak of memory, and what fell. FOLDER keeps what was learned, so that a later run goes on from there, and
the inputs that fell. Exit code 1 if any did.
"""

import argparse
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
READERS = [target["name"] for target in tomllib.loads((FUZZ / "Cargo.toml").read_text())["bin"]]
# Longest input in bytes, where the usual 4,096 are too few.
LONGEST = {"pt2": 60_000, "torchscript_code": 30_000, "archive": 40_000, "journal": 60_000, "report": 60_000, "study": 30_000,
           "cifar_python": 8_000, "cifar": 7_000, "safetensors": 20_000, "torchscript_data": 10_000}
# The bound of a process, in bytes: the readers refuse what takes more, as with --memory.
MEMORY = 1 << 30
# A file that takes too much memory is refused by ending the process: a fuzzer goes on after that.
REFUSALS, REFUSED = ("opening it takes more than", "error: out of memory"), 3


def environment():
    found = dict(os.environ, RUSTC_BOOTSTRAP="1", OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1")
    libtorch = pathlib.Path(found.setdefault("LIBTORCH", str(ROOT / ".libtorch/torch")))
    found["LD_LIBRARY_PATH"] = f"{libtorch / 'lib'}:{found.get('LD_LIBRARY_PATH', '')}"
    return found


def build(target_dir):
    subprocess.run(["cargo", "fuzz", "build", "--sanitizer", "none", "--target-dir", target_dir], cwd=ROOT, check=True, env=environment())
    return next(target_dir.glob("*/release"))


def fuzz(program, name, asked, scratch):
    """Inputs, seconds, inputs kept, peak in MiB, refusals for memory, and what fell."""
    learned, fallen = asked.found / name, asked.found / f"{name}.fallen"
    for folder in [learned, fallen]:
        folder.mkdir(parents=True, exist_ok=True)
    begun, done, peak, refusals = time.monotonic(), 0, 0, 0
    while True:
        left, room = asked.runs - done, asked.seconds - (time.monotonic() - begun)
        if left <= 0 or room < 1 or any(fallen.iterdir()):
            break
        words = [program, learned, FUZZ / "seeds" / name, f"-runs={left}", f"-max_total_time={int(room)}", "-timeout=5", f"-rss_limit_mb={MEMORY >> 20}",
                 f"-max_len={LONGEST.get(name, 4096)}", "-print_final_stats=1", f"-artifact_prefix={fallen}/", "-verbosity=1"]
        words += [f"-dict={path}" for path in [FUZZ / "dictionaries" / f"{name}.dict"] if path.exists()]
        with open(scratch / "said", "w+", errors="replace") as said:
            code = subprocess.run(words, stdout=said, stderr=said, env=dict(environment(), TMPDIR=str(scratch))).returncode
            said.seek(0)
            text = said.read()
        counted = [int(number) for number in re.findall(r"^(?:stat::number_of_executed_units: |#)(\d+)", text, re.M)]
        done += max(counted, default=0)
        peak = max([peak, *map(int, re.findall(r"(?:stat::peak_rss_mb: +|rss: )(\d+)", text))])
        if code == REFUSED and any(it in text for it in REFUSALS):
            refusals += 1
        elif code:
            (fallen / "said.txt").write_text(text[-20_000:])
        if not counted:
            break
    fell = sorted(path.name for path in fallen.iterdir() if path.name != "said.txt") or ["said.txt"] * any(fallen.iterdir())
    return done, time.monotonic() - begun, len([*learned.iterdir()]), peak, refusals, fell


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--found", type=pathlib.Path, default=ROOT / "target/fuzz/found")
    parser.add_argument("--target-dir", type=pathlib.Path, default=ROOT / "target/fuzz")
    parser.add_argument("--programs", type=pathlib.Path, help="folder of programs that are built already")
    asked = parser.parse_args()
    if unknown := set(asked.readers) - set(READERS):
        parser.error(f"no reader is called {', '.join(sorted(unknown))}; known: {', '.join(READERS)}")
    asked.found, asked.target_dir = asked.found.resolve(), asked.target_dir.resolve()
    programs = asked.programs.resolve() if asked.programs else build(asked.target_dir)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    total, failed = 0, False
    print(f"| {'reader':16} | {'inputs':>10} | {'seconds':>7} | {'kept':>6} | {'MiB':>5} | refused for memory | fell |")
    print("|---|---:|---:|---:|---:|---:|---|")
    shared_memory = pathlib.Path("/dev/shm")
    for name in asked.readers or READERS:
        with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as scratch:
            done, seconds, kept, peak, refusals, fell = fuzz(programs / name, name, asked, pathlib.Path(scratch))
        total, failed = total + done, failed or bool(fell)
        print(f"| {name:16} | {done:10,} | {seconds:7.0f} | {kept:6,} | {peak:5} | {refusals:18} | {', '.join(fell) or '-':4} |", flush=True)
    print(f"\n{total:,} inputs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
