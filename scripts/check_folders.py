#!/usr/bin/env python3
"""Runs the smallest audit many times and counts the runs that end well and lack one of their files.

    scripts/check_folders.py ADVMOD [--runs N] [--no-force]

Half of the runs go into one folder, one after the other, which holds thousands of images of earlier runs before each, so that cleaning it takes long;
the other half go into fresh folders. --no-force is for versions that know no --force. Exit code 1 if anything is lost or a run fails.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

FILES = (
    "report.json report.html report.md report.sarif report.junit.xml curves.csv samples.csv report.plan.toml run.jsonl clean.safetensors "
    "adversarial/fgsm.safetensors"
).split()
SMALL = "audit --first 8 --attacks fgsm --threads 1 --progress none --quiet --out".split()
STALE = 2000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("advmod")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--no-force", action="store_true")
    arguments = parser.parse_args()
    failed, lost = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        used = pathlib.Path(folder, "used")
        for number in range(arguments.runs):
            fresh = number % 2 == 0
            out = pathlib.Path(folder, f"fresh-{number}") if fresh else used
            if not fresh:
                (used / "adversarial").mkdir(parents=True, exist_ok=True)
                for stale in range(2, STALE):
                    (used / f"adversarial/fgsm-{stale}.safetensors").touch()
            force = [] if fresh or arguments.no_force else ["--force"]
            ended = subprocess.run([arguments.advmod, *SMALL, out, *force], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            missing = [name for name in FILES if not (out / name).is_file()]
            if ended.returncode != 0:
                failed += 1
                print(f"run {number} ({'fresh' if fresh else 'used'} folder): exit {ended.returncode}: {ended.stderr.strip()}")
            elif missing:
                lost += 1
                print(f"run {number} ({'fresh' if fresh else 'used'} folder): exit 0 without {', '.join(missing)}")
    print(f"{arguments.runs} runs: {failed} failed, {lost} ended with 0 and lack files")
    return 1 if failed or lost else 0


if __name__ == "__main__":
    sys.exit(main())
