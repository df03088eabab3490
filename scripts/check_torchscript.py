"""Writes torchvision's and timm's classifiers with random weights as TorchScript, traced, scripted and frozen, runs each through advmod
without trust and through PyTorch, and prints how far they are apart:

    cargo build --release --example gradient --bin advmod
    python scripts/check_torchscript.py [NETWORK ...]

needs PyTorch 2.11, torchvision and timm. Exit code 1 if any network fails. Each is held to: logits within 1e-5 of PyTorch's (largest
difference, in parts of the largest value) at batch sizes 1 and 3; traced and scripted, the taps and multiply-accumulates of the same network
exported by torch.export. Frozen modules have no module paths any more: their taps are not compared.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import timm
import torch

from check_exports import ROOT, build, off, randomized, run

TORCHVISION = ["resnet18", "vgg11_bn", "mobilenet_v2", "densenet121", "vit_b_16", "convnext_tiny"]
TIMM = ["resnet26", "deit_tiny_patch16_224"]
# Beyond what is promised.
MORE = ["swin_t", "googlenet", "timm/convnext_atto", "timm/efficientnet_lite0"]


def network(name):
    if name.startswith("timm/"):
        torch.manual_seed(0)
        return randomized(timm.create_model(name.removeprefix("timm/"), pretrained=False, num_classes=10))
    return build(name)


def inspect(binaries, path):
    about = json.loads(run(binaries / "advmod", "inspect", "--model", path, "--input-size", "224", "--format", "json"))
    return [tap["tap"] for tap in about["taps"]], about["macs"], about["parameters"]


def check(name, folder, binaries):
    model = network(name)
    pixels = torch.rand(6, 3, 224, 224)
    with torch.no_grad():
        expected = model(pixels).numpy()
    exported = folder / "exported.pt2"
    torch.export.save(torch.export.export(model, (pixels[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},)), exported)
    reference = inspect(binaries, exported)
    traced = torch.jit.trace(model, pixels[:2], check_trace=False)
    scripted = torch.jit.script(model)
    modules = {"traced": traced, "scripted": scripted, "frozen trace": torch.jit.freeze(traced), "frozen script": torch.jit.freeze(scripted)}
    for kind, module in modules.items():
        path = folder / f"{kind.replace(' ', '-')}.pt"
        module.save(path)
        apart = 0.0
        started = time.time()
        try:
            found = inspect(binaries, path)
            opened = time.time() - started
            for start, count in [(0, 1), (3, 3)]:
                np.save(folder / "pixels.npy", pixels[start:start + count].numpy())
                run(binaries / "examples/gradient", path, folder / "pixels.npy", folder / "out.npz")
                apart = max(apart, *off(np.load(folder / "out.npz")["logits"], expected[start:start + count]))
        except RuntimeError as error:
            yield kind, str(error), False
            continue
        taps, macs, parameters = (one == other for one, other in zip(found, reference))
        same = "" if "frozen" in kind else f", taps {'equal' if taps else 'DIFFER'} ({len(found[0])}), parameters {'equal' if parameters else 'DIFFER'}"
        passes = apart <= 1e-5 and macs and (taps and parameters or "frozen" in kind)
        yield kind, f"logits {apart:.1e}, MACs {'equal' if macs else 'DIFFER'}{same}, opened in {opened:.1f} s", passes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    default = TORCHVISION + [f"timm/{name}" for name in TIMM]
    parser.add_argument("networks", nargs="*", default=default, metavar="NETWORK", help=f"default: {' '.join(default)}; also: {' '.join(MORE)}")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="folder of cargo's binaries")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            for kind, what, passes in check(name, pathlib.Path(folder), arguments.binaries):
                failed += not passes
                print(f"{name:<28} {kind:<14} {'pass' if passes else 'FAIL'}  {what}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
