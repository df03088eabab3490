#!/usr/bin/env python3
"""Hold advmod's minimal-norm and decision-based attacks against adv-lib and Foolbox: same weights, images and threads.

usage: check_minimal.py ADVMOD --weights resnet20.th --images images.npz --peers strong.py [--python PYTHON] [--n 100] [--n-labels 20]
                        [--only ddn,fmn-l2,…] [--our-steps N] [--threads 2]

`strong.py` runs adv-lib's attacks at 1000 steps on a CIFAR ResNet and prints one JSON line each. Distances are medians over all images that the
model gets right, infinite where not broken, L0 in pixels. Seconds are those of the attack alone; processor seconds, of the whole program, say
more where other programs run beside. Exits with 1 where a median is more than a hundredth (HopSkipJump: a twentieth) above the peer's.
"""
import argparse
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

# Ours with {steps}, its distance, the peer's name and how much longer ours may be.
ATTACKS = {
    "ddn": ("ddn:steps={steps}", "l2", "advlib:ddn", 1.01),
    "fmn-l2": ("fmn:norm=l2,steps={steps}", "l2", "advlib:fmn-l2", 1.01),
    "fmn-linf": ("fmn:norm=linf,steps={steps}", "linf", "advlib:fmn-linf", 1.01),
    "fmn-l0": ("fmn:norm=l0,steps={steps}", "l0", "advlib:fmn-l0", 1.0),
    "sigma-zero": ("sigma-zero:steps={steps}", "l0", "advlib:sigma-zero", 1.0),
    "hop-skip-jump": ("hop-skip-jump:queries=5000", "l2", None, 1.05),
}

# HopSkipJump is not among strong.py's; its steps are bounded by counting what Foolbox asks, image by image.
FOOLBOX = """
import json, pathlib, sys, time
import numpy as np, torch
script, arch, weights, images, n, threads, budget = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(script).parent))
import peers, foolbox as fb
from foolbox.attacks import HopSkipJumpAttack, LinearSearchBlendedUniformNoiseAttack
torch.set_num_threads(int(threads)); torch.manual_seed(0)
class Out(Exception): pass
class Counted(torch.nn.Module):
    def __init__(self, inner):
        super().__init__(); self.inner = inner; self.left = 0; self.best = None
    def forward(self, x):
        if self.best is None: return self.inner(x)
        if self.left < len(x): raise Out()
        self.left -= len(x)
        logits = self.inner(x)
        distance = (x - self.x).flatten(1).norm(dim=1)
        distance[logits.argmax(1) == self.y] = float("inf")
        self.best = min(self.best, float(distance.min()))
        return logits
model = Counted(peers.load(arch, weights)).eval()
data = np.load(images)
x = torch.tensor(data["x"][: int(n)]).float() / 255; y = torch.tensor(data["y"][: int(n)]).long()
with torch.no_grad(): right = (model(x).argmax(1) == y).nonzero()[:, 0].tolist()
victim = fb.PyTorchModel(model, bounds=(0, 1), device="cpu")
found, started = [], time.perf_counter()
for at in right:
    model.x, model.y, model.left, model.best = x[at:at + 1], y[at], int(budget), float("inf")
    attack = HopSkipJumpAttack(init_attack=LinearSearchBlendedUniformNoiseAttack(steps=50), steps=64, constraint="l2")
    try: attack(victim, x[at:at + 1], y[at:at + 1], epsilons=None)
    except (Out, ValueError): pass
    found.append(model.best); model.best = None
found.sort()
print(json.dumps({"median_distance": found[(len(found) - 1) // 2], "seconds": time.perf_counter() - started}))
"""


def run(command, threads):
    """What it printed, and its processor seconds."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # 4: the audit's gates, which nobody set here, or doubts of the attacks.
    if result.returncode not in (0, 4):
        sys.exit(f"check_minimal: {command[0]} failed with {result.returncode}:\n{result.stderr[-2000:]}")
    return result.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(arguments, attack, norm, n):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        command = [arguments.advmod, "audit", "--model", arguments.weights, "--normalize", "imagenet", "--data", arguments.images, "--first", n,
                   "--threads", arguments.threads, "--batch", n, "--attack", attack, "--out", out, "--quiet"]
        _, processor = run(command, arguments.threads)
        report = json.loads((out / "report.json").read_text())
    result = report["attacks"][0]
    distances = sorted(it[norm] if it["success"] else math.inf for it in result["samples"])
    # The lower of two middle ones, as torch.median.
    return distances[(len(distances) - 1) // 2], report["timing"]["attack_seconds"][0], processor


def theirs(arguments, name, n):
    if name is None:
        command = [arguments.python, "-c", FOOLBOX, arguments.peers, arguments.arch, arguments.weights, arguments.images, n, arguments.threads, 5000]
    else:
        command = [arguments.python, arguments.peers, "--model", arguments.weights, "--arch", arguments.arch, "--images", arguments.images,
                   "--n", n, "--threads", arguments.threads, "--only", name]
    output, processor = run(command, arguments.threads)
    line = json.loads(output.splitlines()[-1])
    if "error" in line:
        sys.exit(f"check_minimal: {name}: {line['error']}")
    return line["median_distance"], line["seconds"], processor


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("advmod")
    for flag in ["weights", "images", "peers"]:
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--n-labels", type=int, default=20)
    parser.add_argument("--only", default=",".join(ATTACKS))
    parser.add_argument("--our-steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print("| attack | images | median | peer's median | ratio | seconds | peer's seconds | processor seconds | peer's processor seconds |")
    print("|---" * 9 + "|")
    worse = []
    for name in arguments.only.split(","):
        if name not in ATTACKS:
            sys.exit(f"check_minimal: no attack is called {name}; known: {', '.join(ATTACKS)}")
        attack, norm, peer, most = ATTACKS[name]
        n = arguments.n if peer else arguments.n_labels
        our, their = ours(arguments, attack.format(steps=arguments.our_steps), norm, n), theirs(arguments, peer, n)
        ratio = our[0] / their[0]
        print(f"| {name} | {n} | {our[0]:.5g} | {their[0]:.5g} | {ratio:.3f} | {our[1]:.1f} | {their[1]:.1f} | {our[2]:.1f} | {their[2]:.1f} |", flush=True)
        if not ratio <= most:
            worse.append(name)
    if worse:
        sys.exit(f"check_minimal: larger than the peer's: {', '.join(worse)}")


if __name__ == "__main__":
    main()
