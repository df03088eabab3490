#!/usr/bin/env python3
"""Runs the same commands with two binaries and says where their outputs differ.

    scripts/compare_outputs.py OLD NEW [--expected FILE] [--only PATTERN]... [--keep DIR] [-v]
    scripts/compare_outputs.py OLD --save FILE      once, and then FILE in place of OLD

For a change of structure that must not change behaviour: build the program before and after it and compare. Each binary works in a fresh
folder of its own, under the same relative paths, on the embedded model and images and on small files that this script makes. Compared are
exit code, stdout, stderr and every file that a command wrote, but for durations and dates. One line per command; exit code 1 if anything
differs that --expected does not list.

A line of --expected is `COMMAND | PART | REASON`: patterns (*, ?) for the name of the command and for what differs (`exit`, `stdout`,
`stderr`, or the path of a file). With -v, wanted differences are shown too. Needs Python's standard library only.
"""

import argparse
import concurrent.futures
import difflib
import fcntl
import fnmatch
import gzip
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zipfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
LIMIT = 300  # seconds per command
SHOWN = 24  # lines of a difference


# Files that the commands read.


def png(width, height, values):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + values[row * width : (row + 1) * width] for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def npy(kind, shape, data):
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + data


def prepare(folder):
    """The embedded images as a data set with two parts, as an .npz and as a folder of classes; plans; models; files that are none."""
    (folder / "data").mkdir()
    images = gzip.decompress((FIXTURES / "fashion-mnist-1000-images.idx3.gz").read_bytes())[16:]
    labels = gzip.decompress((FIXTURES / "fashion-mnist-1000-labels.idx1.gz").read_bytes())[8:]
    size = 28 * 28
    for part, first in [("train", 0), ("t10k", 300)]:
        idx3 = struct.pack(">IIII", 0x803, 300, 28, 28) + images[first * size : (first + 300) * size]
        (folder / f"data/{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx3, mtime=0))
        idx1 = struct.pack(">II", 0x801, 300) + labels[first : first + 300]
        (folder / f"data/{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx1, mtime=0))
    with zipfile.ZipFile(folder / "images.npz", "w") as archive:
        archive.writestr("x.npy", npy("|u1", (80, 28, 28), images[: 80 * size]))
        archive.writestr("y.npy", npy("|u1", (80,), labels[:80]))
    for number in range(80):
        place = folder / f"pictures/{labels[number]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.png").write_bytes(png(28, 28, images[number * size : (number + 1) * size]))
    # CIFAR-10 records: color images for the exported models.
    record = bytearray()
    for number in range(60):
        record += bytes([number % 10]) + bytes((number * 7919 + at * 104729) % 256 for at in range(3072))
    (folder / "cifar").mkdir()
    (folder / "cifar/test_batch.bin").write_bytes(bytes(record))
    for name in ["tiny-resnet.pt2", "tiny-vit.pt2", "run.jsonl"]:
        shutil.copy(FIXTURES / name, folder / name)
    weights = (FIXTURES / "resnet20-fashion-mnist.safetensors").read_bytes()
    (folder / "embedded.safetensors").write_bytes(weights)
    (folder / "cut.safetensors").write_bytes(weights[: len(weights) // 2])
    (folder / "noise.pt").write_bytes(hashlib.sha512(b"noise").digest() * 20)
    (folder / "empty").mkdir()
    (folder / "file").write_text("no folder\n")
    (folder / "old.json").write_text('{"schema_version": 999}\n')
    (folder / "plan.toml").write_text(
        'seed = 1\npreset = "quick"\nthreads = 1\n[data]\nsamples = 50\n[curve]\nk = 4\n'
        '[[attack]]\nname = "fgsm"\neps = ["2/255", "8/255"]\n[[attack]]\nname = "pgd"\nsteps = 3\ntarget = "runner-up"\n'
        '[[gate]]\nid = "holds"\nexpr = "accuracy.clean >= 60 %"\nreason = "it is trained"\n'
        '[[gate]]\nid = "no-collapse"\nexpr = "asr.* <= 1 %"\nseverity = "warning"\nreason = "must stand"\n'
        '[[waiver]]\ngate = "no-collapse"\nreason = "retraining"\nexpires = 2199-12-31\nowner = "team"\n'
    )
    (folder / "gates.toml").write_text(
        'preset = "quick"\nthreads = 1\n[data]\nfirst = 40\n[[attack]]\nname = "fgsm"\n'
        '[[gate]]\nid = "never"\nexpr = "asr.fgsm <= 1 %"\n[[gate]]\nexpr = "peak_drop.* <= 0.9"\n'
        '[[waiver]]\ngate = "never"\nreason = "long ago"\nexpires = 2001-01-01\nowner = "nobody"\n'
    )
    (folder / "bad-key.toml").write_text('sede = 1\n[curve]\nkk = 3\n')
    (folder / "bad-gate.toml").write_text('[[gate]]\nexpr = "asr.fgsm <= many"\n[[waiver]]\ngate = "gone"\nreason = ""\nexpires = 2199-01-01\n')


def cut_run(folder):
    """A run that was killed after its first attack: what --resume finds then."""
    shutil.copytree(folder / "run", folder / "cut-run")
    for name in ["report.json", "report.md", "report.html", "report.sarif", "report.junit.xml", "curves.csv", "samples.csv"]:
        (folder / "cut-run" / name).unlink()
    for name in (folder / "cut-run/adversarial").glob("*.safetensors"):
        if not name.stem.startswith("fgsm"):
            name.unlink()
    kept = []
    for line in (folder / "cut-run/run.jsonl").read_text().splitlines(keepends=True):
        if '"event":"attack_curves_measured"' in line:
            break
        kept.append(line)
    (folder / "cut-run/run.jsonl").write_text("".join(kept))


def cut_training(folder):
    """A folder of checkpoints under another name, for a training that goes on from its last epoch: all of them were finished."""
    shutil.copytree(folder / "epochs", folder / "epochs-again")


def other_model(folder):
    """A run's report whose model is said to be another: comparisons refuse it or say so."""
    report = json.loads((folder / "run/report.json").read_text())
    report["plan"]["k"] = 7
    (folder / "other.json").write_text(json.dumps(report))


ONE = "--threads 1 --progress none"
QUICK = f"--preset quick {ONE}"
# Name and command line, in order: later commands read what earlier ones wrote. A name that begins with "tui" runs on a terminal of its own, where
# q is pressed.
CASES = f"""
version:                --version
help:                   --help
no-command:
unknown-command:        adit
help-audit:             audit --help
help-tui:               tui --help
help-curve:             curve --help
help-similarity:        similarity --help
help-labels:            labels --help
help-dynamics:          dynamics --help
help-prune:             prune --help
help-train:             train --help
help-inspect:           inspect --help
help-export-help:       export-help --help
help-attacks:           attacks --help
help-report:            report --help
help-diff:              diff --help
help-flow:              flow --help
help-export:            export --help
help-schema:            schema --help
help-completions:       completions --help
help-man:               man --help
export-help:            export-help
schema:                 schema
completions-bash:       completions bash
completions-zsh:        completions zsh
man:                    man
man-folder:             man man-pages
attacks:                attacks
attacks-json:           attacks --format json
attacks-fgsm:           attacks fgsm
attacks-pgd:            attacks pgd
attacks-jsma:           attacks jsma
attacks-cw:             attacks cw
attacks-one-pixel:      attacks one-pixel
attacks-local-search:   attacks local-search
attacks-unknown:        attacks pdg
inspect:                inspect
inspect-json:           inspect --format json --taps all
inspect-export:         inspect --model tiny-vit.pt2 --taps all
inspect-export-json:    inspect --model tiny-resnet.pt2 --format json
inspect-noise:          inspect --model noise.pt
inspect-cut:            inspect -v --model cut.safetensors
inspect-taps-of-none:   inspect --taps 'nowhere.*'
audit:                  audit --attacks all --samples 40 {QUICK} --out run
audit-json:             audit --attacks fgsm --samples 40 {QUICK} --format json
audit-plain-progress:   audit --attacks fgsm --first 30 --preset quick --threads 1 --progress plain
audit-sweep:            audit --attack 'pgd:eps=1/255|4/255,steps=5' --attack 'fgsm:norm=l2,eps=0.25|0.5' --attack 'cw:eps=0.2|1,search_steps=1,steps=15' --samples 50 {QUICK} --out sweep --gate 'accuracy.linf:1/255 >= 20 %' --gate 'asr.worst.class.3 <= 100 %'
audit-plan:             audit --plan plan.toml --progress none --out planned -o planned.html -o planned.sarif -o planned.xml -o planned.txt
audit-plan-flags:       audit --plan plan.toml --seed 5 --k 3 --samples 30 --gate 'peak_q.clean >= 0.1' {ONE}
audit-gate-failed:      audit --plan gates.toml --progress none --out failed
audit-exit-zero:        audit --plan gates.toml --progress none --exit-zero
audit-gate-between:     audit --attacks fgsm --first 40 {QUICK} --gate 'asr.fgsm <= 65 %'
audit-targeted-8-bit:   audit --attack pgd:target=runner-up,steps=4 --attack jsma:target=2 --eight-bit --samples 30 {QUICK}
audit-variants:         audit --attack pgd:norm=l2,eps=0.5,steps=3,restarts=2,loss=margin --attack one-pixel:search=random --attack jsma:variant=maximal,theta=0.5 --attack local-search:rounds=2 --stop first --samples 24 --similarity pearson --taps all {QUICK}
audit-paper:            audit --preset paper --attacks fgsm --first 24 {ONE} --taps relu --k 2
audit-export-model:     audit --model tiny-vit.pt2 --attacks fgsm,pgd {QUICK} --samples 20 --out exported
audit-channels:         audit --model tiny-resnet.pt2 --data cifar/test_batch.bin --attacks fgsm
audit-npz:              audit --data images.npz --attacks fgsm {QUICK} --samples 30 --similarity sample-centred
audit-pictures:         audit --data pictures --attacks fgsm {QUICK} --first 30 --normalize mnist
audit-baseline:         audit --attacks fgsm,pgd --samples 40 {QUICK} --baseline run --gate 'regression(asr.*) <= 50 %' --gate 'regression(peak_drop.pgd) <= 0.2' --out later
audit-bad-flag:         audit --atacks fgsm
audit-bad-attack:       audit --attack pgd:stps=3
audit-bad-value:        audit --attack pgd:eps=fast
audit-bad-gate:         audit --gate 'asr.fgsm < 3'
audit-gate-of-none:     audit --attacks fgsm --first 20 {QUICK} --gate 'asr.pgd <= 3 %'
audit-bad-plan:         audit --plan bad-key.toml
audit-bad-plan-gate:    audit --plan bad-gate.toml
audit-bad-k:            audit --k 0
audit-bad-out:          audit --first 10 --out file
audit-bad-format:       audit --first 10 -o report.doc
audit-no-model:         audit --model nowhere.pt
audit-no-data:          audit --data nowhere
audit-both-sizes:       audit --samples 4 --first 4
resume:                 audit --resume cut-run --progress none
resume-finished:        audit --resume run
resume-nothing:         audit --resume empty
report-text:            report run --format text
report-json:            report run --format json
report-markdown:        report run --format markdown
report-curves:          report run --format curves
report-samples:         report run --format samples
report-sarif:           report run --format sarif
report-junit:           report run --format junit
report-github:          report run --format github
report-planned:         report planned --format markdown
report-output:          report run/run.jsonl --output again.html
report-file:            report run/report.json -o again.txt
report-unknown-format:  report run --format pdf
report-future:          report old.json
report-nothing:         report empty
report-recorded:        report run.jsonl
diff:                   diff run later
diff-json:              diff run later --format json
diff-gates:             diff run later --gate 'regression(asr.*) <= 0 %' --gate 'asr.fgsm <= 100 %'
diff-other:             diff run other.json --gate 'regression(peak_drop.*) <= 0.5'
diff-sweep:             diff run sweep
flow:                   flow run --progress none --out flow
flow-json:              flow run --attack pgd --k 5 --similarity pearson --format json --progress none
flow-unknown:           flow run --attack cv
export-npz:             export run --format npz --output arrays --progress none
export-safetensors:     export run --attack pgd --format safetensors --output tensors --progress none
export-png:             export run --attack fgsm --format png --output images --progress none
export-unjudged:        export run --attack cw --format png --unjudged --output images-unjudged --progress none
export-again:           export run --format npz --output arrays
curve:                  curve --samples 80 --repeats 3 {ONE} --out curve
curve-details:          curve --samples 60 --repeats 1 --details {ONE}
curve-sweep:            curve --k 3,5 --samples 40,60 --similarity cosine,pearson --random-init 0,1 --repeats 2 {ONE} --out curve-sweep
curve-models:           curve --model embedded.safetensors nowhere.pt --first 40 --repeats 1 {ONE} --out curve-models
curve-json:             curve --first 50 --taps 'layer3.*' {ONE} --format json
curve-relu:             curve --data images.npz --samples 40 --taps relu --repeats 1 {ONE}
similarity:             similarity --samples 60 {ONE} --out similarity
similarity-json:        similarity --samples 60 --cka 20 --taps 'layer?.0' --format json {ONE}
labels:                 labels --samples 90 --top 5 {ONE} --out labels
labels-json:            labels --first 60 --top 3 --k 5 --taps 'layer3.*' --similarity sample-centred --format json {ONE}
train:                  train --data data --arch resnet8 --epochs 2 --measure {ONE} --out trained.safetensors --checkpoints epochs
train-resume:           train --resume epochs-again {ONE}
train-bad-arch:         train --data data --arch resnet9 --out nothing.safetensors
train-missing:          train --data data
dynamics:               dynamics epochs --samples 50 {ONE} --out dynamics
dynamics-json:          dynamics epochs --first 50 --repeats 2 --format json {ONE}
dynamics-nothing:       dynamics empty
prune:                  prune --data data --rule a,smallest,none --epochs 1 --samples 40 --repeats 2 {ONE} --out pruned
prune-one:              prune --data data --rule last:2 --epochs 0 --samples 40 --repeats 1 {ONE} --out small.safetensors
prune-dry-run:          prune --data data --rule a,b,last:2,cka:2,random:1 --samples 40 --repeats 2 --dry-run --format json {ONE}
prune-dry-run-text:     prune --data data --rule a,b --by-estimate --threshold 0.1 --samples 40 --repeats 1 --dry-run {ONE}
prune-scratch:          prune --data data --rule largest --epochs 0 --scratch --scratch-epochs 1 --samples 40 --repeats 1 {ONE}
prune-bad-rule:         prune --data data --rule first
tui-no-terminal:        tui --replay run.jsonl
tui-replay:             tui --replay run.jsonl
tui-replay-run:         tui --replay sweep/run.jsonl --ascii
tui-attach:             tui --attach planned
tui-dynamics:           tui --dynamics dynamics
tui-replay-nothing:     tui --replay nowhere.jsonl
"""
# What to do before some of them.
BEFORE = {"resume": cut_run, "diff-other": other_model, "train-resume": cut_training}


def all_cases():
    for line in CASES.strip().splitlines():
        name, command = line.split(":", 1)
        yield name, command.strip(), BEFORE.get(name)



# Running.


def environment():
    kept = {name: os.environ[name] for name in ["PATH", "HOME", "TMPDIR"] if name in os.environ}
    return kept | {"LANG": "C.UTF-8", "TERM": "xterm-256color", "OMP_WAIT_POLICY": "passive", "RAYON_NUM_THREADS": "1"}


def run_plain(binary, arguments, folder):
    done = subprocess.run(
        ["advmod", *arguments], executable=binary, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
        timeout=LIMIT,
    )
    return done.returncode, done.stdout, done.stderr


def run_on_terminal(binary, arguments, folder):
    """Presses q until the program ends; its output is what it prints after it has left the alternate screen."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.chdir(folder)
            os.execve(binary, ["advmod", *arguments], environment())
        finally:
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    seen, begun, pressed = b"", time.monotonic(), 0.0
    try:
        while True:
            now = time.monotonic()
            if now - begun > LIMIT:
                os.kill(child, signal.SIGKILL)
            if b"\x1b[?1049h" in seen and now - pressed > 1.0:
                pressed = now
                os.write(terminal, b"q")
            if select.select([terminal], [], [], 0.1)[0]:
                read = os.read(terminal, 1 << 16)
                if not read:
                    break
                seen += read
    except OSError:
        pass  # The other end is closed.
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    printed = seen.rsplit(b"\x1b[?1049l", 1)[-1].replace(b"\r\n", b"\n")
    return code, re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", printed), b""


def files(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()
    }


def run_all(binary, folder, cases, tell):
    """Yields, per case, its parts: exit, stdout, stderr and the files that it wrote or removed."""
    prepare(folder)
    found = {}
    for name, line, before in cases:
        if before:
            before(folder)
        known = files(folder)
        arguments = shlex.split(line)
        run = run_on_terminal if name.startswith("tui-") and name != "tui-no-terminal" else run_plain
        code, out, err = run(str(binary), arguments, folder)
        parts = {"exit": str(code).encode(), "stdout": out, "stderr": err}
        now = files(folder)
        for path in sorted(set(known) | set(now)):
            if known.get(path) != now.get(path):
                parts[path] = (folder / path).read_bytes() if path in now else b"(removed)"
        found[name] = {part: normalised(content) for part, content in parts.items()}
        tell(name)
    return found


# Comparing.

TIMING = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<date>"),
    (re.compile(r'("(?:\w+_)?seconds": ?)(\[[^\]]*\]|[-+.\de]+)'), r"\1<seconds>"),
    (re.compile(r'( time=")[.\d]+"'), r'\1<seconds>"'),
        (re.compile(r"\b(\d+ (h|min) )*\d+(\.\d+)? (s|ms)( left)?\b(?=\W|$)"), "<duration>"),
]


def normalised(content):
    """Text without times; the digest of other files."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    try:
        if text.lstrip()[:1] in "{[" and len(text) < 5_000_000:
            text = json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    except ValueError:
        pass
    for pattern, replacement in TIMING:
        text = pattern.sub(replacement, text)
    return text


def difference(old, new):
    if old is None or new is None:
        return [f"only {'the new' if old is None else 'the old'} binary has it"]
    lines = difflib.unified_diff(old.split("\n"), new.split("\n"), n=1, lineterm="")
    return [line if len(line) < 300 else line[:300] + "…" for line in lines][2:]


def read_expected(path):
    rules = []
    for line in path.read_text().splitlines() if path else []:
        if line.strip() and not line.startswith("#"):
            pieces = [piece.strip() for piece in line.split("|")]
            if len(pieces) != 3 or not all(pieces):
                sys.exit(f"{path}: not COMMAND | PART | REASON: {line}")
            rules.append(tuple(pieces))
    return rules


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=pathlib.Path, nargs="?")
    parser.add_argument("new", type=pathlib.Path, nargs="?")
    parser.add_argument("--save", type=pathlib.Path, metavar="FILE", help="keep what OLD does, in place of which FILE (.json) then stands")
    parser.add_argument("--expected", type=pathlib.Path, metavar="FILE", help="wanted differences, each with its reason")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="these commands; what they read must be among them")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="work there (old/, new/) and leave it")
    parser.add_argument("--list", action="store_true", help="print the commands and end")
    parser.add_argument("-v", "--verbose", action="store_true", help="show wanted differences too, and all lines of each")
    args = parser.parse_args()
    cases = [case for case in all_cases() if not args.only or any(fnmatch.fnmatch(case[0], pattern) for pattern in args.only)]
    if args.list:
        for name, line, _ in cases:
            print(f"{name:24} advmod {line}")
        return 0
    if not args.old or bool(args.new) == bool(args.save):
        parser.error("two binaries are needed, or one and --save")
    rules = read_expected(args.expected)
    with tempfile.TemporaryDirectory() as folder:
        return compare(args, cases, rules, args.keep or pathlib.Path(folder))


def outputs(binary, folder, cases, tell):
    """What a binary does, or has done."""
    if binary.suffix == ".json":
        return json.loads(binary.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return run_all(binary.resolve(), folder, cases, tell)


def compare(args, cases, rules, folder):
    begun, done = time.monotonic(), {"old": 0, "new": 0}

    def tell(side):
        def one(name):
            done[side] += 1
            if sys.stderr.isatty():
                print(f"\r{side} {done[side]}/{len(cases)} {name:30}", end="", file=sys.stderr)

        return one

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        sides = [("old", args.old), ("new", args.new)][: 2 if args.new else 1]
        tasks = [pool.submit(outputs, binary, folder / side, cases, tell(side)) for side, binary in sides]
        found = [task.result() for task in tasks]
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if args.save:
        args.save.write_text(json.dumps(found[0]))
        print(f"{len(cases)} commands in {time.monotonic() - begun:.0f} s")
        return 0
    old, new = found
    cases = [case for case in cases if case[0] in old]
    unwanted = wanted = 0
    used = set()
    for name, _, _ in cases:
        lines = []
        for part in sorted(set(old[name]) | set(new[name])):
            before, after = old[name].get(part), new[name].get(part)
            if before == after:
                continue
            rule = next((rule for rule in rules if fnmatch.fnmatch(name, rule[0]) and fnmatch.fnmatch(part, rule[1])), None)
            shown = difference(before, after)
            if rule:
                wanted += 1
                used.add(rule)
                changed = sum(line[:1] in ("+", "-") for line in shown)
                lines.append(f"  {part}: wanted ({rule[2]}), {changed} lines")
                if not args.verbose:
                    continue
            else:
                unwanted += 1
                lines.append(f"  {part}: DIFFERS")
            limit = len(shown) if args.verbose else SHOWN
            lines += ["    " + line for line in shown[:limit]]
            if len(shown) > limit:
                lines.append(f"    … {len(shown) - limit} more lines")
        print(f"{name}:" if lines else f"{name}: equal (exit {old[name]['exit']}, {len(old[name]) - 3} files)")
        for line in lines:
            print(line)
    for rule in rules:
        if rule not in used:
            print(f"never met: {' | '.join(rule)}")
    print(f"{len(cases)} commands in {time.monotonic() - begun:.0f} s: {unwanted} unwanted and {wanted} wanted differences")
    return 1 if unwanted else 0


if __name__ == "__main__":
    sys.exit(main())
