#!/usr/bin/env python3
"""Install the libtorch that advmod builds against into .libtorch/, from the torch wheel on PyPI.

Every wheel is compared with the hashes in scripts/libtorch.txt before anything in it is used, and so is the pip that fetches them.
Nothing is done when LIBTORCH points at an installation of the right version, or when .libtorch/ already holds it.
The wheels are downloaded into .libtorch-download/ (a broken connection is taken up again; finished wheels are kept when interrupted),
unpacked beside it and moved into place in one rename: .libtorch/ is complete or absent.
Without an NVIDIA GPU only libtorch itself and the two small CUDA libraries that it links are fetched;
with one (or with --cuda), everything that the CUDA backend needs.
"""
import argparse
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
INSTALLED = ROOT / ".libtorch"
WORK = ROOT / ".libtorch-download"
# Names that libtorch_cpu.so links even where there is no GPU.
CPU_WHEELS = ["nvidia-cuda-runtime", "nvidia-cuda-cupti", "torch"]
# Only these parts of the wheels are unpacked; Python bindings are not needed. With torch's come its notices (scripts/notices.py).
KEEP = ("torch/lib/", "torch/include/", "nvidia/")
NOTICES = re.compile(r"torch-[^/]*\.dist-info/licenses/")
CUDA_ONLY = ("libtorch_cuda", "libc10_cuda", "libtorch_nvshmem")


def fail(message):
    sys.exit(f"fetch-libtorch: {message}")


def wanted_version():
    """The version is written once, in Cargo.toml, next to the tch version that it belongs to."""
    for line in (ROOT / "Cargo.toml").read_text().splitlines():
        if line.startswith("libtorch = "):
            return line.split('"')[1]
    fail('Cargo.toml has no line `libtorch = "..."` under [workspace.metadata]')


def version_of(libtorch):
    try:
        return (libtorch / "build-version").read_text().strip().split("+")[0]
    except OSError:
        return None


def has_gpu():
    return any(pathlib.Path("/dev").glob("nvidia[0-9]*"))


def run(*command):
    result = subprocess.run(command, stdout=sys.stderr)
    if result.returncode != 0:
        fail(f"{' '.join(map(str, command))} failed (exit {result.returncode}); run the command again to go on")


def wanted_wheels(version, cuda):
    """The requirements of scripts/libtorch.txt, each with its hashes, by name."""
    listed = (ROOT / "scripts" / "libtorch.txt").read_text()
    wanted = {entry.split("==")[0]: entry for entry in re.split(r"\n(?=[a-z])", listed)[1:]}
    if not wanted.get("torch", "").startswith(f"torch=={version} "):
        fail(f"scripts/libtorch.txt does not list torch {version}, which Cargo.toml names; make it again as its first lines say")
    return [wanted[name] for name in (wanted if cuda else CPU_WHEELS)]


def download(version, cuda):
    wheels = WORK / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    python = WORK / "venv" / "bin" / "python"
    if not (WORK / "venv" / "ready").exists():
        try:
            venv.create(WORK / "venv", clear=True, with_pip=True)
        except subprocess.CalledProcessError as error:
            fail(f"cannot make a Python environment: {error}; install Python's venv (Debian: python3-venv)")
        pinned = ROOT / "scripts" / "pip.txt"
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "--upgrade", "-r", pinned)
        (WORK / "venv" / "ready").touch()
    # One call each: pip keeps what it has only when a call ends, and a second run skips what is kept.
    for number, requirement in enumerate(wanted_wheels(version, cuda)):
        listed = WORK / f"wheel-{number}.txt"
        listed.write_text(requirement + "\n")
        run(
            python, "-m", "pip", "download", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps", "--require-hashes",
            "--resume-retries", "20", "-d", wheels, "-r", listed,
        )
    return sorted(wheels.glob("*.whl"))


def unpack(wheels, cuda, target):
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                file = name.rsplit("/", 1)[-1]
                if not (name.startswith(KEEP) or NOTICES.match(name)) or file.startswith("libtorch_python"):
                    continue
                # The linker would want the libraries that libtorch_cuda needs; without a GPU they are not there.
                if not cuda and file.startswith(CUDA_ONLY):
                    continue
                archive.extract(name, target)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuda", action="store_true", help="fetch the CUDA libraries even if no GPU is seen")
    arguments = parser.parse_args()
    version = wanted_version()

    own = os.environ.get("LIBTORCH")
    if own:
        found = version_of(pathlib.Path(own))
        if found not in (None, version):
            fail(f"LIBTORCH={own} holds libtorch {found}, advmod needs {version}; unset it or point it elsewhere")
        if not (pathlib.Path(own) / "lib").is_dir():
            fail(f"LIBTORCH={own} has no lib folder; unset it or point it at a libtorch {version}")
        return

    cuda = arguments.cuda or has_gpu()
    flavour = f"{version}+{'cuda' if cuda else 'cpu'}"
    installed = version_of(INSTALLED / "torch")
    has_cuda = (INSTALLED / "torch" / "lib" / "libtorch_cuda.so").exists()
    if installed == version and (has_cuda or not cuda):
        return

    WORK.mkdir(exist_ok=True)
    with open(WORK / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail("another run is installing libtorch; wait for it and start again")
        print(f"fetch-libtorch: installing libtorch {flavour} into .libtorch (once)", file=sys.stderr)
        partial = WORK / "unpacked"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            unpack(download(version, cuda), cuda, partial)
            (partial / "torch" / "build-version").write_text(flavour + "\n")
        except (OSError, zipfile.BadZipFile) as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, zipfile.BadZipFile):
                shutil.rmtree(WORK / "wheels", ignore_errors=True)
            fail(f"cannot unpack libtorch: {error}; make room (3 GB) or check the network, and run again")
        shutil.rmtree(INSTALLED, ignore_errors=True)
        partial.rename(INSTALLED)
    shutil.rmtree(WORK)


if __name__ == "__main__":
    main()
