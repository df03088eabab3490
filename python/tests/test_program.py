"""The program beside PyTorch: which one it needs, and what is said of another."""

import os
import subprocess
import sys

import advmod
import pytest
from advmod import _program
from conftest import ROOT


def run(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "ADVMOD_BINARY"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT / "python")])
    return subprocess.run([sys.executable, "-m", "advmod", *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("version", ["2.10.0", "2.13.1+cu130"])
def test_another_pytorch_gets_one_line(tmp_path, version):
    metadata = tmp_path / f"torch-{version.replace('+', '_')}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    done = run(tmp_path, "audit")
    assert done.returncode == 3 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    wanted = ".".join(advmod.TORCH.split(".")[:2])
    assert wanted in line and version.split("+")[0] in line and "pip install" in line


def test_the_program_is_the_command_line():
    program = os.environ.get("ADVMOD_BINARY")
    if program is None:
        pytest.skip("no program is built")
    out = subprocess.run([sys.executable, "-m", "advmod", "--version"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python")}, check=True)
    assert out.stdout == f"advmod {advmod.__version__}\n"


def test_the_last_error_is_the_message():
    err = "\x1b[2K embedded\r\nwarning: one\r\nerror: first line\r\n  caused by: another\r\n"
    assert _program.message(_program.Finished(3, "", err, False)) == "first line\n  caused by: another"
    assert "exit code 9" in _program.message(_program.Finished(9, "", "", False))


def test_an_interrupt_reaches_the_program_and_keeps_what_was_done(tmp_path):
    script = tmp_path / "slow.py"
    journal = tmp_path / "run" / "run.jsonl"
    script.write_text(
        f"""
import os, pathlib, signal, threading, time
from advmod import _program

def interrupt():
    journal = pathlib.Path({str(journal)!r})
    while not journal.exists() or '"attack_finished"' not in journal.read_text():
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
attacks = ["--attack", "fgsm", "--attack", "pgd:steps=100000", "--samples", "20", "--threads", "1"]
done = _program.run(["audit", *attacks, "--out", {str(journal.parent)!r}], False)
print(done.code, done.interrupted)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True, timeout=300)
    assert out.stdout.split() == ["130", "True"], out
    assert (journal.parent / "report.json").exists()
