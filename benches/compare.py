#!/usr/bin/env python3
"""Time advmod beside other attack libraries: same model, images, parameters and threads, in one run.

usage: compare.py --weights resnet20.th --images images.npz --peers peers.py [--n 100] [--threads 2] [--rounds 5]

`peers.py` runs torchattacks, AdverTorch, Foolbox and ART on a CIFAR ResNet and prints one JSON line per attack with the seconds that the
attack alone took; advmod reports the same figure as `timing.attack_seconds`. Programs take turns, so that a slow moment of the machine
hits all of them; the table shows medians over the rounds and advmod's time as a ratio to each. First calls are not timed on either side:
peers.py makes one before it starts, advmod runs FGSM twice and the second run counts. With --curve it also times the clean modularity curve
of 500 images beside PyTorch's bare forward pass and the way of the paper's code (per-row heap selection, dense adjacency, networkx).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ["torchattacks", "advertorch", "foolbox", "art"]


def run(command, threads):
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        sys.exit(f"compare: {command[0]} failed:\n{result.stderr[-2000:]}")
    return result.stdout


def correct_images(arguments, folder):
    """The images that peers.py attacks: it saves them, advmod reads them as .npz."""
    saved = folder / "peers.npz"
    run([arguments.python, arguments.peers, "--weights", arguments.weights, "--images", arguments.images, "--arch", arguments.arch,
         "--n", arguments.n, "--only", "torchattacks:fgsm", "--save", saved], arguments.threads)
    script = ("import numpy as np, sys; d = np.load(sys.argv[1]); "
              "np.savez(sys.argv[2], x=np.round(d['x'] * 255).astype('uint8'), y=d['y'])")
    images = folder / "images.npz"
    run([arguments.python, "-c", script, saved, images], arguments.threads)
    return images


def advmod(arguments, images, folder, attacks):
    """Seconds per attack."""
    out = folder / "advmod"
    command = [ROOT / "target/release/advmod", "audit", "--model", arguments.weights, "--normalize", "imagenet", "--data", images,
               "--first", arguments.n, "--threads", arguments.threads, "--batch", arguments.n, "--out", out, "-q"]
    for attack in attacks:
        command += ["--attack", attack]
    run(command, arguments.threads)
    report = json.loads((out / "report.json").read_text())
    # Of an attack that ran twice the second run stays.
    return {attack["attack"]["name"]: (seconds, attack["success_rate"]["count"])
            for attack, seconds in zip(report["attacks"], report["timing"]["attack_seconds"])}


def peers(arguments, libraries, names):
    only = ",".join(f"{library}:{name}" for library in libraries for name in names)
    output = run([arguments.python, arguments.peers, "--weights", arguments.weights, "--images", arguments.images,
                  "--arch", arguments.arch, "--n", arguments.n, "--only", only], arguments.threads)
    lines = [json.loads(line) for line in output.splitlines()]
    return {(line["library"], line["attack"]): (line["seconds"], line["success"]) for line in lines if "seconds" in line}


PYTORCH_CURVE = """
import heapq, json, pathlib, sys, time
import networkx, numpy as np, torch
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
import peers
torch.set_num_threads(int(sys.argv[5]))
model = peers.load(sys.argv[2], sys.argv[3])
data = np.load(sys.argv[4])
x, y = torch.tensor(data["x"][:500]).float() / 255, data["y"][:500]
def seconds(work, times=5):
    spent = []
    for _ in range(times):
        start = time.perf_counter(); work(); spent.append(time.perf_counter() - start)
    return sorted(spent)[times // 2]
taps = []
with torch.no_grad():
    model(x)
    forward = seconds(lambda: model(x))
    model.m((x - model.mean) / model.std, taps=taps)
similarities = []
for rows in taps:
    rows = rows.flatten(1); rows = rows / rows.norm(dim=1, keepdim=True)
    s = rows @ rows.T; s.fill_diagonal_(0); similarities.append(s.numpy())
def graphs():
    for s in similarities:
        a = np.zeros((500, 500))
        for i, row in enumerate(s):
            for j in heapq.nlargest(3, range(500), row.take):
                a[i, j] = float(row[j])
        graph = networkx.from_numpy_array((a + a.T) / 2)
        networkx.community.modularity(graph, [set(np.flatnonzero(y == c)) for c in range(10)])
print(json.dumps({"forward": forward, "graphs": seconds(graphs, 3)}))
"""


def curve(arguments):
    """Milliseconds: PyTorch's forward pass, the paper's way from similarities to Q, and advmod's criterion figures."""
    theirs = json.loads(run([arguments.python, "-c", PYTORCH_CURVE, arguments.peers, arguments.arch, arguments.weights, arguments.images,
                             arguments.threads], arguments.threads))
    environment = dict(os.environ, ADVMOD_BENCH_MODEL=str(arguments.weights), ADVMOD_BENCH_DATA=str(arguments.images),
                       ADVMOD_BENCH_NORMALIZE="imagenet", OMP_NUM_THREADS=str(arguments.threads))
    subprocess.run(["cargo", "bench", "--bench", "curve"], cwd=ROOT, env=environment, check=True, capture_output=True)
    estimates = ROOT / "target/criterion/500 images"
    ours = {name: json.loads((estimates / name / "new/estimates.json").read_text())["median"]["point_estimate"] / 1e6
            for name in ("forward pass", "whole curve", "from similarities to Q")}
    forward, graphs = 1000 * theirs["forward"], 1000 * theirs["graphs"]
    print("\n500 images, 10 taps\n")
    print("| what | ms | advmod / this |")
    print("|---|---|---|")
    print(f"| advmod: whole clean curve | {ours['whole curve']:.0f} | |")
    print(f"| PyTorch: bare forward pass | {forward:.0f} | {ours['whole curve'] / forward:.2f} |")
    print(f"| advmod: bare forward pass (folded, channels last) | {ours['forward pass']:.0f} | {ours['whole curve'] / ours['forward pass']:.2f} |")
    print(f"| advmod: from similarities to Q, all taps | {ours['from similarities to Q']:.1f} | |")
    print(f"| the paper's way: from similarities to Q, all taps | {graphs:.0f} | 1/{graphs / ours['from similarities to Q']:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="CIFAR ResNet weights that peers.py understands")
    parser.add_argument("--images", required=True, help=".npz with x (u8 NCHW) and y")
    parser.add_argument("--peers", required=True, help="the script that runs the other libraries")
    parser.add_argument("--python", default=sys.executable, help="a Python that has them")
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--curve", action="store_true", help="also time the clean curve")
    arguments = parser.parse_args()
    ours = ["fgsm:eps=8/255", "fgsm:eps=8/255", "pgd:eps=8/255,step=2/255,steps=40,random_start=false"]
    names = ["fgsm", "pgd"]
    times, successes = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        images = correct_images(arguments, folder)
        for _ in range(arguments.rounds):
            found = {("advmod", attack): it for attack, it in advmod(arguments, images, folder, ours).items()}
            for library in PEERS:
                found |= peers(arguments, [library], names)
            for key, (seconds, success) in found.items():
                times.setdefault(key, []).append(seconds)
                successes[key] = success
    print(f"{arguments.n} images, {arguments.threads} threads, medians of {arguments.rounds} rounds\n")
    print("| attack | library | seconds | broken | advmod / library |")
    print("|---|---|---|---|---|")
    for attack in names:
        reference = statistics.median(times["advmod", attack])
        for library in ["advmod", *PEERS]:
            if (library, attack) in times:
                seconds = statistics.median(times[library, attack])
                broken = f"{successes[library, attack]} of {arguments.n}"
                print(f"| {attack} | {library} | {seconds:.3f} | {broken} | {reference / seconds:.2f} |")
    if arguments.curve:
        curve(arguments)


if __name__ == "__main__":
    main()
