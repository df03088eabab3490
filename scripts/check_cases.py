#!/usr/bin/env python3
"""Run advmod on the inputs that a folder of cases holds, and compare how it takes them with what a user should get.

usage: check_cases.py OUT [ADVMOD] [CASE ...]

OUT is the folder that `make.py OUT` filled (cases that are not in it are skipped). Prints a line per input: the case, what is expected, and what
came. Ends with 1 where something else came. Not a part of `make test`: the inputs need PyTorch.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

PROGRAM = "target/debug/advmod"
OK, LIMITED = (0, 4), ("limited", "failed")


class Case:
    """An input: flags, and what must hold of the exit code, the report, and what is said."""

    def __init__(self, name, flags, expected, check):
        self.name, self.flags, self.expected, self.check = name, flags, expected, check


class Result:
    def __init__(self, code, text, report):
        self.code, self.text, self.report = code, text, report

    @property
    def verdict(self):
        return self.report and self.report["validity"]["verdict"]

    @property
    def accuracy(self):
        return self.report and (self.report["clean"]["accuracy"] or {}).get("value")

    @property
    def success(self):
        rates = [it["success_rate"]["value"] for it in (self.report or {"attacks": []})["attacks"]]
        return min((rate for rate in rates if rate is not None), default=None)

    def is_error(self):
        return self.code == 3 and self.report is None

    def says(self, *words):
        return all(word.lower() in self.text.lower() for word in words)

    def __str__(self):
        if self.report is None:
            lines = self.text.strip().splitlines()
            return f"exit {self.code}: {(lines or ['nothing'])[-1][:150]}"
        show = lambda value: "–" if value is None else f"{100 * value:.0f} %"
        return f"exit {self.code}, {self.verdict}, clean {show(self.accuracy)}, success {show(self.success)}"


def right(result):
    """Audited, with the right labels."""
    return result.code in OK and result.accuracy is not None and result.accuracy >= 0.9


def broken(result):
    return right(result) and result.success >= 0.98


def refused(*words):
    return lambda result: result.is_error() and result.says(*words)


def noted(*words, least=0.9):
    return lambda result: result.code in OK and result.accuracy >= least and result.says(*words)


def not_valid(*words):
    """No gate that claims robustness can pass."""
    return lambda result: result.is_error() or (result.verdict in LIMITED and result.says(*words))


def either(*checks):
    return lambda result: any(check(result) for check in checks)


def outputs(out):
    """Unusual outputs: nothing that is broken under another loss or attack is called robust."""
    special = {
        "batch": ("", right),
        "dict": ("its logits are attacked", either(broken, refused())),
        "tuple": ("its logits are attacked", either(broken, refused())),
    }
    for name in sorted(os.listdir(f"{out}/outputs")):
        kind = name.split("_script")[0].split(".")[0]
        expected, check = special.get(kind, ("broken, refused, or not valid", either(broken, not_valid())))
        yield Case(f"outputs/{name}", [f"outputs/{name}", "base.npz"], expected, check)


def folders(out):
    base, twelve = "base.pt2", "folders/twelve.pt2"
    wanted = {
        "plain": (base, "right labels", right),
        "apple_double": (base, "._ files are skipped", right),
        "macosx_folder": (base, "__MACOSX is no class", noted("no classes", "__MACOSX")),
        "macosx_lower": (base, "__MACOSX is no class", noted("no classes", "__MACOSX")),
        "checkpoints_folder": (base, "hidden folders are skipped", right),
        "thumbs": (base, "what is left out is named", noted(".db")),
        "empty_class_in_front": (base, "the empty folder is named", noted("no classes", "aaa_empty")),
        "empty_class_in_the_middle": (base, "9 folders and 10 outputs, not valid", not_valid("9 folders", "10 outputs", "another order")),
        "class_missing": (base, "9 folders and 10 outputs, not valid", not_valid("9 folders", "10 outputs", "another order")),
        "numbers": (twelve, "2 before 10", right),
        "numbers_padded": (twelve, "right labels", right),
        "numbers_from_1": (base, "right labels", right),
        "subset_of_twelve": (twelve, "3 folders and 12 outputs", lambda it: it.says("3 folders", "12 outputs")),
        "subset_right_pictures": (twelve, "numbers are the classes", noted("3 folders", "12 outputs")),
        "all_bmp": (base, "the kind is named", refused(".bmp")),
        "one_bit": (base, "grey for colour is said", lambda it: it.says("grey")),
        "grey8": (base, "grey for colour is said", lambda it: it.says("grey")),
        "grey16": (base, "grey for colour is said", lambda it: it.says("grey")),
        "corrupt": (base, "the file is named", refused("img003.png")),
        "zero_bytes": (base, "the file is named", refused("img003.png")),
        "html_as_jpg": (base, "the file is named", refused("img999.jpg")),
        "broken_link": (base, "the file is named", refused("img999.png")),
        "odd_size": (base, "the file is named", refused("img999.png")),
        "flat_images": (base, "refused", refused("folder")),
        "unicode": (base, "right labels", right),
        "tiny_imagenet": (base, "right labels, refused, or failed", either(right, not_valid())),
        "exif_rotated": (base, "turned, or said", lambda it: it.code in OK or it.is_error()),
        "cmyk": (base, "right labels, or refused", either(right, refused())),
    }
    for kind in ("bmp", "webp", "tif", "gif", "ppm"):
        wanted[f"mixed_{kind}"] = (base, "left out are 30 files, named", noted("30 file", f".{kind}"))
    for name in sorted(os.listdir(f"{out}/folders")):
        if os.path.isdir(f"{out}/folders/{name}") and name != "linked_class_9":
            junk = (base, "no class of it", noted("no classes")) if name.startswith("junk_") else (base, "right labels", right)
            model, expected, check = wanted.get(name, junk)
            yield Case(f"folders/{name}", [model, f"folders/{name}"], expected, check)


def binary(_):
    yield Case("binary/two", ["binary/two.pt2", "binary/two.npz"], "audited", right)
    for name in ("binary", "binaryflat"):
        for end in (".pt2", "_script.pt"):
            yield Case(f"binary/{name}{end}", [f"binary/{name}{end}", "binary/two.npz"], "two classes, or refused", either(right, refused()))


def numbers(out):
    for name in sorted(os.listdir(f"{out}/nan")):
        expected, check = {
            "one_class.npz": ("failed", lambda it: it.verdict == "failed"),
            "same.npz": ("not valid", not_valid()),
            "black.npz": ("not valid", not_valid()),
            "twice.npz": ("copies are left out", noted("copies")),
        }.get(name, ("audited", right))
        yield Case(f"nan/{name}", ["base.pt2", f"nan/{name}"], expected, check)
    for name in ("normed.pt2", "unitinput.pt2"):
        for data in ("border.npz", "one_constant.npz"):
            if os.path.exists(f"{out}/outputs/{name}"):
                yield Case(f"nan/{name} on {data}", [f"outputs/{name}", f"nan/{data}"], "audited or not valid", either(right, not_valid()))


def batches(out):
    for name in sorted(os.listdir(f"{out}/batch_dependence")):
        is_sound = name.startswith("eval_")
        expected, check = ("valid model", right) if is_sound else ("failed, or refused", either(lambda it: it.verdict == "failed", refused()))
        yield Case(f"batch_dependence/{name}", [f"batch_dependence/{name}", "base.npz"], expected, check)


def opens(folder, expected, check, inspect=True):
    def cases(out):
        for name in sorted(os.listdir(f"{out}/{folder}")):
            if not name.startswith("data_"):
                yield Case(f"{folder}/{name}", ["inspect", f"{folder}/{name}"] if inspect else [f"{folder}/{name}", "base.npz"], expected, check)
    return cases


def arrays(out):
    for name in sorted(os.listdir(f"{out}/npz")):
        if name.endswith((".npz", ".npy")):
            # The network was made for colour, so that grey images are told of, whatever it says of them.
            grey = name.startswith("grey_")
            expected, check = ("grey for colour is said", lambda it: it.says("grey")) if grey else ("read as meant, or refused", either(right, refused()))
            yield Case(f"npz/{name}", ["base.pt2", f"npz/{name}"], expected, check)


def large(_):
    for classes in (10, 1000):
        yield Case(f"large/{classes}", [f"large/tiny224_{classes}_script.pt", "large/ten.npz", "--input-size", "224"], "audited", right)


def named(out):
    """A network that `advmod train` made of the folder, so that its file names the classes."""
    folder = tempfile.mkdtemp()
    for part in ("train", "test"):
        os.symlink(os.path.abspath(f"{out}/named/all"), f"{folder}/{part}")
    model = f"{folder}/model.safetensors"
    train = [PROGRAM, "train", "--data", folder, "--arch", "resnet8/4", "--epochs", "12", "--batch", "20", "--lr", "0.05", "--normalize", "none",
             "--threads", "1", "--progress", "none", "--out", model]
    done = subprocess.run(train, capture_output=True, text=True)
    if done.returncode:
        print(f"WRONG named: the network was not trained: {done.stderr.strip()}")
        return
    # It is trained for a moment only: labels in another order would leave it less than a fifth.
    yield Case("named/all", [model, "named/all"], "right labels", noted(least=0.3))
    yield Case("named/one_missing", [model, "named/one_missing"], "matched by name", noted("9 folders", "class_4", least=0.3))
    yield Case("named/one_more", [model, "named/one_more"], "refused, the folder named", refused("class_35"))


def base(_):
    for model in ("base.pt2", "base_script.pt"):
        yield Case(model, [model, "base.npz"], "PGD breaks 98 %", broken)


CASES = {
    "base": base,
    "outputs": outputs,
    "binary": binary,
    "nan": numbers,
    "batch_dependence": batches,
    "checkpoints": opens("checkpoints", "opens, or an error with advice", lambda it: it.code == 0 or (it.code == 3 and it.text.strip())),
    "heads": opens("heads", "refused, both named", lambda it: it.code == 3 and (it.says(" and ", "are both") or it.says("no place for"))),
    "npz": arrays,
    "folders": folders,
    "exports": opens("exports", "opens, or the true reason", lambda it: it.code == 0 or (it.code == 3 and it.text.strip())),
    "large": large,
    "named": named,
    "reused": opens("reused", "opens", lambda it: it.code == 0),
}


def run(program, out, case):
    with tempfile.TemporaryDirectory() as folder:
        report = f"{folder}/report.json"
        at = lambda path: os.path.join(out, path)
        if case.flags[0] == "inspect":
            command = [program, "inspect", "--model", at(case.flags[1])]
        else:
            model, data, *more = case.flags
            command = [program, "audit", "--model", at(model), "--data", at(data), "--attack", "pgd:eps=4/255,steps=10", "--samples", "60",
                       "--threads", "1", "--progress", "none", "-o", report, *more]
            if data.startswith(("folders", "named")) or "ten.npz" in data:
                # As many as there are.
                del command[command.index("--samples"):command.index("--samples") + 2]
            if model.endswith("_script.pt") and "--input-size" not in more:
                command += ["--input-size", "16"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            return Result(124, "more than ten minutes", None)
        stored = json.load(open(report)) if os.path.exists(report) else None
        text = re.sub(r"\s+", " ", done.stdout) + "\n" + done.stderr
        return Result(done.returncode, text, stored)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    out = sys.argv[1]
    rest = sys.argv[2:]
    global PROGRAM
    PROGRAM = rest.pop(0) if rest and rest[0] not in CASES else PROGRAM
    wrong = 0
    for name, cases in CASES.items():
        if (rest and name not in rest) or not os.path.exists(f"{out}/{'base.pt2' if name == 'base' else name}"):
            continue
        for case in cases(out):
            result = run(PROGRAM, out, case)
            is_right = bool(case.check(result))
            wrong += not is_right
            print(f"{'ok   ' if is_right else 'WRONG'} {case.name}: expected {case.expected}; got {result}", flush=True)
    print(f"{wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
