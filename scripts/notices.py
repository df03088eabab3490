#!/usr/bin/env python3
"""Writes third-party/crates.txt: the notices of all crates that the program is made of, from `cargo metadata` and the files in the crates.

    scripts/notices.py [--check]

third-party/ also holds the notices of libtorch, copied from .libtorch/ where that has them, and of Fashion-MNIST. --check only says whether
the crates and the libtorch are those that the notices were made for (exit code 1 if not): it asks nobody, and takes no time.
"""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTICES = ROOT / "third-party"
CRATES, LIBTORCH = NOTICES / "crates.txt", NOTICES / "libtorch"
TARGET = "x86_64-unknown-linux-gnu"
# Files that hold what a licence wants to be passed on.
NAMED = re.compile(r"(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)


def state():
    """What the notices depend on: the locked crates, without those of this repository, and libtorch."""
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    crates = sorted(f"{it['name']} {it['version']} {it.get('checksum', '')}" for it in locked if "source" in it)
    libtorch = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["metadata"]["libtorch"]
    return hashlib.sha256("\n".join([*crates, libtorch]).encode()).hexdigest(), libtorch


def used(metadata):
    """Packages that are built into the program: neither for tests nor for building alone."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, open_ = set(), [metadata["resolve"]["root"]]
    while open_:
        at = open_.pop()
        if at not in found:
            found.add(at)
            open_ += [it["pkg"] for it in nodes[at]["deps"] if any(kind["kind"] is None for kind in it["dep_kinds"])]
    return [package for package in metadata["packages"] if package["id"] in found and package["source"]]


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and NAMED.search(path.name) and path.suffix not in (".rs", ".toml", ".json"))
    return ["\n".join(line.rstrip() for line in path.read_text(errors="replace").strip().splitlines()) for path in files]


def main():
    digest, version = state()
    first = f"Notices of the crates in Cargo.lock; state {digest}\n"
    if "--check" in sys.argv[1:]:
        if CRATES.exists() and CRATES.read_text().startswith(first):
            return 0
        print("the crates or libtorch have changed, third-party/ has not: run `make notices`, and look at what is new")
        return 1
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    packages = used(json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout))
    packages.sort(key=lambda it: (it["name"], it["version"]))
    named, without = {}, []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        found = texts(package)
        for text in found:
            named.setdefault(text, []).append(name)
        if not found:
            without.append(f"{name} ({package['license']}, {', '.join(package['authors']) or 'no authors named'})")
    parts = [first, f"{len(packages)} crates: name, version, licence, source\n"]
    parts += [f"{it['name']} {it['version']}: {it['license']}; {it['repository'] or it['homepage'] or 'no source named'}" for it in packages]
    if without:
        parts += ["\nWithout a file that holds their licence; it is the one named, in its usual words\n", *without]
    for text, owners in sorted(named.items(), key=lambda it: (-len(it[1]), it[1])):
        parts += ["\n" + "=" * 100, ", ".join(owners), "-" * 100, text]
    NOTICES.mkdir(exist_ok=True)
    CRATES.write_text("\n".join(parts) + "\n")
    print(f"{CRATES.relative_to(ROOT)}: {len(packages)} crates, {len(named)} texts, {len(without)} without one")
    kept = ROOT / f".libtorch/torch-{version}.dist-info/licenses"
    if kept.is_dir():
        shutil.copytree(kept, LIBTORCH, dirs_exist_ok=True)
    else:
        print(f"skipped: the notices of libtorch {version}: {kept.relative_to(ROOT)} is not there; third-party/libtorch stays as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
