#!/usr/bin/env python3
"""The parts of compare.py that need the Python of the other libraries. One subcommand each; prints one JSON line.

usage: with_peers.py images SAVED FOLDER
       with_peers.py counted|curve --peers peers.py --arch resnet20 --weights FILE --images FILE --threads N [--n N] [--attack NAME]
"""
import argparse
import heapq
import json
import pathlib
import sys
import time

import numpy as np


def images(saved, folder):
    """What peers.py saved, as .npz for advmod."""
    found = np.load(saved)
    np.savez(folder / "images.npz", x=np.round(found["x"] * 255).astype("uint8"), y=found["y"])
    return {"n": len(found["y"])}


def load(arguments):
    """peers.py as a module, its model, images in [0, 1] and labels."""
    import torch
    sys.path.insert(0, str(arguments.peers.resolve().parent))
    peers = __import__(arguments.peers.stem)
    torch.set_num_threads(arguments.threads)
    data = np.load(arguments.images)
    x = torch.tensor(data["x"][:arguments.n]).float() / 255
    return peers, peers.load(arguments.arch, arguments.weights), x, torch.tensor(data["y"][:arguments.n])


def counted(arguments):
    """Time an attack that asks for scores only, and count the images that it has scored.

    AdverTorch's LocalSearchAttack, as peers.py sets it up, shows each candidate to the model twice and uses the second answer; it counts
    once here. It asks for candidates with gradients on, for the image after each round with gradients off; that image counts too, as advmod
    counts it. torchattacks' OnePixel evaluates a generation at a time and then once more its best member; that repetition is not counted.
    """
    peers, model, x, y = load(arguments)
    import torch

    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.candidates, self.repeated, self.single = model, 0, 0, 0

        def forward(self, batch):
            if arguments.attack == "localsearch" and torch.is_grad_enabled():
                self.repeated += len(batch)
            elif arguments.attack == "localsearch" or len(batch) > 1:
                self.candidates += len(batch)
            else:
                self.single += 1
            return self.model(batch)

    shown = Counted().eval()
    if arguments.attack == "localsearch":
        attack = peers.attacks(shown, 0, 0, 0, 0)["advertorch:localsearch"]
    else:
        import torchattacks
        population = int(arguments.attack.removeprefix("onepixel"))
        attack = torchattacks.OnePixel(shown, pixels=1, steps=10, popsize=population, inf_batch=128)
    attack(x[:1].clone(), y[:1].clone())
    shown.candidates = shown.repeated = shown.single = 0
    torch.manual_seed(0)
    np.random.seed(0)
    start = time.perf_counter()
    adversarial = attack(x.clone(), y.clone()).detach()
    seconds = time.perf_counter() - start
    if shown.repeated % 2:
        sys.exit("AdverTorch no longer asks for each candidate twice; counted() must be adapted")
    with torch.no_grad():
        broken = model(adversarial).argmax(1) != y
    changed = (adversarial - x)[broken].abs().amax(1).flatten(1) > 1e-6
    l0 = float(changed.sum(1).float().mean()) if broken.any() else None
    return {"seconds": seconds, "success": int(broken.sum()), "l0": l0, "evaluations": shown.candidates + shown.repeated // 2}


def curve(arguments):
    """Seconds for PyTorch's bare forward pass and, from similarities to Q, for the way of the paper's code."""
    import networkx
    import torch
    _, model, x, y = load(arguments)
    n, y = len(y), y.numpy()

    def seconds(work, times):
        spent = []
        for _ in range(times):
            start = time.perf_counter()
            work()
            spent.append(time.perf_counter() - start)
        return sorted(spent)[times // 2]

    taps, similarities = [], []
    with torch.no_grad():
        model(x)
        forward = seconds(lambda: model(x), 5)
        model.m((x - model.mean) / model.std, taps=taps)
    for rows in taps:
        rows = torch.nn.functional.normalize(rows.flatten(1))
        similarities.append((rows @ rows.T).fill_diagonal_(0).numpy())

    def graphs():
        for similarity in similarities:
            adjacency = np.zeros((n, n))
            for i, row in enumerate(similarity):
                for j in heapq.nlargest(3, range(n), row.take):
                    adjacency[i, j] = float(row[j])
            graph = networkx.from_numpy_array((adjacency + adjacency.T) / 2)
            networkx.community.modularity(graph, [set(np.flatnonzero(y == label)) for label in range(10)])

    return {"forward": forward, "graphs": seconds(graphs, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("images")
    command.add_argument("saved", type=pathlib.Path)
    command.add_argument("folder", type=pathlib.Path)
    for name in ["counted", "curve"]:
        command = commands.add_parser(name)
        command.add_argument("--peers", type=pathlib.Path, required=True)
        command.add_argument("--arch", required=True)
        command.add_argument("--weights", required=True)
        command.add_argument("--images", required=True)
        command.add_argument("--threads", type=int, required=True)
        command.add_argument("--n", type=int, default=500)
        command.add_argument("--attack", help="localsearch, or onepixel and the population: onepixel10")
    arguments = parser.parse_args()
    if arguments.command == "images":
        result = images(arguments.saved, arguments.folder)
    else:
        result = {"counted": counted, "curve": curve}[arguments.command](arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
