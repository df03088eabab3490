#!/usr/bin/env python3
"""Reads back everything that a run wrote and says where files disagree with each other or with the schemas of their formats.

usage: check_formats.py RUN_DIR [--export DIR]... [--junit-xsd FILE]

RUN_DIR is the --out of an audit; each --export is the --output of `advmod export` of the same run. Needs numpy; jsonschema, lxml and Pillow
are used where they are installed. --junit-xsd is a JUnit schema such as junit-10.xsd of Jenkins' xUnit plugin. One line per problem on
stdout, exit code 1 if there is one.
"""

import argparse
import csv
import html.parser
import json
import struct
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DTYPES = {"F32": "<f4", "I64": "<i8", "U8": "u1", "BOOL": "?"}
problems = []


def check(holds, text):
    if not holds:
        problems.append(text)
        print(f"problem: {text}")


def skip(text):
    print(f"skipped: {text}")


def optional(name):
    try:
        return __import__(name)
    except ImportError:
        skip(f"what needs {name}, which is not installed")
        return None


def safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    found, end = {}, 0
    for name, info in sorted(header.items(), key=lambda it: it[1]["data_offsets"]):
        start, stop = info["data_offsets"]
        check(start == end, f"{path}: a hole before {name}")
        found[name] = np.frombuffer(data[8 + size + start : 8 + size + stop], DTYPES[info["dtype"]]).reshape(info["shape"])
        end = stop
    check(8 + size + end == len(data), f"{path}: bytes after the last tensor")
    return found


def guarded(path, work):
    """What a file is damaged enough for is a problem of the file."""
    try:
        return work(path)
    except OSError as error:
        check(False, f"{path}: {error.strerror or error}")
    except Exception as error:
        check(False, f"{path}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'damaged'}")
    return None


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    check(all(None not in row and None not in row.values() for row in found), f"{path}: rows of different lengths")
    return found


def number(text):
    return float(text) if text else None


def same(path, what, found, expected):
    near = found is None and expected is None
    if found is not None and expected is not None:
        near = abs(float(found) - float(expected)) <= 1e-12 * max(1.0, abs(float(expected)))
    check(near, f"{path}: {what} is {found}, report.json says {expected}")


def check_schema(jsonschema, path, value, schema):
    if jsonschema is None:
        return
    for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(value):
        check(False, f"{path}: {'/'.join(map(str, error.path))}: {error.message[:200]}")


def check_curves(path, report):
    curves = [("clean", "clean", "true", "true_labels", None), ("clean", "clean", "predicted", "predicted_labels", None)]
    expected = {}
    if report["clean"]["curves"]:
        for _, pixels, labels, key, _ in curves:
            expected["clean", pixels, labels] = (report["clean"]["curves"][key], None)
    for attack in report["attacks"]:
        if attack["curves"]:
            label, of = attack["attack"]["label"], attack["curves"]
            expected[label, "clean", "true"] = (of["clean"], None)
            expected[label, "adversarial", "true"] = (of["adversarial"], of["drops"])
            expected[label, "adversarial", "predicted"] = (of["adversarial_predicted"], None)
    found = rows(path)
    check(len(found) == sum(len(curve["taps"]) for curve, _ in expected.values()), f"{path}: {len(found)} rows")
    for row in found:
        curve, drops = expected[row["attack"], row["pixels"], row["labels"]]
        at = int(row["tap_index"])
        point = curve["taps"][at]
        interval, drop = point["interval"] or {}, (drops[at] if drops else None) or {}
        what = f"{row['attack']} {row['tap']}"
        check(row["tap"].removeprefix("'") == point["tap"].removeprefix("'"), f"{path}: tap {row['tap']}")
        pairs = [("n", curve["n"]), ("k", curve["k"]), ("q", point["q"]), ("q_null", point["null"])]
        pairs += [("q_null_sd", point.get("null_std_dev")), ("z", point.get("z"))]
        pairs += [("q_low_95", interval.get("low")), ("q_high_95", interval.get("high"))]
        pairs += [("q_drop", drop.get("estimate")), ("q_drop_low_95", drop.get("low")), ("q_drop_high_95", drop.get("high"))]
        for column, value in pairs:
            same(path, f"{column} of {what}", number(row[column]), value)


def check_samples(path, report):
    expected = {(attack["attack"]["label"], it["sample"]): it for attack in report["attacks"] for it in attack["samples"]}
    found = rows(path)
    check(len(found) == len(expected), f"{path}: {len(found)} rows for {len(expected)} results")
    for row in found:
        sample = int(row["sample"])
        it, what = expected[row["attack"], sample], f"{row['attack']} {sample}"
        pairs = [("index", report["data"]["indices"][sample]), ("label", report["data"]["labels"][sample])]
        pairs += [("clean_prediction", report["clean"]["predictions"][sample]), ("target", it["target"])]
        pairs += [("adversarial_prediction", it["prediction"]), ("l0_pixels", it["l0"]), ("l2", it["l2"]), ("linf", it["linf"])]
        pairs += [("forwards", it["forwards"]), ("backwards", it["backwards"])]
        for column, value in pairs:
            same(path, f"{column} of {what}", number(row[column]), value)
        check(row["success"] == str(it["success"]).lower(), f"{path}: success of {what}")


def check_rates(path, report):
    for attack in report["attacks"]:
        label, samples, rate = attack["attack"]["label"], attack["samples"], attack["success_rate"]
        broken = [it for it in samples if it["success"]]
        check((rate["count"], rate["of"]) == (len(broken), len(samples)), f"{path}: success rate of {label}")
        for norm in ["l2", "linf", "l0"]:
            if broken:
                same(path, f"mean {norm} of {label}", np.mean([it[norm] for it in broken]), attack[norm]["mean"])


def check_sarif(path, report, jsonschema):
    log = json.loads(path.read_bytes())
    schema = (ROOT / "fixtures/schemas/sarif-2.1.0.json").read_text().replace("{2}]?$", "{2}$")
    check_schema(jsonschema, path, log, json.loads(schema))
    failed = [gate["gate"]["id"] for gate in report["gates"] if gate["result"] != "pass"]
    found = [it["properties"]["gate"] for it in log["runs"][0]["results"] if "gate" in it["properties"]]
    check(found == failed, f"{path}: gates {found}, report.json says {failed}")


def check_junit(path, report, xsd, lxml):
    suites = list(ElementTree.parse(path).getroot())
    tags = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for suite in suites:
        cases = suite.findall("testcase")
        check(int(suite.get("tests")) == len(cases), f"{path}: tests of {suite.get('name')}")
        for count, tag in tags.items():
            n = sum(case.find(tag) is not None for case in cases)
            check(int(suite.get(count)) == n, f"{path}: {count} of {suite.get('name')}")
    cases = [case.get("classname") for suite in suites for case in suite.findall("testcase")]
    gates = sum(name.startswith("gate.") for name in cases)
    check(gates == len(report["gates"]), f"{path}: {gates} gates")
    check(cases.count("validity") == len(report["validity"]["checks"]), f"{path}: checks of the attacks")
    if xsd is None:
        return skip("the schema of report.junit.xml; name one with --junit-xsd")
    if lxml is not None:
        from lxml import etree

        schema = etree.XMLSchema(etree.parse(xsd))
        schema.validate(etree.parse(str(path)))
        for error in schema.error_log:
            check(False, f"{path}:{error.line}: {error.message}")


def check_journal(path, report):
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    start = next(event["start"] for event in events if event["event"] == "started")
    check(start["plan"]["seed"] == report["plan"]["seed"], f"{path}: seed")
    for at, attack in enumerate(report["attacks"]):
        judged = [it for event in events if event["event"] == "batch_attacked" and event["attack"] == at for it in event["samples"]]
        check(judged == attack["samples"], f"{path}: samples of {attack['attack']['label']}")


class Page(html.parser.HTMLParser):
    """Elements that are left open or closed twice, scripts, and what is fetched from elsewhere."""

    VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

    def __init__(self, path):
        super().__init__()
        self.path, self.open = path, []

    def handle_starttag(self, tag, attributes):
        check(tag != "script", f"{self.path}:{self.getpos()[0]}: a script")
        for name, value in attributes:
            local = (value or "").startswith(("#", "data:image/"))
            # Links are followed by the reader only.
            fetched = name == "src" or (name == "href" and tag != "a")
            check(local or not fetched, f"{self.path}:{self.getpos()[0]}: {name} = {(value or '')[:60]}")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        check(self.open and self.open[-1] == tag, f"{self.path}:{self.getpos()[0]}: </{tag}> in {self.open[-3:]}")
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def check_page(path):
    page = Page(path)
    page.feed(path.read_text("utf-8"))
    page.close()
    check(not page.open, f"{path}: {page.open} left open")


def check_distances(path, clean, pixels, results):
    """`clean` and `pixels` in [0, 1], row by row as `results`."""
    change = (pixels.astype(np.float64) - clean).reshape(len(results), pixels.shape[1], -1)
    measured = {
        "l2": np.sqrt((change**2).sum((1, 2))),
        "linf": np.abs(change).max((1, 2), initial=0.0),
        "l0": (change != 0).any(1).sum(1),
    }
    for norm, values in measured.items():
        stored = np.array([it[norm] for it in results])
        worst = np.abs(values - stored).max(initial=0.0)
        check(worst <= 1e-5, f"{path}: {norm} is up to {worst:.2e} off report.json")
    check(pixels.min(initial=0.0) >= 0 and pixels.max(initial=0.0) <= 1, f"{path}: pixels outside of [0, 1]")


def columns_fit(path, report, samples, found, names):
    data = report["data"]
    expected = {"indices": np.array(data["indices"])[samples], "labels": np.array(data["labels"])[samples]}
    for name, column in names.items():
        check(np.array_equal(found[column], expected[name]), f"{path}: {column}")


def check_pixels(run, report):
    """Clean images in [0, 1] (float64) by sample."""
    if not (run / "clean.safetensors").exists():
        check(not report["clean"]["predictions"], f"{run}: no clean.safetensors")
        return None
    path = run / "clean.safetensors"
    found = safetensors(path)
    check(list(found["pixels"].shape) == [len(report["data"]["labels"]), *report["data"]["shape"]], f"{path}: shape")
    columns_fit(path, report, found["samples"], found, {"indices": "indices", "labels": "labels"})
    check(list(found["predictions"]) == report["clean"]["predictions"], f"{path}: predictions")
    # As advmod makes f32 of 8 bits.
    clean = (found["pixels"].astype(np.float32) / np.float32(255)).astype(np.float64)
    for attack in report["attacks"]:
        path = run / "adversarial" / f"{attack['attack']['label']}.safetensors"
        if not path.exists():
            check(attack["status"] != "complete", f"{path}: is missing")
            continue
        found, results = safetensors(path), attack["samples"]
        check([it["sample"] for it in results] == list(found["samples"]), f"{path}: samples")
        check([it["prediction"] for it in results] == list(found["predictions"]), f"{path}: predictions")
        columns_fit(path, report, found["samples"], found, {"indices": "indices", "labels": "labels"})
        check_distances(path, clean[found["samples"]], found["pixels"], results)
    return clean


def check_array_export(path, run, report, clean, found):
    attack = next(it for it in report["attacks"] if it["attack"]["label"] == path.stem)
    results = {it["sample"]: it for it in attack["samples"]}
    samples = found["samples"]
    results = [results[sample] for sample in samples]
    columns_fit(path, report, samples, found, {"indices": "indices", "labels": "y"})
    check([it["prediction"] for it in results] == list(found["predictions"]), f"{path}: predictions")
    check([it["success"] for it in results] == list(found["success"].astype(bool)), f"{path}: success")
    check((found["x"].dtype, found["x_clean"].dtype) == (np.float32, np.uint8), f"{path}: types of x and x_clean")
    back = (found["x_clean"].astype(np.float32) / np.float32(255)).astype(np.float64)
    check(np.array_equal(back, clean[samples]), f"{path}: x_clean")
    kept = safetensors(run / "adversarial" / f"{path.stem}.safetensors")
    check(np.array_equal(found["x"], kept["pixels"]), f"{path}: x is not what the run kept")
    check_distances(path, back, found["x"], results)


def check_png_export(folder, run, report, clean):
    images = optional("PIL.Image")
    manifest = rows(folder / "manifest.csv")
    pngs = {str(it.relative_to(folder)) for it in folder.rglob("*.png")}
    check({row["file"].removeprefix("'") for row in manifest} == pngs, f"{folder}: manifest.csv and files differ")
    stored = {}
    for row in manifest:
        label, sample = row["attack"], int(row["sample"])
        if label not in stored:
            found = safetensors(run / "adversarial" / f"{label}.safetensors")
            results = next(it for it in report["attacks"] if it["attack"]["label"] == label)["samples"]
            stored[label] = (dict(zip(found["samples"], found["pixels"])), {it["sample"]: it for it in results})
        pixels, results = stored[label]
        it, what = results[sample], f"{label} {sample}"
        same(folder, f"prediction of {what}", row["prediction"], it["prediction"])
        check(row["success"] == str(it["success"]).lower(), f"{folder}: success of {what}")
        if "prediction_8bit" in row:
            goal = int(row["prediction_8bit"]) == it["target"] if it["target"] is not None else row["prediction_8bit"] != row["label"]
            check(row["success_8bit"] == str(goal).lower(), f"{folder}: success_8bit of {what}")
        rounded = np.floor(pixels[sample] * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        change = np.abs(rounded / 255 - np.round(clean[sample] * 255) / 255)
        same(folder, f"linf_8bit of {what}", round(float(row["linf_8bit"]), 9), round(change.max(), 9))
        same(folder, f"l2_8bit of {what}", round(float(row["l2_8bit"]), 9), round(np.sqrt((change**2).sum()), 9))
        if images is not None:
            from PIL import Image

            shown = np.asarray(Image.open(folder / row["file"].removeprefix("'")))
            shown = shown[None] if shown.ndim == 2 else shown.transpose(2, 0, 1)
            check(np.array_equal(shown, rounded), f"{folder}: pixels of {row['file']}")


def check_export(folder, run, report, clean):
    arrays = [(it, np.load(it, allow_pickle=False)) for it in sorted(folder.glob("*.npz"))]
    arrays += [(it, safetensors(it)) for it in sorted(folder.glob("*.safetensors"))]
    for path, found in arrays:
        check_array_export(path, run, report, clean, found)
    if (folder / "manifest.csv").exists():
        check_png_export(folder, run, report, clean)
    elif not arrays:
        check(False, f"{folder}: no export")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--export", type=Path, action="append", default=[])
    parser.add_argument("--junit-xsd")
    arguments = parser.parse_args()
    run = arguments.run
    jsonschema, lxml = optional("jsonschema"), optional("lxml")
    report = guarded(run / "report.json", lambda path: json.loads(path.read_bytes()))
    if report is not None:
        schema = json.loads((ROOT / "docs/report.schema.json").read_bytes())
        guarded(run / "report.json", lambda path: check_schema(jsonschema, path, report, schema))
        guarded(run / "report.json", lambda path: check_rates(path, report))
        guarded(run / "curves.csv", lambda path: check_curves(path, report))
        guarded(run / "samples.csv", lambda path: check_samples(path, report))
        guarded(run / "report.sarif", lambda path: check_sarif(path, report, jsonschema))
        guarded(run / "report.junit.xml", lambda path: check_junit(path, report, arguments.junit_xsd, lxml))
        guarded(run / "run.jsonl", lambda path: check_journal(path, report))
        guarded(run / "report.md", lambda path: path.read_text("utf-8"))
        guarded(run / "report.html", check_page)
        clean = guarded(run, lambda run: check_pixels(run, report))
        if clean is None:
            skip("the exports, which need the run's clean images")
        for folder in arguments.export if clean is not None else []:
            guarded(folder, lambda folder: check_export(folder, run, report, clean))
    print(f"{len(problems)} problems in {run}" + "".join(f", {it}" for it in arguments.export))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
