"""The wheel: the package with the program in it, linked with the PyTorch that is installed beside it."""

import os
import pathlib
import re
import shutil
import subprocess
import sysconfig

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parent
MANIFEST = (ROOT / "Cargo.toml").read_text()
VERSION, TORCH = (re.search(rf'^{key} = "([^"]+)"', MANIFEST, re.MULTILINE)[1] for key in ("version", "libtorch"))
#: Below site-packages: advmod/bin/advmod beside torch/lib. torch's libraries find NVIDIA's by themselves.
RUNPATH = "$ORIGIN/../../torch/lib"


def program() -> pathlib.Path:
    """The built program: the one that ADVMOD_BINARY names, or a release build."""
    if named := os.environ.get("ADVMOD_BINARY"):
        return pathlib.Path(named)
    subprocess.run(["make", "build"], cwd=ROOT, check=True)
    return ROOT / "target/release/advmod"


class BuildWithProgram(build_py):
    def run(self):
        super().run()
        package = pathlib.Path(self.build_lib) / "advmod"
        (package / "_build.py").write_text(f'"""Written by setup.py."""\n\nVERSION = "{VERSION}"\nTORCH = "{TORCH}"\n')
        target = package / "bin" / "advmod"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program(), target)
        subprocess.run(["strip", "--strip-all", target], check=True)
        subprocess.run(["patchelf", "--set-rpath", RUNPATH, target], check=True)
        target.chmod(0o755)


class PlatformWheel(bdist_wheel):
    """For any Python 3, on one platform. glibc 2.34 is the newest that the program asks for; `make wheel` has auditwheel check it."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", sysconfig.get_platform().replace("-", "_").replace(".", "_").replace("linux_", "manylinux_2_34_")


class WithProgram(Distribution):
    def has_ext_modules(self):
        return True


setup(
    version=VERSION,
    install_requires=[f"torch=={'.'.join(TORCH.split('.')[:2])}.*"],
    cmdclass={"build_py": BuildWithProgram, "bdist_wheel": PlatformWheel},
    distclass=WithProgram,
)
