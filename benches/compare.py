#!/usr/bin/env python3
"""Time advmod beside other attack libraries: same model, images, parameters and threads, in one run.

usage: compare.py --weights resnet20.th --images images.npz --peers peers.py [--n 100] [--threads 2] [--rounds 5]

`peers.py` runs torchattacks, AdverTorch, Foolbox and ART on a CIFAR ResNet and prints one JSON line per attack with the seconds that the
attack alone took; advmod reports the same figure as `timing.attack_seconds`. Programs take turns, so that a slow moment of the machine
hits all of them; the table shows medians over the rounds and advmod's time as a ratio to each. With --curve it also times the clean
modularity curve beside the bare forward pass and the way of the paper's code (per-row heap selection, dense adjacency, networkx).
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
    return {attack["attack"]["name"]: (seconds, attack["success_rate"]["count"])
            for attack, seconds in zip(report["attacks"], report["timing"]["attack_seconds"])}


def peers(arguments, libraries, names):
    only = ",".join(f"{library}:{name}" for library in libraries for name in names)
    output = run([arguments.python, arguments.peers, "--weights", arguments.weights, "--images", arguments.images,
                  "--arch", arguments.arch, "--n", arguments.n, "--only", only], arguments.threads)
    lines = [json.loads(line) for line in output.splitlines()]
    return {(line["library"], line["attack"]): (line["seconds"], line["success"]) for line in lines if "seconds" in line}


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
    arguments = parser.parse_args()
    ours = ["fgsm:eps=8/255", "pgd:eps=8/255,step=2/255,steps=40,random_start=false"]
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


if __name__ == "__main__":
    main()
