#!/usr/bin/env python3
"""Opens files that are made to fill the memory, and compares the peak of it with the bound: 64 MiB and 8 times the file's size.

    scripts/check_cost.py ADVMOD [--only WORD] [--keep FOLDER] [--slow]

What the program takes before it opens anything (`advmod doctor`), or for measuring honest images, is subtracted. Each file must be refused, or opened, within the bound and 5 seconds
(--slow: 50, for builds that are not optimised), and end in one line without a word of a panic. Programs that PyTorch has to export
are left out where it is missing. Exit code 1 if a file breaks a rule. Linux only.
"""

import argparse
import gzip
import importlib.util
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "fixtures/resnet20-fashion-mnist.safetensors"
EXPORT = ROOT / "fixtures/tiny-resnet.pt2"
SCRIPT = ROOT / "fixtures/tiny-resnet-scripted.pt"
MIB = 1 << 20
INSPECT = ["inspect", "--model"]
CURVE = ["curve", "--samples", "16", "--progress", "none", "--data"]
REPORT = ["report"]
RESUME = ["audit", "--resume"]
PLAN = ["audit", "--plan"]


def safetensors(header):
    head = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(head)) + head


def rewritten(archive, change, method=zipfile.ZIP_STORED):
    """A copy of a zip archive whose entries `change` may replace."""
    def write(path):
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w", method) as new:
            for entry in old.infolist():
                new.writestr(zipfile.ZipInfo(entry.filename), change(entry.filename, old.read(entry)), method)
    return write


def npz(arrays, method=zipfile.ZIP_DEFLATED):
    def write(path):
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, descr, shape, data in arrays:
                head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
                with archive.open(f"{name}.npy", "w") as entry:
                    entry.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
                    block = bytes(MIB)
                    for _ in range(data // MIB):
                        entry.write(block)
                    entry.write(bytes(data % MIB))
    return write


def packed(content):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    return write


def idx(path):
    """A folder whose images promise, and hold, a thousand times what they take."""
    path.mkdir()
    n = 1_000_000
    with gzip.open(path / "t10k-images-idx3-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">III", n, 28, 28))
        for _ in range(n * 784 // MIB):
            file.write(bytes(MIB))
        file.write(bytes(n * 784 % MIB))
    with gzip.open(path / "t10k-labels-idx1-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 1]) + struct.pack(">I", n) + bytes(n))


def png(path):
    """Two class folders with an image of 60,000 by 60,000 pixels of one bit."""
    side = 60_000
    packer = zlib.compressobj()
    data = b"".join([*(packer.compress(bytes(side // 8 + 1)) for _ in range(side)), packer.flush()])
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    for label in "ab":
        (path / label).mkdir(parents=True)
        (path / label / "1.png").write_bytes(image)


def folder(name, text):
    def write(path):
        path.mkdir()
        (path / name).write_text(text)
    return write


def flood(piece, size=MIB):
    return piece * (size // len(piece))


def pickled(piece, size=MIB):
    return b"\x80\x02" + flood(piece, size) + b"."


def model_json(change):
    def apply(name, data):
        if not name.endswith("models/model.json"):
            return data
        model = json.loads(data)
        change(model)
        return json.dumps(model).encode()
    return apply


def code(text):
    """Puts statements at the start of every method of a TorchScript module."""
    def apply(name, data):
        if "/code/" not in name or not name.endswith(".py"):
            return data
        lines = data.decode().split("\n")
        out = []
        for line in lines:
            out.append(line)
            if line.startswith("    x: Tensor) -> Tensor:"):
                out.extend("    " + it for it in text.split("\n"))
        return "\n".join(out).encode()
    return apply


def files():
    """Kind, how to write it, and the command that opens it."""
    good = WEIGHTS.read_bytes()
    (length,) = struct.unpack("<Q", good[:8])
    header = json.loads(good[8:8 + length])
    about = json.loads(header["__metadata__"]["advmod"])
    sized = {**header, "__metadata__": {"advmod": json.dumps({**about, "input_size": [100_000, 100_000]})}}
    write = lambda data: lambda path: path.write_bytes(data)
    yield "safetensors: an input size of 100,000", write(safetensors(sized) + good[8 + length:]), INSPECT
    yield "safetensors: the same, measured", write(safetensors(sized) + good[8 + length:]), ["curve", "--samples", "16", "--progress", "none", "--model"]
    many = {f"t{at}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for at in range(16_000)}
    yield "safetensors: a header of 16,000 tensors", write(safetensors(many)), INSPECT
    yield "safetensors: a header of lists in lists", write(safetensors(b'{"a":' + flood(b"[") + b"}")), INSPECT
    for name, piece in [("lists", b"]"), ("dictionaries", b"}"), ("marks", b"("), ("tuples", b")\x85"), ("numbers", b"K\x01"), ("memos", b"]q\x01"), ("texts", b"X\x00\x00\x00\x00")]:
        yield f"torch.save: a pickle of {name}", packed({"m/data.pkl": pickled(piece, 24 * MIB), "m/version": "3"}), INSPECT
        yield f"torch.save, old format: a pickle of {name}", write(pickled(piece)), INSPECT
        yield f"CIFAR batches: a pickle of {name}", folder_of_cifar(pickled(piece)), CURVE
    yield "npz: floats, a thousand to one", npz([("x", "<f8", (40_000, 28, 28), 40_000 * 784 * 8), ("y", "<i8", (40_000,), 320_000)]), CURVE
    yield "npz: bytes, a thousand to one", npz([("x", "|u1", (400_000, 28, 28), 400_000 * 784), ("y", "|u1", (400_000,), 400_000)]), CURVE
    yield "npz: labels alone", npz([("x", "|u1", (1, 28, 28), 784), ("y", "<i8", (20_000_000,), 160_000_000)]), CURVE
    yield "npz: 60,000 arrays", packed({**{f"a{at}.npy": b"" for at in range(60_000)}}), CURVE
    yield "IDX: gzip, a thousand to one", idx, CURVE
    yield "PNG of 60,000 by 60,000 pixels", png, CURVE
    for name, piece in [("lists", "[],"), ("objects", '{"":{"":{}}},'), ("numbers", "0,"), ("texts", '"",')]:
        text = f'{{"study":"curve","schema_version":1,"curves":[{flood(piece)}0]}}'
        yield f"curve.json: a flood of {name}", write(text.encode()), REPORT
        yield f"report.json: a flood of {name}", write(f'{{"schema_version":2,"attacks":[{flood(piece)}0]}}'.encode()), REPORT
        yield f"a run's journal: a flood of {name}", folder("run.jsonl", f'{{"event":"started","x":[{flood(piece)}0]}}\n' * 2), RESUME
        yield f"a plan: a flood of {name}", write(f"seed = 1\nx = [{flood(piece.replace(':', '='), 64 << 10)}0]\n".encode()), PLAN
        yield f"pt2: a flood of {name}", rewritten(EXPORT, lambda entry, data, piece=piece: data[:-1] + f',"x":[{flood(piece, 24 * MIB)}0]}}'.encode() if entry.endswith("models/model.json") else data, zipfile.ZIP_DEFLATED), INSPECT
    yield "a plan: nested tables", write(("a = " + "{b=" * 20_000 + "1" + "}" * 20_000).encode()), PLAN
    yield "a plan: a gate of brackets", write(('[[gate]]\nexpr = "' + "(" * 200_000 + '"\n').encode()), PLAN
    args = lambda piece: model_json(lambda model: model["graph_module"]["graph"]["nodes"][0]["inputs"].append({"name": "x", "arg": {"as_ints": [0] * piece}, "kind": 1}))
    yield "pt2: an argument of 3,000,000 numbers", rewritten(EXPORT, args(3_000_000), zipfile.ZIP_DEFLATED), INSPECT
    nodes = model_json(lambda model: model["graph_module"]["graph"]["nodes"].extend([model["graph_module"]["graph"]["nodes"][0]] * 20_000))
    yield "pt2: 20,000 more nodes", rewritten(EXPORT, nodes, zipfile.ZIP_DEFLATED), INSPECT
    for name, text in [
        ("a list that grows", "_l = [0]\nfor _i in range(100000000):\n  _l = torch.add(_l, _l)"),
        ("a text that grows", '_t = "aaaaaaaaaaaaaaaa"\nfor _i in range(60):\n  _t = torch.add(_t, _t)'),
        ("an endless loop", "_c = True\nwhile _c:\n  _c = True"),
        ("a huge constant", "_z = torch.zeros([100000, 100000])\nx = torch.add(x, torch.sum(_z))"),
        ("many constants", "\n".join(f"_z{at} = torch.ones([2000, 2000])\nx = torch.add(x, torch.sum(_z{at}))" for at in range(200))),
        ("a huge repeat", "x = torch.repeat(x, [1, 1, 20000, 20000])"),
    ]:
        yield f"TorchScript: {name}", rewritten(SCRIPT, code(text)), INSPECT
    yield "TorchScript: 24 MiB of code", rewritten(SCRIPT, code(flood("x = torch.relu(x)\n", 24 * MIB).strip()), zipfile.ZIP_DEFLATED), INSPECT
    yield from exported()


def folder_of_cifar(batch):
    def write(path):
        path.mkdir()
        for name in ["test_batch", *(f"data_batch_{at}" for at in range(1, 6)), "batches.meta"]:
            (path / name).write_bytes(batch)
    return write


PROGRAMS = {
    "a padding of 20,000": "lambda x: F.pad(x, (20_000,) * 4)",
    "400 times larger": "lambda x: F.interpolate(x, scale_factor=400.0)",
    "a repeat of 10,000": "lambda x: x.repeat(1, 10_000, 10, 10)",
    "a pooling to 30,000": "lambda x: F.adaptive_avg_pool2d(x, 30_000)",
    "an outer product": "lambda x: (x.flatten(1).unsqueeze(2) * x.repeat(1, 100, 1, 1).flatten(1).unsqueeze(1)).unsqueeze(1)",
    "a product of constants": "lambda x: x + (torch.arange(60_000.0).unsqueeze(1) * torch.arange(60_000.0)).mean()",
    "a repeated constant": "lambda x: x + torch.zeros(1, 1, 28, 28).repeat(1, 5000, 10, 10).mean((1, 2, 3), keepdim=True)",
    "400 constants": "lambda x: x + sum(torch.full((1500, 1500), float(at)).mean() for at in range(400))",
}

# Under fake tensors: nothing of these sizes is computed here.
EXPORT_ONE = """
import sys, torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.change, self.head = eval(sys.argv[1]), nn.Linear(1, 10)

    def forward(self, x):
        return self.head(self.change(x).mean((1, 2, 3)).unsqueeze(1))

torch.export.save(torch.export.export(Net().eval(), (torch.rand(2, 1, 28, 28),)), sys.argv[2])
"""


def exported():
    if importlib.util.find_spec("torch") is None:
        print("skipped: programs that PyTorch exports: it is not installed")
        return
    for name, change in PROGRAMS.items():
        def write(path, change=change):
            made = path.with_suffix(".pt2")
            subprocess.run([sys.executable, "-c", EXPORT_ONE, change, made], check=True, stderr=subprocess.DEVNULL)
            made.rename(path)
        yield f"pt2: {name}", write, INSPECT


# A process of its own: the peak of a child counts from that of the process that starts it.
LAUNCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status))
"""


def measured(advmod, command, path, folder, limit):
    """Peak of resident memory in bytes, seconds, exit code, stderr."""
    begun = time.monotonic()
    launch = [sys.executable, "-c", LAUNCH, advmod, *command, path]
    process = subprocess.Popen(launch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", cwd=folder, start_new_session=True)
    try:
        out, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return 0, limit, -9, "killed: too slow"
    peak, code_ = map(int, out.split())
    return peak, time.monotonic() - begun, code_, said


def size_of(path):
    return sum(it.stat().st_size for it in path.rglob("*") if it.is_file()) if path.is_dir() else path.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("advmod", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--slow", action="store_true")
    asked = parser.parse_args()
    limit = 50 if asked.slow else 5
    advmod = asked.advmod.resolve()
    broken = 0
    # Whatever happens, this machine survives.
    resource.setrlimit(resource.RLIMIT_AS, (32 << 30, 32 << 30))
    with tempfile.TemporaryDirectory() as made:
        place = asked.keep.resolve() if asked.keep else pathlib.Path(made)
        place.mkdir(exist_ok=True)
        base, *_ = measured(advmod, [], "doctor", place, limit * 4)
        # A file that opens is measured with, so that what this takes on honest images is subtracted there.
        honest, *_ = measured(advmod, CURVE[:-1], "--quiet", place, limit * 4)
        print(f"{'file':46} {'KiB':>8} {'bound':>7} {'peak':>7} {'s':>5}  exit  said   (MiB above {base // MIB} MiB)")
        for at, (name, write, command) in enumerate(files()):
            if asked.only not in name:
                continue
            path = place / f"{at}"
            try:
                write(path)
            except Exception as error:
                print(f"{name:46} cannot be made: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
                continue
            bytes_ = size_of(path)
            bound = 64 * MIB + 8 * bytes_
            peak, seconds, code_, said = measured(advmod, command, path, place, limit * 2)
            peak -= honest if code_ == 0 and command == CURVE else base
            lines = [line for line in said.splitlines() if line.strip() and not line.startswith("warning:")]
            wrong = [word for word, is_so in [
                ("MEMORY", peak > bound), ("SLOW", seconds > limit), ("PANIC", "panic" in said or "report this" in said),
                ("LINES", len(lines) > 1), ("EXIT", code_ not in (0, 2, 3)),
            ] if is_so]
            broken += bool(wrong)
            last = lines[-1].replace(str(place), "")[:90] if lines else ""
            print(f"{name:46} {bytes_ >> 10:8} {bound // MIB:7} {max(0, peak) // MIB:7} {seconds:5.1f}  {code_:4}  {' '.join(wrong)} {last}", flush=True)
    print(f"{broken} files break a rule")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
