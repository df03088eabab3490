#!/usr/bin/env python3
"""Audit networks whose gradients are masked, through every door, and look for a gate that claims robustness and passes.

usage: check_masked.py ADVMOD [--samples 12] [--only NAME ...] [--keep FOLDER]

Each network is the embedded one behind a mask: its accuracy within the budget is near 0, whatever an attack without its mask in mind says. It is
written as an exported program (.pt2), traced and scripted TorchScript, and, where a mask is a change of weights, as a state dict. Prints the model, the
door, what each gate came to, the verdict and the exit code; ends with 1 where a gate that claims robustness passed, or the exit code is 0 although
the gates did not. A mask that a door refuses is right too. Needs PyTorch; not a part of `make test`.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
GATES = ["accuracy.linf:8/255 >= 10 %", "asr.pgd <= 50 %", "accuracy.worst >= 10 %", "retention_drop.pgd <= 0.2"]


def weights():
    data = (ROOT / "fixtures/resnet20-fashion-mnist.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    part = lambda entry: data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]]
    return {name: torch.frombuffer(bytearray(part(entry)), dtype=torch.float32).reshape(entry["shape"]) for name, entry in header.items()}


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.extra = (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride == 2:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(x + y)


class Embedded(nn.Module):
    """The embedded network, its normalization included."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.fc = nn.Linear(64, 10)

    def features(self, x):
        x = F.relu(self.bn1(self.conv1((x - 0.2860) / 0.3530)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = Embedded()
        self.network.load_state_dict(weights(), strict=False)


class Plain(Masked):
    def forward(self, x):
        return self.network(x)


class Negated(Masked):
    def forward(self, x):
        return 2 * self.network(x).detach() - self.network(x)


class Decoy(Masked):
    def forward(self, x):
        decoy = torch.sin(3 * x.flatten(1))[:, 300:310] * 5
        return self.network(x).detach() + decoy - decoy.detach()


class Detached(Masked):
    def forward(self, x):
        return self.network(x.detach()) + 0 * x.mean()


class Times30(Masked):
    def forward(self, x):
        return 30 * self.network(x)


class Times10000(Masked):
    def forward(self, x):
        return 1e4 * self.network(x)


class Temperature(Masked):
    """Logits so small that the softmax is flat."""

    def forward(self, x):
        return 1e-6 * self.network(x)


class HugeConstant(Masked):
    """Differences of logits are rounded away."""

    def forward(self, x):
        return self.network(x) + 1e6


class Rounded(Masked):
    def forward(self, x):
        return self.network(torch.round(63 * x) / 63)


class RoundedLogits(Masked):
    def forward(self, x):
        return torch.round(10 * self.network(x)) / 10


class Sigmoid(Masked):
    def forward(self, x):
        return torch.sigmoid(self.network(x))


class Softmax(Masked):
    def forward(self, x):
        return torch.softmax(self.network(x), 1)


class SharpSoftmax(Masked):
    """Defensive distillation's end: a softmax that is saturated."""

    def forward(self, x):
        return torch.softmax(30 * self.network(x), 1)


class TanhTwice(Masked):
    def forward(self, x):
        return torch.tanh(torch.tanh(self.network(x)))


class Dropout(Masked):
    def forward(self, x):
        return self.network(F.dropout(x, 0.05, True))


class Noise(Masked):
    def forward(self, x):
        return self.network(x + 0.03 * torch.randn_like(x))


class BatchStatistics(Masked):
    def forward(self, x):
        return self.network(x - 0.1 * x.mean(0, keepdim=True))


class Thermometer(Masked):
    """16 levels, each pixel's that are reached."""

    def forward(self, x):
        total = torch.zeros_like(x)
        for level in range(16):
            total = total + (x > (level + 0.5) / 16).to(x.dtype)
        return self.network(total / 16)


class JpegLike(Masked):
    """8 × 8 frequencies (of a 32 × 32 frame), rounded."""

    def __init__(self):
        super().__init__()
        n = torch.arange(8.0)
        dct = torch.cos(torch.pi / 8 * (n[None, :] + 0.5) * n[:, None]) * (2 / 8) ** 0.5
        dct[0] /= 2 ** 0.5
        self.register_buffer("basis", torch.einsum("ui,vj->uvij", dct, dct).reshape(64, 1, 8, 8))

    def forward(self, x):
        frequencies = F.conv2d(F.pad(x, (2, 2, 2, 2)), self.basis, stride=8)
        x = F.conv_transpose2d(torch.round(frequencies * 20) / 20, self.basis, stride=8)
        return self.network(x[:, :, 2:30, 2:30])


class WinnersTakeAll(Masked):
    """Only the largest half of the features, in units too steep to follow."""

    def forward(self, x):
        x = self.network.features(x)
        least = x.topk(32, 1)[0][:, -1:]
        return self.network.fc(x * (x >= least).to(x.dtype))


class Stairs(Masked):
    """A fine staircase on the pixels that leads down where the gradient goes up."""

    def forward(self, x):
        return self.network(x - 2 * (x - torch.round(255 * x) / 255))


class Rippled(Masked):
    def forward(self, x):
        return self.network(x + 0.004 * torch.sin(2000 * x))


class ScaledGradient(Masked):
    """The same values, and a gradient of 1e-30 times its size."""

    def forward(self, x):
        return self.network(1e-30 * x + (x - 1e-30 * x).detach())


class NearTheClean(Masked):
    """The gradient is masked only where the model is sure of itself."""

    def forward(self, x):
        logits = self.network(x)
        best = logits.topk(2, 1)[0]
        sure = (best[:, :1] - best[:, 1:] > 1).to(x.dtype)
        return logits.detach() * sure + logits * (1 - sure)


class SomeImages(Masked):
    """The gradient is negated for bright images only."""

    def forward(self, x):
        logits = self.network(x)
        bright = (x.mean((1, 2, 3)) > 0.25).to(x.dtype)[:, None]
        return logits + bright * (2 * logits.detach() - 2 * logits)


class NoiseDetector(Masked):
    """Falls back to the first class where neighbouring pixels differ as in noise: images are called so, but not broken."""

    def forward(self, x):
        rough = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3)) > 0.12
        return self.network(torch.where(rough[:, None, None, None], torch.round(4 * x) / 4, x))


class Ensemble(Masked):
    """The largest of two, of which one sees rounded pixels and the other gives no gradient."""

    def forward(self, x):
        return torch.maximum(self.network(torch.round(31 * x) / 31), self.network(x).detach())


class MedianLike(Masked):
    """Each pixel becomes the middle of three, which hardly moves with any of them."""

    def forward(self, x):
        left, right = F.pad(x, (1, 0, 0, 0))[:, :, :, :-1], F.pad(x, (0, 1, 0, 0))[:, :, :, 1:]
        middle = torch.maximum(torch.minimum(left, x), torch.minimum(torch.maximum(left, x), right))
        return self.network(torch.round(15 * middle) / 15)


class FlatReLU(Masked):
    """Logits above their own mean only, all of them pressed together."""

    def forward(self, x):
        logits = self.network(x)
        return torch.log1p(F.relu(logits - logits.mean(1, keepdim=True)) * 1e6)


class Half(Masked):
    """Computed in 16 bits at the end."""

    def forward(self, x):
        return (1000 * self.network(x)).to(torch.float16).to(torch.float32)


class OneNorm(Masked):
    """Pixels are rounded where they lie within 0.06 of the nearest of 9 levels: L∞ steps vanish, single pixels get through."""

    def forward(self, x):
        level = torch.round(8 * x) / 8
        return self.network(torch.where((x - level).abs() < 0.06, level, x))


MASKS = [Plain, Negated, Decoy, Detached, Times30, Times10000, Temperature, HugeConstant, Rounded, RoundedLogits, Sigmoid, Softmax, SharpSoftmax,
         TanhTwice, Dropout, Noise, BatchStatistics, Thermometer, JpegLike, WinnersTakeAll, Stairs, Rippled, ScaledGradient, NearTheClean, SomeImages,
         NoiseDetector, Ensemble, MedianLike, FlatReLU, Half, OneNorm]


def write_state_dict(path, factor):
    state = weights()
    for name in ("fc.weight", "fc.bias"):
        state[name] = factor * state[name]
    torch.save(state, path)


def doors(mask, folder):
    """Files of a mask, or why there is none."""
    torch.manual_seed(0)
    model, images = mask().eval(), torch.rand(4, 1, 28, 28)
    batch = torch.export.Dim("batch", min=2, max=4096)

    def export(path):
        torch.export.save(torch.export.export(model, (images,), dynamic_shapes=({0: batch},)), path)

    ways = {
        "exported.pt2": export,
        "traced.pt": lambda path: torch.jit.trace(model, images, check_trace=False).save(path),
        "scripted.pt": lambda path: torch.jit.script(model).save(path),
    }
    factor = {Times30: 30, Times10000: 1e4, Temperature: 1e-6}.get(mask)
    if factor:
        ways["state_dict.pt"] = lambda path: write_state_dict(path, factor)
    for name, way in ways.items():
        path = folder / f"{mask.__name__}-{name}"
        try:
            way(str(path))
            yield name, path, None
        except Exception as error:
            yield name, path, f"PyTorch: {str(error).strip().splitlines()[0][:100]}"


def audit(program, path, door, samples, trust):
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        command = [program, "audit", "--model", path, "--attack", "pgd:eps=8/255", "--samples", str(samples), "--threads", "1", "--progress", "none",
                   "-o", report]
        for gate in GATES:
            command += ["--gate", gate]
        if door == "state_dict.pt":
            command += ["--normalize", "fashion-mnist"]
        elif not door.endswith(".pt2"):
            command += ["--input-size", "28"]
        if trust:
            command += ["--trust-torchscript"]
        done = subprocess.run([str(it) for it in command], capture_output=True, text=True)
        stored = json.loads(report.read_text()) if report.exists() else None
        return done.returncode, stored, done.stderr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("advmod")
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--trust", action="store_true", help="scripts also as libtorch runs them")
    given = parser.parse_args()
    passed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        for mask in MASKS:
            if given.only and mask.__name__ not in given.only:
                continue
            for door, path, error in doors(mask, folder):
                for trust in [False, True] if given.trust and door in ("traced.pt", "scripted.pt") else [False]:
                    name = f"{mask.__name__:16} {door:13} {'trusted' if trust else '':7}"
                    if error:
                        print(f"--    {name} {error}", flush=True)
                        continue
                    code, report, text = audit(given.advmod, path, door, given.samples, trust)
                    if report is None:
                        print(f"ok    {name} exit {code}, refused: {(text.strip().splitlines() or [''])[-1][:110]}", flush=True)
                        passed += code == 0
                        continue
                    gates = [gate["result"] for gate in report["gates"]]
                    is_wrong = mask is not Plain and (code == 0 or "pass" in gates)
                    passed += is_wrong
                    verdict, accuracy = report["validity"], report["budgets"][0]["adversarial_accuracy"]["value"] if report["budgets"] else None
                    clean = report["clean"]["accuracy"]["value"]
                    share = "–" if accuracy is None else f"{100 * accuracy:.0f} %"
                    print(f"{'PASSED' if is_wrong else 'ok    '}{name} exit {code}, {' '.join(gates)}; {verdict['verdict']}: clean {100 * clean:.0f} %, "
                          f"under attack {share}; {(verdict.get('reason') or '')[:90]}", flush=True)
    print(f"{passed} passed a gate that claims robustness")
    sys.exit(passed > 0)


if __name__ == "__main__":
    main()
