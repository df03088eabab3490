#!/usr/bin/env python3
"""Holds advmod's AutoAttack, and each of its attacks, against the public implementation (pyautoattack) on the same network and images.

usage: check_strong.py ADVMOD [--model FILE] [--first 200] [--norm linf] [--eps 0.1] [--only apgd-ce,apgd-t,fab-t,square,standard]

FILE is a safetensors file of a ResNet with basic blocks for Fashion-MNIST as `advmod train` writes it; without it the embedded network is taken.
The images are the first of fixtures/fashion-mnist-1000. For each name it prints how many images of those each program leaves unbroken, and the
seconds that each took with --threads threads. Every image that advmod breaks is shown to PyTorch: it must be misclassified there, lie within
ε + 1e-6 and in [0, 1].

It exits with 1 where robust accuracy differs by more than 1.5 points for an attack alone, or for the ensemble is more than 0.4 points above
pyautoattack's or more than 0.6 points away from it.

Needs torch, numpy, safetensors, tqdm, and pip install --no-deps pyautoattack==0.2.0.
"""
import argparse, contextlib, gzip, io, json, pathlib, subprocess, sys, tempfile, time, warnings

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEAN, STD = 0.2860, 0.3530
ADVMOD = {
    "apgd-ce": "apgd:loss=ce,steps=100",
    "apgd-t": "apgd-t:steps=100,targets=9",
    "fab-t": "fab-t:steps=100,targets=9",
    "square": "square:queries=5000",
    "standard": "autoattack:",
}


class ResNet:
    """A ResNet with basic blocks, from its weights alone."""

    def __init__(self, weights):
        self.w = weights

    def norm(self, y, name):
        w = self.w
        return F.batch_norm(y, w[name + ".running_mean"], w[name + ".running_var"], w[name + ".weight"], w[name + ".bias"])

    def __call__(self, x):
        w = self.w
        stem = w["conv1.weight"]
        imagenet = stem.shape[2] == 7
        y = F.conv2d((x - MEAN) / STD, stem, stride=2 if imagenet else 1, padding=stem.shape[2] // 2)
        y = F.relu(self.norm(y, "bn1"))
        if imagenet:
            y = F.max_pool2d(y, 3, 2, 1)
        stage = 1
        while f"layer{stage}.0.conv1.weight" in w:
            block = 0
            while f"layer{stage}.{block}.conv1.weight" in w:
                name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                z = F.relu(self.norm(F.conv2d(y, w[name + ".conv1.weight"], stride=stride, padding=1), name + ".bn1"))
                z = self.norm(F.conv2d(z, w[name + ".conv2.weight"], padding=1), name + ".bn2")
                if name + ".downsample.0.weight" in w:
                    y = self.norm(F.conv2d(y, w[name + ".downsample.0.weight"], stride=stride), name + ".downsample.1")
                elif stride == 2:
                    extra = (z.shape[1] - y.shape[1]) // 2
                    y = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
                y = F.relu(y + z)
                block += 1
            stage += 1
        return F.linear(y.mean((2, 3)), w["fc.weight"], w["fc.bias"])


def images(n):
    unpack = lambda name, header: np.frombuffer(gzip.decompress((ROOT / "fixtures" / name).read_bytes()), dtype=np.uint8)[header:]
    x = unpack("fashion-mnist-1000-images.idx3.gz", 16).reshape(-1, 1, 28, 28)[:n].copy()
    y = unpack("fashion-mnist-1000-labels.idx1.gz", 8)[:n].copy()
    return x, y.astype(np.int64)


def theirs(model, x, y, name, args):
    from pyautoattack import AutoAttack
    norm = {"linf": "Linf", "l2": "L2"}[args.norm]
    how = dict(version="standard") if name == "standard" else dict(version="custom", attacks=[name])
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        attack = AutoAttack(model, norm=norm, eps=args.eps, seed=0, **how)
        started = time.perf_counter()
        found = attack.run_standard_evaluation(x, y, batch_size=250)
    with torch.no_grad():
        broken = model(found[0]).argmax(1) != y
    return broken, time.perf_counter() - started


def ours(model, x, y, name, args):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        given = ADVMOD[name] + ("" if ADVMOD[name].endswith(":") else ",") + f"norm={args.norm},eps={args.eps}"
        if name != "square" and name != "standard":
            given += ",stop=first"
        command = [args.advmod, "audit", "--data", str(pathlib.Path(folder) / "images.npz"), "--first", str(len(x)), "--attack", given,
                   "--threads", str(args.threads), "--taps", "fc", "--quiet", "--out", str(out)]
        if args.model:
            command += ["--model", args.model, "--normalize", "fashion-mnist"]
        np.savez(pathlib.Path(folder) / "images.npz", x=args.x, y=args.y)
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if not (out / "report.json").exists():
            sys.exit(f"check_strong: {' '.join(command)} ended with {ended.returncode}: {ended.stderr[-500:]}")
        report = json.loads((out / "report.json").read_text())
        # What each attack made, image by image, judged by PyTorch.
        broken = torch.zeros(len(x), dtype=torch.bool)
        for attack in report["attacks"]:
            file = load_file(out / "adversarial" / (attack["attack"]["label"] + ".safetensors"))
            places = torch.tensor([it["sample"] for it in attack["samples"]], dtype=torch.long)
            made = file["images"] if "images" in file else next(it for it in file.values() if it.dim() == 4)
            for row, it in enumerate(attack["samples"]):
                if it["success"]:
                    place = int(places[row])
                    change = (made[row] - x[place]).flatten()
                    size = float(change.abs().max() if args.norm == "linf" else change.double().norm())
                    with torch.no_grad():
                        is_wrong = int(model(made[row][None]).argmax(1)) != int(y[place])
                    if not (is_wrong and size <= args.eps + 1e-6 and 0 <= float(made[row].min()) and float(made[row].max()) <= 1):
                        sys.exit(f"check_strong: {name}: PyTorch does not confirm image {place}: wrong {is_wrong}, size {size}")
                    broken[place] = True
    seconds = sum(it or 0 for it in report["timing"]["attack_seconds"])
    return broken, seconds, report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("advmod"); parser.add_argument("--model"); parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--norm", choices=["linf", "l2"], default="linf"); parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--only", default=",".join(ADVMOD)); parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    weights = load_file(args.model or ROOT / "fixtures" / "resnet20-fashion-mnist.safetensors")
    model = ResNet(weights)
    args.x, args.y = images(args.first)
    x, y = torch.tensor(args.x).float() / 255, torch.tensor(args.y)
    with torch.no_grad():
        right = model(x).argmax(1) == y
    print(f"{int(right.sum())} of {len(x)} images right; {args.norm} eps {args.eps}; {args.threads} threads", flush=True)
    print(f"{'attack':<10} {'robust: advmod':>15} {'pyautoattack':>13} {'points':>8} {'seconds: advmod':>16} {'pyautoattack':>13} {'ratio':>6}", flush=True)
    failed = []
    for name in args.only.split(","):
        own, own_seconds, report = ours(model, x, y, name, args)
        other, other_seconds = theirs(model, x[right], y[right], name, args)
        robust = int((right & ~own).sum())
        expected = int((~other).sum())
        points = 100 * (robust - expected) / len(x)
        print(f"{name:<10} {robust:>15} {expected:>13} {points:>+8.2f} {own_seconds:>16.1f} {other_seconds:>13.1f} "
              f"{own_seconds / other_seconds:>6.2f}", flush=True)
        slack = (0.6, 0.4) if name == "standard" else (1.5, 1.5)
        if points > slack[1] or -points > slack[0]:
            failed.append(name)
    if failed:
        sys.exit(f"check_strong: too far apart: {', '.join(failed)}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
