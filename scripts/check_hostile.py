#!/usr/bin/env python3
"""Opens dozens of files that are made to do harm, under strace, and looks at what the program touches.

    scripts/check_hostile.py ADVMOD [--only WORD] [--slow]

Each must end in one line, or open as if nothing of the kind were in it, within 5 seconds (--slow: 50, for builds that are not optimised) and
512 MiB, print nothing raw, start no program, use no network, and open no file but the one that is given, the program's own libraries and what the
system says of itself. Bait lies where the files point to: it must neither be read nor written. Exit code 1 if a file breaks a rule. Linux only; without strace the last rule is skipped, aloud.
"""

import argparse
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("check_cost", HERE / "check_cost.py")
cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cost)

FIXTURES = HERE.parent / "fixtures"
SCRIPT = FIXTURES / "tiny-resnet-scripted.pt"
MEMORY = 512 << 20
BAIT = "advmod-bait"
# What a process may open beside its file: its libraries, what it asks of the system, and names that are not there.
OWN = ("/usr/", "/lib", "/proc/", "/sys/", "/dev/null", "/dev/tty", "/dev/urandom", "/dev/shm", "/etc/ld.so", "/etc/localtime", "/etc/gai.conf",
       "/etc/nsswitch.conf", "/etc/passwd-", "/opt/rocm", "/run/nvidia", "/dev")
CALLS = "openat,openat2,open,creat,execve,execveat,socket,connect,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,link,linkat,symlink,symlinkat,truncate,chmod,fchmodat"


def with_entries(*more, without=(), first=False, rename=lambda name: name):
    """The scripted fixture with entries beside its own; `more` may repeat names."""
    def write(path, bait):
        with zipfile.ZipFile(SCRIPT) as old, zipfile.ZipFile(path, "w") as new:
            entries = [(rename(it.filename), old.read(it)) for it in old.infolist() if it.filename not in without]
            added = [(name, data.replace(b"BAIT", str(bait).encode())) for name, data in more]
            for name, data in (added + entries if first else entries + added):
                new.writestr(zipfile.ZipInfo(name), data)
    return write


def with_code(text, outside=""):
    """The scripted fixture with statements in every method, and definitions beside its class."""
    def write(path, bait):
        put = cost.code(text.replace("BAIT", str(bait)))
        def change(name, data):
            data = put(name, data)
            return data + outside.replace("BAIT", str(bait)).encode() if name.endswith("mangle_68.py") else data
        cost.rewritten(SCRIPT, change)(path)
    return write


def pickled(*instructions):
    def write(path, bait):
        where = str(bait).encode()
        path.write_bytes(b"\x80\x02" + b"".join(instructions).replace(b"BAIT", b"X" + len(where).to_bytes(4, "little") + where) + b".")
    return write


def in_archive(pickle, entry="m/data.pkl"):
    def write(path, bait):
        pickle(path, bait)
        data = path.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/version", "3\n")
            archive.writestr(entry, data)
    return write


def plain(content):
    return lambda path, bait: path.write_bytes(content.replace(b"BAIT", str(bait).encode()))


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value


RUN = b"import os\nos.system('touch BAIT')\n"
SETSTATE = b"class Evil(Module):\n  def __setstate__(self, state: Tensor) -> NoneType:\n    _0 = torch.save(state, \"BAIT\")\n    return None\n"
CALL = lambda module, name, argument=b"BAIT": b"c" + module + b"\n" + name + b"\n" + argument + b"\x85R"


def files():
    """Name, command, and how a file is written beside a bait."""
    inspect = cost.INSPECT
    # Code at load, by every name under which another reader would find it.
    for entry in ["model/code/__torch__/evil.py", "model/CODE/__torch__/evil.py", "model/Code/__torch__/evil.PY", "MODEL/code/__torch__/evil.py", "code/__torch__/evil.py",
                  "model/./code/__torch__/evil.py", "model//code/__torch__/evil.py", "model\\code\\__torch__\\evil.py", "model/code/../code/evil.py", "../evil.py", "/tmp/evil.py",
                  "model/code/__torch__/evil.py.debug_pkl", "model/extra/../code/evil.py", "model/code/__torch__/évil.py", "model/code/__torch__/evil.py\0.txt"]:
        yield f"TorchScript: code at {entry!r}", inspect, with_entries((entry, SETSTATE))
    for name in ["constants.pkl", "Constants.pkl", "data.pkl", "DATA.PKL", "version", "VERSION", "attributes.pkl", "model.json", "forward.pkl", "bytecode.pkl", "mobile_debug_handles.pkl"]:
        yield f"TorchScript: another {name}", inspect, with_entries((f"model/{name}", b"\x80\x02" + CALL(b"os", b"system", text(b"touch BAIT")) + b"."))
    yield "TorchScript: its own code twice", inspect, with_entries(("model/code/__torch__/___torch_mangle_68.py", SETSTATE), first=True)
    yield "TorchScript: data.pkl that calls os.system", inspect, with_entries(("model/data.pkl", b"\x80\x02" + CALL(b"os", b"system", text(b"touch BAIT")) + b"."), without=["model/data.pkl"])
    yield "TorchScript: a folder in its name", inspect, with_entries(rename=lambda name: "../" + name)
    for title, code in [
        ("writes by torch.save", '_e = torch.save(x, "BAIT")'), ("reads by from_file", '_e = torch.from_file("BAIT", False, 4)'), ("ops.aten.from_file", '_e = ops.aten.from_file("BAIT", False, 4)'),
        ("ops.aten.save", 'ops.aten.save(x, "BAIT")'), ("ops.prim.fork", "_e = ops.prim.fork(x)"), ("fork", "_e = fork(self.forward, x)"), ("awaitable", "_e = awaitable(self.forward, x)"),
        ("rpc", '_e = ops.prim.rpc_sync("w", x)'), ("a class of C++", '_e = __torch__.torch.classes.profiling.SourceStats("BAIT")'), ("ops.profiler", '_e = ops.profiler._record_function_enter("x")'),
        ("ops.inductor", "_e = ops.inductor._alloc_from_pool(x, 0, 6, [1], [1])"), ("ops.quantized", '_e = ops.quantized.linear_unpack(x)'), ("print", 'print("\\x1b[2J\\x1b]0;t\\x07", x)'),
        ("warn", 'torch.warn("\\x1b[2J", 2)'), ("raise", 'ops.prim.RaiseException("\\x1b[2J::error::planted")'), ("open", '_e = open("BAIT")'), ("eval", "_e = eval(\"1\")"), ("import", "import os"),
        ("__import__", '_e = __import__("os")'), ("an attribute of a function", "_e = torch.relu.__globals__"), ("a method of an attribute", "_e = (self.conv1).__setstate__(x)"),
        ("getattr", '_e = getattr(self, "__class__")'), ("a lambda", "_e = lambda: 1"), ("a comprehension", "_e = [i for i in range(3)]"), ("exec by decorator", "@torch.save\nx = x"),
        ("list.__class__", "_e = [].__class__"), ("an endless loop", "_c = True\nwhile _c:\n  _c = True"), ("a huge loop", "for _i in range(9223372036854775807):\n  pass"),
        ("loops in loops", "for _i in range(100000):\n  for _j in range(100000):\n    _k = _i"), ("a list in itself", "_l = annotate(List[int], [])\nwhile True:\n  _e = torch.append(_l, _l)"),
        ("out of bounds", "_l = [1]\n_e = _l[9223372036854775807]"), ("far below", "_l = [1]\n_e = _l[-9223372036854775808]"), ("division by zero", "_e = torch.floordiv(1, 0)"),
        ("overflow", "_e = torch.mul(9223372036854775807, 9223372036854775807)"), ("a negative size", "_e = torch.zeros([-1, 4])"), ("a huge size", "_e = torch.empty([9223372036854775807, 2])"),
        ("as_strided", "_e = torch.as_strided(x, [1000000], [1000000], 0)"), ("a view out of bounds", "_e = torch.view(x, [1, 1000000])"), ("deep brackets", "_e = " + "(" * 50_000 + "1" + ")" * 50_000),
        ("deep calls", "_e = " + "torch.relu(" * 50_000 + "x" + ")" * 50_000), ("deep attributes", "_e = self" + ".conv1" * 50_000), ("deep blocks", "\n".join(" " * at + "if True:" for at in range(3000)) + "\n" + " " * 3000 + "pass"),
        ("deep minus", "_e = " + "-" * 100_000 + "1"), ("a string that grows", '_t = "x"\nwhile True:\n  _t = torch.add(_t, _t)'), ("format that grows", '_t = "{}{}"\nwhile True:\n  _t = torch.format(_t, _t, _t)'),
        ("a long number", "_e = " + "9" * 100_000), ("nul bytes", "_e = \"\0\""), ("a long line", "_e = [" + "0, " * 500_000 + "]"),
    ]:
        yield f"TorchScript: {title}", inspect, with_code(code)
    yield "TorchScript: an interface call", inspect, with_code("_i : __torch__.Face = self.conv1\n_e = (_i).run(x, )", "\nclass Face(Interface):\n  def run(self, x: Tensor) -> Tensor:\n    _0 = torch.save(x, \"BAIT\")\n    return x\n")
    yield "TorchScript: a function that calls itself", inspect, with_code("_e = __torch__.again(x, )", "\ndef again(x: Tensor) -> Tensor:\n  return __torch__.again(x, )\n")
    yield "TorchScript: hooks", inspect, with_code("pass", "\n  __forward_hooks__ = [\"evil\", ]\n")
    # Pickles.
    for module, name in [(b"os", b"system"), (b"posix", b"system"), (b"builtins", b"eval"), (b"__builtin__", b"exec"), (b"subprocess", b"Popen"), (b"torch", b"load"), (b"torch.hub", b"load"),
                         (b"torch._utils", b"_import_dotted_name"), (b"numpy", b"load"), (b"numpy.f2py.crackfortran", b"getlincoef"), (b"torch.serialization", b"load"), (b"shutil", b"rmtree"), (b"runpy", b"run_path"), (b"pty", b"spawn")]:
        shown = f"{module.decode()}.{name.decode()}"
        yield f"pickle: {shown}", inspect, pickled(CALL(module, name))
        yield f"torch.save: {shown}", inspect, in_archive(pickled(CALL(module, name)))
        yield f"CIFAR batch: {shown}", cost.CURVE, batches(pickled(CALL(module, name)))
    yield "pickle: by STACK_GLOBAL", inspect, pickled(b"\x8c\x05posix\x8c\x06system\x93BAIT\x85R")
    yield "pickle: by INST", inspect, pickled(b"(BAITiposix\nsystem\n")
    yield "pickle: by OBJ", inspect, pickled(b"(cposix\nsystem\nBAITo")
    yield "pickle: by NEWOBJ_EX", inspect, pickled(b"cposix\nsystem\n)}\x92")
    yield "pickle: by an extension", inspect, pickled(b"\x82\x01")
    yield "pickle: by BUILD", inspect, in_archive(pickled(b"ccollections\nOrderedDict\n)R}X\x07\x00\x00\x00__set__BAITsb"))
    yield "pickle: a list in itself", inspect, in_archive(pickled(b"]q\x00h\x00a"))
    yield "pickle: a dictionary in itself", inspect, in_archive(pickled(b"}q\x00X\x01\x00\x00\x00ah\x00s"))
    yield "pickle: a length of 2^63", inspect, pickled(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f")
    yield "pickle: a memo of 2^32", inspect, pickled(b"Kar\xff\xff\xff\xff")
    yield "pickle: nested 100,000 deep", inspect, pickled(b"(" * 100_000 + b"l" * 100_000)
    storage = lambda key, elements: b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(key) + text(b"cpu") + b"\x8a\x08" + elements.to_bytes(8, "little") + b"tQ"
    tensor = lambda key, elements, shape, stride: b"}" + text(b"w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(key, elements) + b"K\x00" + b"\x8a\x08" + shape.to_bytes(8, "little") + b"\x85\x8a\x08" + stride.to_bytes(8, "little") + b"\x85\x89ccollections\nOrderedDict\n)RtRs"
    for title, key, elements, shape, stride in [("a path", b"../../../etc/passwd", 4, 4, 1), ("an absolute path", b"/etc/passwd", 4, 4, 1), ("a size of 2^62", b"0", 1 << 62, 1 << 62, 1),
                                                ("a stride of 2^62", b"0", 4, 4, 1 << 62), ("more elements than there are", b"0", 1 << 20, 1 << 20, 1), ("a stride of 0", b"0", 1, 1 << 40, 0)]:
        yield f"torch.save: a storage with {title}", inspect, in_archive(pickled(tensor(key, elements, shape, stride)))
    # Text formats and folders.
    yield "a plan that includes a file", cost.PLAN, plain(b"include = 'BAIT'\n")
    yield "a plan whose model is a device", cost.PLAN, plain(b"[model]\nfile = '/dev/zero'\n")
    yield "a plan that trusts", cost.PLAN, plain(b"[model]\nfile = 'BAIT'\ntrust_torchscript = true\n")
    yield "a plan with an attack of letters that are obeyed", cost.PLAN, plain("[[attack]]\nname = \"\\u001b[2J::error::\u202e\"\n".encode())
    yield "report.json: an attack called as a path", cost.REPORT, plain(b'{"schema_version":2,"attacks":[{"label":"../../BAIT"}]}')
    yield "report.json: nested 100,000 deep", cost.REPORT, plain(b'{"schema_version":2,"a":' + b"[" * 100_000)
    yield "run.jsonl: nested 100,000 deep", ["audit", "--resume"], lambda path, bait: cost.folder("run.jsonl", '{"event":' + "[" * 100_000)(path)
    yield "an image that is SVG with an entity", cost.CURVE, image(b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file://BAIT">]><svg>&x;</svg>')
    yield "images that are links to the bait", cost.CURVE, links
    yield "a list of classes", ["curve", "--samples", "16", "--progress", "none", "--data", str(FIXTURES), "--classes"], plain(b'{"a": 18446744073709551616}')
    # Zip bombs and lying archives.
    yield "zip: a bomb of code", inspect, lambda path, bait: cost.packed({"m/constants.pkl": b"\x80\x02).", "m/data.pkl": b"\x80\x02N.", "m/code/a.py": bytes(400 << 20)})(path)
    yield "zip: a bomb of weights", inspect, lambda path, bait: cost.packed({"m/data.pkl": b"\x80\x02" + tensor(b"0", 100 << 20, 100 << 20, 1) + b".", "m/data/0": bytes(400 << 20)})(path)
    yield "zip: a bomb of an image array", cost.CURVE, lambda path, bait: cost.npz([("x", "|u1", (500_000, 28, 28), 392_000_000), ("y", "|u1", (500_000,), 500_000)])(path)
    yield "zip: 65,000 entries", inspect, lambda path, bait: cost.packed({f"m/{at}": b"" for at in range(65_000)})(path)
    yield "safetensors: a header of 2^63", inspect, plain(b"\xff\xff\xff\xff\xff\xff\xff\x7f{}")
    yield "safetensors: nested 100,000 deep", inspect, plain((100_001).to_bytes(8, "little") + b"[" * 100_001)


def batches(batch):
    def write(path, bait):
        path.mkdir()
        for name in ["test_batch", "batches.meta"]:
            batch(path / name, bait)
    return write


def image(content):
    def write(path, bait):
        for label in "ab":
            (path / label).mkdir(parents=True)
            (path / label / "1.png").write_bytes(content.replace(b"BAIT", str(bait).encode()))
    return write


def links(path, bait):
    for label in "ab":
        (path / label).mkdir(parents=True)
        (path / label / "1.png").symlink_to(bait)


def opened(trace, advmod, path):
    """Calls of a trace that reach for what is none of the process's business."""
    libtorch = re.compile(r"\.so(\.|$)|/torch/lib")
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        call = re.search(r"\b(\w+)\((.*)\) += (-?\d+)", line)
        # A path alone is named to the kernel, as one of those that stay open to the process.
        if not call or "O_PATH" in call[2] or int(call[3]) < 0 and call[1] not in ("execve", "execveat", "socket", "connect"):
            continue
        named = re.findall(r'"((?:[^"\\]|\\.)*)"', call[2])
        if call[1] == "execve" and named[:1] == [str(advmod)]:
            continue
        if call[1] in ("openat", "openat2", "open") and named:
            where, is_written = named[0], re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call[2])
            mine = where.startswith(str(path)) or where == str(path.parent) or where.startswith(OWN) or libtorch.search(where) or not where.startswith("/")
            # What has no folder before it lies in the run's own, which is held open.
            is_own = where.startswith("/dev/") or not where.startswith("/")
            if mine and (is_own or not is_written) and BAIT not in where:
                continue
        found.append(f"{call[1]}({named[:1]})")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("advmod", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--slow", action="store_true")
    asked = parser.parse_args()
    limit = 50 if asked.slow else 5
    advmod, strace = asked.advmod.resolve(), shutil.which("strace")
    if strace is None:
        print("skipped: which files are opened: strace is not installed")
    broken = count = 0
    # Entries of one name are meant.
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        place = pathlib.Path(made)
        trace = place / "trace"
        for at, (name, command, write) in enumerate(files()):
            if asked.only not in name:
                continue
            # A folder for each: what lies beside a file belongs to it.
            path, bait = place / f"{at}" / "file", place / f"{BAIT}-{at}"
            path.parent.mkdir()
            bait.write_bytes(b"secret")
            write(path, bait)
            peak, seconds, code, said = cost.measured(advmod, command, path, place, limit * 2)
            calls = []
            if strace:
                words = [strace, "-f", "--seccomp-bpf", "-qq", "-o", trace, "-e", f"trace={CALLS}", advmod, *command, path]
                try:
                    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, cwd=place, timeout=limit * 10)
                    calls = opened(trace, advmod, path) + ["stdout"] * (bool(done.stdout) and done.returncode != 0)
                except subprocess.TimeoutExpired:
                    calls = ["strace: too slow"]
            lines = [line for line in said.splitlines() if not line.startswith("warning:")]
            raw = [letter for letter in said if (ord(letter) < 32 or 127 <= ord(letter) < 160 or letter in "\u202e\u2066") and letter != "\n"]
            # What nobody reads or obeys may lie in a file that opens.
            opens = code == 0 and not lines
            wrong = [word for word, is_so in [
                ("MEMORY", peak > MEMORY), ("SLOW", seconds > limit), ("PANIC", "panic" in said or "report this" in said), ("LINES", len(lines) != 1 and not opens), ("EXIT", code not in (2, 3) and not opens),
                ("RAW", bool(raw)), ("BEGINS", any(line.startswith("::") for line in lines)), ("BAIT", bait.read_bytes() != b"secret" or len([*place.glob(f"{BAIT}*")]) != 1),
                ("CALLS " + ", ".join(sorted(set(calls))[:3]), bool(calls)),
            ] if is_so]
            count, broken = count + 1, broken + bool(wrong)
            print(f"{name[:60]:60} {peak >> 20:4} MiB {seconds:5.1f} s  {code:3}  {' '.join(wrong)} {(lines or [''])[-1].replace(str(place), '')[:100]}", flush=True)
            bait.unlink()
            shutil.rmtree(path.parent)
    print(f"{count} files, {broken} of them break a rule")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
