#!/usr/bin/env python3
"""Time advmod beside other attack libraries: same model, images, parameters and threads, in one run.

usage: compare.py --weights resnet20.th --images images.npz --peers peers.py [--python PYTHON] [--only pgd,jsma] [--n 100] [--n-slow 16] …

`peers.py` runs torchattacks, AdverTorch, Foolbox and ART on a CIFAR ResNet and prints one JSON line per attack with the seconds that the
attack alone took; advmod reports the same figure as `timing.attack_seconds`. Programs take turns, so that a slow moment of the machine
hits all of them. First calls are not timed on either side. FGSM and PGD are medians over --rounds; the other attacks take minutes and run
--slow-rounds times. Tables come as the parts are done. with_peers.py has what must run inside the Python of the other libraries.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BENCHES = pathlib.Path(__file__).resolve().parent
ROOT = BENCHES.parent
PARTS = ["fgsm", "pgd", "jsma", "cw", "local-search", "one-pixel", "curve"]
LIBRARIES = ["torchattacks", "advertorch", "foolbox", "art"]


@dataclasses.dataclass
class Result:
    """One attack by one program on `n` images; distances are means over the broken ones."""
    n: int
    seconds: float
    broken: int
    l0: float | None = None
    l2: float | None = None
    evaluations: int | None = None

    @property
    def per_evaluation(self):
        return 1000 * self.seconds / self.evaluations


def median(results):
    """The last of several rounds, with the median of their seconds."""
    return dataclasses.replace(results[-1], seconds=statistics.median(it.seconds for it in results))


class Programs:
    """What can be timed; all on the same images."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        # peers.py chooses the images (those that the model gets right) and saves them.
        self.peers(["torchattacks:fgsm"], arguments.n, "--save", folder / "peers.npz")
        found = json.loads(self.run([arguments.python, BENCHES / "with_peers.py", "images", folder / "peers.npz", folder]))
        if found["n"] < arguments.n:
            sys.exit(f"compare: the model classifies only {found['n']} images of {arguments.images} correctly, --n is {arguments.n}")
        self.images = folder / "images.npz"

    def run(self, command):
        threads = str(self.arguments.threads)
        environment = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
        command = [str(part) for part in command]
        try:
            result = subprocess.run(command, capture_output=True, text=True, env=environment)
        except OSError as error:
            sys.exit(f"compare: {command[0]}: {error.strerror}")
        if result.returncode != 0:
            sys.exit(f"compare: {' '.join(command)} failed with {result.returncode}:\n{result.stderr[-2000:]}")
        return result.stdout

    def advmod(self, attacks, n):
        """One result per attack, on the first `n` images. An FGSM before them takes the first call's set-up."""
        out = self.folder / "advmod"
        command = [ROOT / "target/release/advmod", "audit", "--model", self.arguments.weights, "--normalize", "imagenet",
                   "--data", self.images, "--first", n, "--threads", self.arguments.threads, "--batch", n, "--out", out, "-q"]
        for attack in ["fgsm:eps=8/255", *attacks]:
            command += ["--attack", attack]
        self.run(command)
        report = json.loads((out / "report.json").read_text())
        results = []
        for attack, seconds in list(zip(report["attacks"], report["timing"]["attack_seconds"]))[1:]:
            mean = lambda name: attack[name] and attack[name]["mean"]
            evaluations = sum(sample["forwards"] for sample in attack["samples"])
            rate = attack["success_rate"]
            if rate["of"] != n:
                sys.exit(f"compare: advmod attacked {rate['of']} images, not {n}; do both sides have the same model?")
            results.append(Result(rate["of"], seconds, rate["count"], mean("l0"), mean("l2"), evaluations))
        return results

    def peers(self, attacks, n, *more):
        """One result per attack, named LIBRARY:ATTACK."""
        arguments = self.arguments
        output = self.run([arguments.python, arguments.peers, "--weights", arguments.weights, "--images", arguments.images,
                           "--arch", arguments.arch, "--n", n, "--cw-iters", arguments.cw_iters, "--only", ",".join(attacks), *more])
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        for line in lines:
            if "error" in line:
                sys.exit(f"compare: {line['library']}:{line['attack']}: {line['error']}")
        return [Result(line["n"], line["seconds"], line["success"], line.get("l0"), line.get("l2")) for line in lines]

    def with_peers(self, command, images, n, *more):
        arguments = self.arguments
        return json.loads(self.run([arguments.python, BENCHES / "with_peers.py", command, "--peers", arguments.peers, "--arch", arguments.arch,
                                    "--weights", arguments.weights, "--images", images, "--threads", arguments.threads, "--n", n, *more]))

    def counted(self, attack, n):
        found = self.with_peers("counted", self.images, n, "--attack", attack)
        return [Result(n, found["seconds"], found["success"], found["l0"], evaluations=found["evaluations"])]


def compare(title, columns, rounds, groups):
    """A table. A group has a name, advmod's run first, then the libraries'; each run is (program, function that gives one result)."""
    measured = [[[] for _ in runs] for _, runs in groups]
    for _ in range(rounds):
        for group, (_, runs) in zip(measured, groups):
            for results, (_, run) in zip(group, runs):
                results += run()
    cells = {
        "mean L0": lambda it, _: "–" if it.l0 is None else f"{it.l0:.1f}",
        "mean L2": lambda it, _: "–" if it.l2 is None else f"{it.l2:.3f}",
        "images scored per image": lambda it, _: f"{it.evaluations / it.n:.0f}",
        "ms per image scored": lambda it, _: f"{it.per_evaluation:.3f}",
        "times advmod's": lambda it, ours: f"{it.seconds / ours.seconds:.2f}",
        "times advmod's per image scored": lambda it, ours: f"{it.per_evaluation / ours.per_evaluation:.2f}",
    }
    n = measured[0][0][0].n
    print(f"\n{title}: {n} images, {'one round' if rounds == 1 else f'medians of {rounds} rounds'}\n")
    print("| " + " | ".join(["attack", "program", "seconds", "broken", *columns]) + " |")
    print("|---" * (4 + len(columns)) + "|")
    for (name, runs), group in zip(groups, measured):
        results = [median(it) for it in group]
        for (program, _), it in zip(runs, results):
            row = [name, program, f"{it.seconds:.3f}", f"{it.broken} of {it.n}", *(cells[column](it, results[0]) for column in columns)]
            print("| " + " | ".join(row) + " |", flush=True)


def gradient_groups(programs, only):
    """FGSM and PGD. What PGD-40 took torchattacks stands in two groups, so it is run in both."""
    n, pgd = programs.arguments.n, "pgd:eps=8/255,step=2/255,steps=40,random_start=false"
    everyone = lambda attack: [(library, lambda key=f"{library}:{attack}": programs.peers([key], n)) for library in LIBRARIES]
    groups = []
    if "fgsm" in only:
        groups.append(("fgsm", [("advmod", lambda: programs.advmod(["fgsm:eps=8/255"], n)), *everyone("fgsm")]))
    if "pgd" in only:
        groups.append(("pgd", [("advmod", lambda: programs.advmod([pgd], n)), *everyone("pgd")]))
        groups.append(("pgd, stop at success", [("advmod, stop=first", lambda: programs.advmod([f"{pgd},stop=first"], n)), everyone("pgd")[0]]))
    return groups


def slow_groups(programs, part):
    """Title, columns and groups of a part that takes minutes."""
    n, few = programs.arguments.n, programs.arguments.n_slow
    ours = lambda attack, n: ("advmod", lambda: programs.advmod([attack], n))
    theirs = lambda library, attack, n: (library, lambda: programs.peers([f"{library}:{attack}"], n))
    counted = lambda library, attack, n: (library, lambda: programs.counted(attack, n))
    per_image = ["mean L0", "images scored per image", "ms per image scored", "times advmod's per image scored"]
    if part == "jsma":
        return "JSMA, targeted, θ 1, γ 0.1", ["mean L0", "times advmod's"], [
            ("to the runner-up", [ours("jsma:target=runner-up,theta=1.0,gamma=0.1", few), theirs("advertorch", "jsma", few)]),
            ("to the next class", [ours("jsma:target=next,theta=1.0,gamma=0.1", few), theirs("torchattacks", "jsma", few)])]
    if part == "cw":
        steps = programs.arguments.cw_iters
        return f"Carlini-Wagner L2, 9 search steps of {steps}", ["mean L2", "times advmod's"], [
            ("cw", [ours(f"cw:search_steps=9,steps={steps},lr=0.01,initial_c=0.001", n), theirs("advertorch", "cw", n), theirs("foolbox", "cw", n)])]
    if part == "local-search":
        return "Local Search, 10 rounds of at most 128 candidates", per_image, [
            ("local search", [ours("local-search:rounds=10,candidates=128", few), counted("advertorch", "localsearch", few)])]
    evolution = "one-pixel:search=best1bin,generations=10,population="
    return "One-Pixel, 10 generations", per_image, [
        ("population 10", [ours(f"{evolution}10", few), counted("torchattacks", "onepixel10", few)]),
        ("population 400", [ours(f"{evolution}400", few), counted("torchattacks", "onepixel400", few)])]


def curve(programs):
    """Milliseconds: PyTorch's forward pass, the paper's way from similarities to Q, and advmod's criterion figures."""
    arguments = programs.arguments
    theirs = programs.with_peers("curve", arguments.images, 500)
    environment = dict(os.environ, ADVMOD_BENCH_MODEL=str(arguments.weights), ADVMOD_BENCH_DATA=str(arguments.images),
                       ADVMOD_BENCH_NORMALIZE="imagenet", OMP_NUM_THREADS=str(arguments.threads))
    result = subprocess.run(["cargo", "bench", "--bench", "curve"], cwd=ROOT, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"compare: cargo bench --bench curve failed:\n{result.stderr[-2000:]}")
    estimates = ROOT / "target/criterion/500 images"
    ours = {name: json.loads((estimates / name / "new/estimates.json").read_text())["median"]["point_estimate"] / 1e6
            for name in ("forward pass", "whole curve", "from similarities to Q")}
    forward, graphs = 1000 * theirs["forward"], 1000 * theirs["graphs"]
    print("\nThe clean curve: 500 images, 10 taps\n")
    print("| what | ms | advmod / this |")
    print("|---|---|---|")
    print(f"| advmod: whole clean curve | {ours['whole curve']:.0f} | |")
    print(f"| PyTorch: bare forward pass | {forward:.0f} | {ours['whole curve'] / forward:.2f} |")
    print(f"| advmod: bare forward pass (folded, channels last) | {ours['forward pass']:.0f} | {ours['whole curve'] / ours['forward pass']:.2f} |")
    print(f"| advmod: from similarities to Q, all taps | {ours['from similarities to Q']:.1f} | |")
    print(f"| the paper's way: from similarities to Q, all taps | {graphs:.0f} | 1/{graphs / ours['from similarities to Q']:.0f} |")


def parts(text):
    chosen = text.split(",")
    for part in chosen:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"no part is called {part!r}; there are {', '.join(PARTS)}")
    return chosen


def existing(text):
    if not pathlib.Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return pathlib.Path(text).resolve()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=existing, required=True, help="CIFAR ResNet weights that peers.py understands")
    parser.add_argument("--images", type=existing, required=True, help=".npz with x (u8 NCHW) and y")
    parser.add_argument("--peers", type=existing, required=True, help="the script that runs the other libraries")
    parser.add_argument("--python", default=sys.executable, help="a Python that has them")
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--only", type=parts, default=PARTS, metavar="PARTS", help=f"some of {','.join(PARTS)} (default: all)")
    parser.add_argument("--n", type=int, default=100, help="images for FGSM, PGD and Carlini-Wagner")
    parser.add_argument("--n-slow", type=int, default=32, help="images for JSMA, Local Search and One-Pixel: the first of the same")
    parser.add_argument("--cw-iters", type=int, default=200, help="Carlini-Wagner steps per search step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="for FGSM and PGD")
    parser.add_argument("--slow-rounds", type=int, default=1, help="for the other attacks")
    arguments = parser.parse_args()
    if not 4 <= arguments.n_slow <= arguments.n:
        parser.error("--n-slow must be at least 4, as the curves have 3 neighbours, and at most --n")
    if min(arguments.rounds, arguments.slow_rounds, arguments.threads, arguments.cw_iters) < 1:
        parser.error("--rounds, --slow-rounds, --threads and --cw-iters must be at least 1")
    with tempfile.TemporaryDirectory() as name:
        programs = Programs(arguments, pathlib.Path(name))
        print(f"{arguments.threads} threads")
        if groups := gradient_groups(programs, arguments.only):
            compare("FGSM and PGD, ε 8/255, 40 steps of 2/255", ["mean L2", "times advmod's"], arguments.rounds, groups)
        for part in ["jsma", "cw", "local-search", "one-pixel"]:
            if part in arguments.only:
                title, columns, groups = slow_groups(programs, part)
                compare(title, columns, arguments.slow_rounds, groups)
        if "curve" in arguments.only:
            curve(programs)


if __name__ == "__main__":
    main()
