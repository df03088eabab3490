"""Checks a wheel: python3 scripts/check_wheel.py WHEEL [--install FOLDER]

Its size, that no part of libtorch is inside, where the program looks for libtorch, and that its tag is no older than the symbols that it needs
(auditwheel). With --install, a new virtual environment in FOLDER gets the wheel and the PyTorch that it asks for (gigabytes), and the command line and
an audit in memory are run there.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import zipfile

LARGEST = 25 * 2**20
IN_MEMORY = """
import torch, advmod
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3))
images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
with torch.no_grad():
    labels = model(images / 255).argmax(1)
result = advmod.audit(model, (images, labels), attacks="fgsm", eps=0.1, progress=False)
assert result.accuracy == 1, result
print(result)
"""


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("--install", type=pathlib.Path)
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    size = wheel.stat().st_size
    assert size <= LARGEST, f"{wheel.name} has {size / 2**20:.1f} MiB"
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        foreign = [name for name in names if ".so" in name or "libtorch" in name or "libc10" in name]
        assert not foreign, foreign
        dynamic = run("readelf", "--dynamic", archive.extract("advmod/bin/advmod", folder))
    paths = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "RUNPATH" in line or "RPATH" in line]
    assert paths and all(part.startswith("$ORIGIN/") for path in paths for part in path.split(":")), paths
    symbols = run("auditwheel", "show", wheel)
    tag = wheel.stem.split("-")[-1]
    assert f'platform tag to "{tag}"' in " ".join(symbols.split()), symbols
    print(f"{wheel.name}: {size / 2**20:.1f} MiB, RUNPATH {paths[0]}, symbols of {tag}")
    if arguments.install:
        run(sys.executable, "-m", "venv", "--clear", arguments.install)
        programs = arguments.install.resolve() / "bin"
        run(programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(pathlib.Path.home())}
        print(run(programs / "advmod", "audit", "--attacks", "fgsm", cwd="/", env=bare))
        print(run(programs / "python", "-c", IN_MEMORY, cwd="/", env=bare))


if __name__ == "__main__":
    main()
