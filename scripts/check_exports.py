"""Exports torchvision's families of classifiers with random weights, runs each through advmod and through PyTorch, and prints how far
they are apart:

    cargo build --release --example gradient --bin advmod
    python scripts/check_exports.py [FAMILY ...]

needs PyTorch 2.11 and torchvision. Exit code 1 if any family fails. Each family is held, at batch sizes 1 and 3 and exported for any batch size
and for 2, to: logits within 1e-4 of PyTorch's (largest difference, in parts of the largest value); input gradients within 1e-3 (median over
images: a gradient jumps where the input of a ReLU is zero but for rounding, and PyTorch's own differs from itself in double precision on
such images); multiply-accumulates within 1 % of PyTorch's count, which has what no image changes on top; at least as many default taps as the
network has blocks; an audit with FGSM that completes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The classes of each family's blocks; plain networks have convolutions.
FAMILIES = {
    "alexnet": ["Conv2d"],
    "vgg11": ["Conv2d"],
    "squeezenet1_1": ["Fire"],
    "resnet18": ["BasicBlock"],
    "densenet121": ["_DenseBlock", "_Transition"],
    "googlenet": ["Inception"],
    "inception_v3": ["InceptionA", "InceptionB", "InceptionC", "InceptionD", "InceptionE"],
    "mobilenet_v2": ["InvertedResidual"],
    "mobilenet_v3_small": ["InvertedResidual"],
    "shufflenet_v2_x1_0": ["InvertedResidual"],
    "mnasnet1_0": ["_InvertedResidual"],
    "efficientnet_b0": ["MBConv"],
    "regnet_y_400mf": ["ResBottleneckBlock"],
    "convnext_tiny": ["CNBlock"],
    "vit_b_16": ["EncoderBlock"],
    "swin_t": ["SwinTransformerBlock"],
    "swin_v2_t": ["SwinTransformerBlockV2"],
    "maxvit_t": ["MaxVitLayer"],
}


def build(family):
    torch.manual_seed(0)
    options = {"aux_logits": True, "init_weights": False} if family in ("googlenet", "inception_v3") else {}
    return randomized(getattr(torchvision.models, family)(weights=None, num_classes=10, **options))


def randomized(model):
    for module in model.modules():
        # Weights that keep the signal from fading with depth, until rounding is all that the gradient holds.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
        elif isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1)
    return model.eval()


def input_size(family):
    """Small where a network has so many ReLUs that every large image meets one whose input is zero but for rounding."""
    large = ("alexnet", "convnext_tiny", "vit_b_16", "swin_t", "swin_v2_t", "maxvit_t")
    return 224 if family in large else 32 if family == "vgg11" else 64 if family in ("densenet121", "resnet18") else 96


def gradient(model, pixels):
    pixels = pixels.clone().requires_grad_()
    logits = model(pixels)
    (logits * torch.arange(1.0, logits.shape[1] + 1)).sum().backward()
    return logits.detach().numpy(), pixels.grad.numpy()


def off(found, expected):
    """Largest difference per image, in parts of the largest expected value."""
    rows = range(1, expected.ndim)
    return np.abs(found - expected).max(tuple(rows)) / np.abs(expected).max(tuple(rows))


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


def check(family, folder, binaries):
    model = build(family)
    size = input_size(family)
    pixels = torch.rand(6, 3, size, size)
    exports = {}
    for name, shapes in [("any", ({0: torch.export.Dim("batch", min=1, max=4096)},)), ("fixed", None)]:
        exports[name] = folder / f"{family}-{name}.pt2"
        torch.export.save(torch.export.export(model, (pixels[:2],), dynamic_shapes=shapes), exports[name])

    row = {"logits": 0.0, "gradient": 0.0}
    logits, slope = gradient(model, pixels)
    for path in exports.values():
        for count in (1, 3):
            apart = []
            for start in range(0, 3 if count == 1 else 6, count):
                these = slice(start, start + count)
                np.save(folder / "pixels.npy", pixels[these].numpy())
                run(binaries / "examples/gradient", path, folder / "pixels.npy", folder / "out.npz")
                found = np.load(folder / "out.npz")
                row["logits"] = max(row["logits"], *off(found["logits"], logits[these]))
                apart.extend(off(found["gradient"], slope[these]))
            row["gradient"] = max(row["gradient"], float(np.median(apart)))

    about = json.loads(run(binaries / "advmod", "inspect", "--model", exports["any"], "--format", "json"))
    row["taps"] = len(about["taps"])
    row["blocks"] = sum(type(module).__name__ in FAMILIES[family] for module in model.modules())
    # Its count knows matrix products, but no attention kernel of processors.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(pixels[:1])
    row["MACs"] = about["macs"]
    row["reference"] = counter.get_total_flops() // 2
    row["parameters"] = about["parameters"] == sum(it.numel() for name, it in model.named_parameters() if "aux" not in name.lower())

    with torch.no_grad():
        labels = model(pixels).argmax(1).numpy()
    np.savez(folder / "images.npz", x=(pixels.numpy() * 255).astype(np.uint8), y=labels)
    report = folder / "report"
    run(binaries / "advmod", "audit", "--model", exports["any"], "--data", folder / "images.npz", "--attacks", "fgsm",
        "--samples", 6, "--out", report, "--progress", "none")
    row["audit"] = (report / "report.json").exists()
    for path in [*exports.values(), folder / "images.npz"]:
        path.unlink()
    subprocess.run(["rm", "-r", str(report)], check=True)
    row["passes"] = (row["logits"] <= 1e-4 and row["gradient"] <= 1e-3 and row["taps"] >= row["blocks"]
                     and 0.99 * row["reference"] <= row["MACs"] <= row["reference"] and row["parameters"] and row["audit"])
    return row


def main():
    # The counter does not see into the fast path.
    torch.backends.mha.set_fastpath_enabled(False)
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("families", nargs="*", default=list(FAMILIES), metavar="FAMILY", help="default: all of them")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="folder of cargo's binaries")
    arguments = parser.parse_args()
    print(f"{'family':<20} {'logits':>9} {'gradient':>9} {'taps':>5} {'blocks':>6} {'MMACs':>8} {'PyTorch':>8}  audit  result", flush=True)
    failed = 0
    for family in arguments.families:
        with tempfile.TemporaryDirectory() as folder:
            started = time.time()
            try:
                row = check(family, pathlib.Path(folder), arguments.binaries)
            except Exception as error:
                failed += 1
                print(f"{family:<20} {error}", flush=True)
                continue
        failed += not row["passes"]
        print(f"{family:<20} {row['logits']:9.1e} {row['gradient']:9.1e} {row['taps']:5} {row['blocks']:6} {row['MACs'] / 1e6:8.1f} "
              f"{row['reference'] / 1e6:8.1f}  {'yes' if row['audit'] else 'no':<5}  "
              f"{'pass' if row['passes'] else 'FAIL'} ({time.time() - started:.0f} s)", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
