#!/usr/bin/env python3
"""Makes what the fuzzers begin with, fuzz/seeds/NAME/ and fuzz/dictionaries/NAME.dict, of the fixtures and of what the program writes.

    fuzz/make_seeds.py ADVMOD

ADVMOD is a built binary: it measures small studies, whose results are among the seeds. Both folders are in the repository; run this when a
format or a fixture changes. Needs the standard library only.
"""

import base64
import gzip
import io
import json
import pathlib
import pickle
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

FUZZ = pathlib.Path(__file__).resolve().parent
ROOT = FUZZ.parent
FIXTURES = ROOT / "fixtures"
SEEDS, DICTIONARIES = FUZZ / "seeds", FUZZ / "dictionaries"


def seeds(name, contents):
    folder = SEEDS / name
    folder.mkdir(parents=True)
    for at, content in enumerate(contents):
        (folder / f"{at:02}").write_bytes(content.encode() if isinstance(content, str) else content)


def dictionary(name, words):
    lines = ['"' + "".join(chr(byte) if byte < 128 and chr(byte).isalnum() or chr(byte) in " _.:/=-+*()[]{}<>,%'" else f"\\x{byte:02x}" for byte in word) + '"'
             for word in sorted({word.encode() if isinstance(word, str) else word for word in words}) if 0 < len(word) <= 64]
    DICTIONARIES.mkdir(exist_ok=True)
    (DICTIONARIES / f"{name}.dict").write_text("\n".join(lines) + "\n")


def words(text):
    return set(re.findall(r"[A-Za-z_][A-Za-z_0-9.]{1,40}", text))


def archive(entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as zip_:
        for name, data in entries:
            zip_.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def entries(fixture):
    with zipfile.ZipFile(FIXTURES / fixture) as zip_:
        return [(it.filename, zip_.read(it)) for it in zip_.infolist()]


def lean(value):
    """A program without what no reader looks at: traces of the Python that made it."""
    if isinstance(value, dict):
        return {key: lean(it) for key, it in value.items() if key not in ("stack_trace", "source_fn_stack", "torch_fn", "from_node")}
    return [lean(it) for it in value] if isinstance(value, list) else value


# Pickles, put together by hand: Python would want the classes.
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04K\x04\x86K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
STATE_DICTS = [
    b"\x80\x02}X\x01\x00\x00\x00w" + TENSOR + b"s.",
    b"\x80\x02ccollections\nOrderedDict\n)R(X\x0d\x00\x00\x00module.weight" + TENSOR + b"X\x04\x00\x00\x00biasctorch._utils\n_rebuild_parameter\n("
    + TENSOR + b"\x88ccollections\nOrderedDict\n)RtRu}X\x09\x00\x00\x00_metadata}sb.",
    b"\x80\x02}X\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00w" + TENSOR + b"ssX\x05\x00\x00\x00epochK\x03s.",
]
VALUES = [None, True, 3, -(2**70), 1.5, "é", b"bytes", [1, [2, (3, 4)]], {"a": {"b": []}}, {1, 2}, frozenset("ab"), ["x"] * 300, complex(1, 2)]


def legacy():
    magic, version = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", b"\x80\x02M\xe9\x03."
    about = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    part = STATE_DICTS[0].replace(b"K\x10tQ", b"K\x10NtQ")
    keys = b"\x80\x02](X\x01\x00\x00\x000e."
    return magic + version + about + part + keys + struct.pack("<q", 16) + bytes(64)


def safetensors(tensors, metadata=None):
    """Tensors of zeros by name and shape."""
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, shape in tensors:
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(head)) + head + bytes(at)


def weights():
    """The embedded network with a ninth of its layers and an eighth of its width."""
    whole = (FIXTURES / "resnet20-fashion-mnist.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8:8 + length])
    about = json.loads(header.pop("__metadata__")["advmod"])
    about["architecture"] = "resnet8/8"
    kept = [(name, [side // 8 if side >= 16 else side for side in it["shape"]]) for name, it in header.items() if not re.search(r"layer\d\.[12]\.", name)]
    return safetensors(kept, {"advmod": json.dumps(about)}), safetensors(kept)


def code_of(fixture):
    return [(name.split("/code/")[1], data.decode()) for name, data in entries(fixture) if "/code/" in name]


def code_seeds():
    for at, fixture in enumerate(["tiny-resnet-scripted.pt", "tiny-resnet-traced.pt", "tiny-vit-scripted.pt", "tiny-vit-traced.pt"]):
        yield bytes([at]) + "".join(f"\n#{name}\n{code}" for name, code in code_of(fixture)).encode()
    root = max((it for it in code_of("tiny-resnet-scripted.pt") if it[1].startswith("class TinyResNet")), key=lambda it: len(it[1]))
    head, _, _ = root[1].partition("    maxpool = self.maxpool")
    for body in BODIES:
        lines = "\n".join("    " + line for line in body.split("\n"))
        yield b"\0" + f"\n#{root[0]}\n{head}{lines}\n".encode()


BODIES = [
    "return torch.flatten(x, 1)",
    "y = torch.size(x, 0)\nreturn torch.view(x, [y, -1])",
    "l = annotate(List[int], [])\nfor i in range(4):\n  _0 = torch.append(l, i)\nreturn torch.mul(torch.flatten(x, 1), l[2])",
    "if torch.eq(torch.dim(x), 4):\n  y = torch.mean(x, [2, 3])\nelse:\n  ops.prim.RaiseException(\"no\")\n  y = x\nreturn y",
    "a, b, = torch.chunk(torch.flatten(x, 1), 2, 1)\nreturn torch.add(a, b, alpha=2)",
    "t = torch.format(\"{} of {}\", 1, [2, 3])\nif torch.__contains__([t], t):\n  pass\nreturn torch.flatten(torch.slice(x, 2, 0, 9223372036854775807, 2), 1)",
    "c = True\ni = 0\nwhile c:\n  i = torch.add(i, 1)\n  c = torch.lt(i, 5)\nreturn torch.flatten(torch.pow(x, i), 1)",
    "y = torch.zeros([2, 3], dtype=6, layout=None, device=torch.device(\"cpu\"), pin_memory=False)\nreturn torch.flatten(torch.cat([x, x], 1), 1)",
    "d = {\"a\": 1, \"b\": 2}\nt = (1, (2., None))\nreturn torch.div(torch.flatten(x, 1), d[\"b\"])",
    "y = torch.to(x, 7)\nz = torch.to(torch.round(y), 6)\nreturn torch.flatten(torch.clamp(z, 0, 1), 1)",
    "y = torch.softmax(torch.matmul(torch.flatten(x, 1), torch.t(torch.ones([10, 768]))), 1)\nreturn torch.index(y, [torch.tensor([0, 1])])",
    "y = unchecked_cast(Tensor, x)\nassert = 3\nreturn y",
]


def npy(descr, shape, data, order="False"):
    head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def two(first, second):
    return struct.pack("<H", len(first)) + first + second


def png(width, height, depth, colour, channels, extra=b"", interlace=0):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = bytes(1 + (width * channels * depth + 7) // 8)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)) + extra
            + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b""))


JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAKBueIx4ZKCMgoy0qqC+8P//8Nzc8P//////////////////////////////////////////////////////////wAALCAACAAMBAREA/8QA"
    "FAABAAAAAAAAAAAAAAAAAAAAAv/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AD//Z")

CIFAR = (b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
         b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
         + struct.pack("<I", 3072) + bytes(3072) + b"tbU\x06labels]K\x03au.")

PLANS = [
    "seed = 3\nout = 'run'\n[model]\nfile = 'm.pt2'\nnormalize = '0.5,0.5'\n[data]\npath = 'd'\nsamples = 10\n[[attack]]\nname = 'pgd'\neps = '8/255'\n",
    "[[gate]]\nid = 'g'\nexpr = 'asr.pgd <= 50 %'\nseverity = 'warning'\nreason = 'why'\n[[waiver]]\ngate = 'g'\nreason = 'r'\nexpires = 2099-01-01\n",
    "preset = 'quick'\n[curve]\nk = 3\nsimilarity = 'pearson'\n[[attack]]\nname = 'cw'\nkappa = 1\n[[attack]]\nname = 'pgd'\neps = '2/255|4/255'\n",
]
GATES = ["asr.pgd <= 50 %", "accuracy.linf:8/255 >= 0.3", "regression(asr.*) <= 2 %", "asr.pgd.class.* <= 0.01", "captured.fgsm < 0.5",
         "accuracy.worst >= 30%", "clean_accuracy > .9", "peak_drop.pgd <= 0.1", "accuracy.cw.class.\"a b\" >= 1"]
ATTACKS = ["pgd:eps=8/255,steps=10", "fgsm", "pgd:eps=2/255|4/255|8/255,step=eps/4", "cw:kappa=1,targeted=true", "square:norm=l2,eps=0.5", "jsma:theta=1,gamma=.1,eot=3"]
CLASSES = ["cat\ndog\n", "dog,1\ncat,0\n", "dog\t1\ncat\t0", '["cat","dog"]', '{"dog":1,"cat":0}', '{"0":"cat","1":["dog","Dog"]}']


def studies(advmod, folder):
    """Small results of every study."""
    data = folder / "images"
    data.mkdir()
    for part in ["train", "t10k"]:
        for name in ["images.idx3", "labels.idx1"]:
            shutil.copy(FIXTURES / f"fashion-mnist-1000-{name}.gz", data / f"{part}-{name.replace('.', '-')}-ubyte.gz")
    run = lambda *words: subprocess.run([advmod, *words, "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    few = ["--samples", "16", "--k", "3", "--threads", "1"]
    run("curve", *few, "--out", "curve")
    run("similarity", *few, "--out", "similarity")
    run("labels", *few, "--out", "labels")
    run("audit", "--attacks", "fgsm,pgd", "--preset", "quick", *few, "--gate", "asr.fgsm <= 1", "--out", "run")
    run("flow", "run", "--k", "3", "--out", "flow")
    recipe = ["--epochs", "1", "--crop-padding", "0", "--data", "images", "--threads", "1"]
    run("train", "--arch", "resnet14/8", *recipe, "--out", "m.safetensors", "--checkpoints", "epochs", "--measure")
    run("prune", "--model", "m.safetensors", *recipe, "--samples", "60", "--repeats", "1", "--rule", "a,last", "--out", "prune")
    return [path.read_bytes() for path in sorted([*folder.glob("*/*.json")]) if path.name != "report.json"], folder / "run"


def main():
    advmod = str(pathlib.Path(sys.argv[1]).resolve())
    for old in [SEEDS, DICTIONARIES]:
        shutil.rmtree(old, ignore_errors=True)
    pickles = [pickle.dumps(value, protocol) for value in [VALUES] for protocol in range(6)]
    seeds("pickle", [*pickles, *STATE_DICTS, CIFAR])
    seeds("state_dict", STATE_DICTS)
    seeds("legacy", [legacy()])
    seeds("safetensors", [*weights(), safetensors([("w", [2, 3]), ("b", [])])])
    program = [(name, json.dumps(lean(json.loads(data)), separators=(",", ":")).encode() if name.endswith("models/model.json") else data)
               for name, data in entries("tiny-vit.pt2")]
    state_dict = [("m/data.pkl", STATE_DICTS[0]), ("m/data/0", bytes(64)), ("m/version", "3\n")]
    seeds("archive", [archive(state_dict), archive(state_dict, zipfile.ZIP_STORED), archive(program), archive(entries("tiny-vit-traced.pt"))])
    of_program = next(data for name, data in entries("tiny-resnet.pt2") if name.endswith("models/model.json"))
    model = json.dumps(lean(json.loads(of_program)), separators=(",", ":"))
    seeds("pt2", [model])
    code = [*code_seeds()]
    seeds("torchscript_code", code)
    seeds("torchscript_data", [next(data for name, data in entries("tiny-resnet-scripted.pt") if name.endswith("/data.pkl"))])
    arrays = [npy("|u1", "(2, 2, 3)", bytes(12)), npy("<f8", "(2, 1, 2, 2)", bytes(64)), npy("<f4", "(2, 2, 2, 3)", bytes(96), "True"), npy("<i8", "(2, 2, 2)", bytes(64))]
    seeds("npy", arrays)
    labels = npy("<i8", "(2,)", struct.pack("<qq", 0, 1))
    seeds("npz", [archive([("x.npy", arrays[0]), ("y.npy", labels)]),
                  archive([("x_train.npy", arrays[1]), ("y_train.npy", labels), ("x_test.npy", arrays[2]), ("y_test.npy", labels)], zipfile.ZIP_STORED)])
    images, named = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 3, 4) + bytes(24), bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes([0, 1])
    seeds("idx", [two(images, named), two(gzip.compress(images, mtime=0), gzip.compress(named, mtime=0))])
    palette = struct.pack(">I", 6) + b"PLTE" + bytes(6) + struct.pack(">I", zlib.crc32(b"PLTE" + bytes(6)))
    seeds("image", [png(3, 2, 8, 0, 1), png(3, 2, 8, 2, 3), png(3, 2, 1, 3, 1, palette), png(3, 2, 16, 6, 4), png(9, 9, 8, 4, 2, interlace=1), JPEG])
    seeds("cifar", [bytes([3]) + bytes(3072), (bytes([3, 77]) + bytes(3072)) * 2])
    names = pickle.dumps({"label_names": ["a", "b", "c", "d"]}, 2)
    seeds("cifar_python", [two(CIFAR, names), two(CIFAR.replace(b"U\x06labels", b"U\x0bfine_labels"), b"")])
    seeds("class_list", CLASSES)
    seeds("plan", PLANS)
    seeds("gate", GATES)
    seeds("attack", ATTACKS)
    journal = (FIXTURES / "run.jsonl").read_text().splitlines(keepends=True)
    seeds("journal", ["".join(journal[:6]), "".join(journal[:40])])
    with tempfile.TemporaryDirectory() as folder:
        results, run = studies(advmod, pathlib.Path(folder))
        seeds("study", results)
        report = (run / "report.json").read_text()
        seeds("report", [json.dumps(json.loads(report), separators=(",", ":"))])
    shape = {"pixels": [2, 1, 2, 2], "samples": [2]}
    header = {name: {"dtype": dtype, "shape": shape[name], "data_offsets": offsets} for name, dtype, offsets in [("pixels", "U8", [0, 8]), ("samples", "I64", [8, 24])]}
    head = json.dumps(header).encode()
    clean = struct.pack("<Q", len(head)) + head + bytes(8) + struct.pack("<qq", 0, 5)
    seeds("pixels", [two(clean, struct.pack("<Q4f", 5, 0, 0, 0, 1)), two(b"", b"")])

    kinds = re.findall(r'Operator\("([^"]+)", "([^"]+)"', (ROOT / "src/model/import/operators.rs").read_text())
    operators = [name.split(".")[0] for name, _ in kinds]
    script = words(" ".join(it[2:].decode() for it in code))
    dictionary("torchscript_code", script | {f"torch.{name}(" for name in operators} | {"ops.prim.", "\n  ", "\n    ", "annotate(", "unchecked_cast(", "while True:\n", "for i in range("})
    dictionary("pt2", {f'"{word}"' for word in re.findall(r'"([^"]{2,40})"', model)} | {f"torch.ops.aten.{name}" for name, _ in kinds})
    opcodes = [bytes([byte]) for byte in b".(0123IJKLMNQRSTUVXabcdeghijlpqrstu}]()\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"]
    globals_ = [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n",
                b"cnumpy.core.multiarray\n_reconstruct\n", b"cos\nsystem\n", STORAGE, TENSOR]
    for name in ["pickle", "state_dict", "legacy", "torchscript_data", "cifar_python"]:
        dictionary(name, opcodes + [it for it in globals_ if len(it) <= 64])
    dictionary("archive", [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", "data.pkl", "constants.pkl", "version", "byteorder", "archive_format", "models/model.json", "code/__torch__.py", "../"])
    dictionary("npz", [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", "x.npy", "y.npy", "x_train.npy", "y_test.npy", b"\x93NUMPY\x01\x00"])
    dictionary("npy", ["'descr': ", "'fortran_order': ", "'shape': ", "True", "False", "'|u1'", "'<f8'", "'<f4'", "'<i8'", "'>i2'", "'<c16'", "(2, 2, 2)", "18446744073709551615"])
    dictionary("safetensors", ['"dtype":"', '"shape":[', '"data_offsets":[', '"__metadata__":{', "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "18446744073709551615", '"advmod":"'])
    dictionary("image", [b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"IEND", b"iCCP", b"acTL", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xdd", b"\xff\xd8"])
    dictionary("plan", words("\n".join(PLANS)) | {"[[attack]]", "[[gate]]", "[[waiver]]", "[model]", "[data]", "[curve]", '"""', "'''", "1e999", "nan", "inf"})
    dictionary("gate", words("\n".join(GATES)) | {"<=", ">=", "%", "*", "(", ")", "linf:", "l2:", "8/255", "1e999", "nan"})
    dictionary("attack", words("\n".join(ATTACKS)) | {"eps=", "steps=", "|", "/255", "true", "1e999", "nan", "inf", "-1"})
    for name in ["journal", "report", "study"]:
        text = " ".join(path.read_text() for path in sorted((SEEDS / name).iterdir()))
        dictionary(name, {f'"{word}"' for word in set(re.findall(r'"([a-z_A-Z0-9.]{2,30})"', text)) if len(word) < 24 and not re.fullmatch("[0-9a-f]{16}", word)} | {"null", "1e308", "-1", "[]", "{}", "18446744073709551615"})
    for folder in sorted(SEEDS.iterdir()):
        print(f"{folder.name:18} {len([*folder.iterdir()]):3} seeds {sum(it.stat().st_size for it in folder.iterdir()):8} bytes")


main()
