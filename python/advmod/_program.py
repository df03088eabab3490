"""The program: where it is, which PyTorch it needs, and how it is run."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple

from ._errors import AdvmodError

PACKAGE = pathlib.Path(__file__).resolve().parent


def _build() -> tuple[str, str]:
    """The versions of advmod and of the PyTorch that it is linked with: written beside this file when a wheel is built, else Cargo.toml's."""
    try:
        from . import _build as build

        return build.VERSION, build.TORCH
    except ImportError:
        manifest = (PACKAGE.parents[1] / "Cargo.toml").read_text()
        version, torch = (re.search(rf'^{key} = "([^"]+)"', manifest, re.MULTILINE) for key in ("version", "libtorch"))
        assert version and torch, "Cargo.toml has the versions"
        return version[1], torch[1]


VERSION, TORCH = _build()


def mismatch() -> str | None:
    """Why the installed PyTorch is not the one that the program is linked with, in one line."""
    wanted = ".".join(TORCH.split(".")[:2])
    cure = f"install it with: pip install 'torch=={wanted}.*'"
    try:
        found = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return f"advmod {VERSION} needs PyTorch {wanted}, which is not installed; {cure}"
    if found.split(".")[:2] != wanted.split("."):
        return f"advmod {VERSION} needs PyTorch {wanted}, and {found.split('+')[0]} is installed; {cure}"
    return None


def path() -> pathlib.Path:
    """The program. ``ADVMOD_BINARY`` names another one, for instance one that was just built."""
    named = os.environ.get("ADVMOD_BINARY")
    if named:
        return pathlib.Path(named)
    packaged = PACKAGE / "bin" / "advmod"
    if packaged.exists():
        return packaged
    raise AdvmodError("this copy of the package has no program in it; install a wheel, or name the program with ADVMOD_BINARY")


def checked_path() -> pathlib.Path:
    """The program, once it is clear that it can start."""
    if "ADVMOD_BINARY" not in os.environ and (reason := mismatch()):
        raise AdvmodError(reason, 3)
    return path()


def main() -> None:
    """The command line: this process becomes the program."""
    try:
        program = checked_path()
        os.execv(program, ["advmod", *sys.argv[1:]])
    except (AdvmodError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)


class Finished(NamedTuple):
    """How a run of the program ended."""

    code: int
    out: str
    err: str
    interrupted: bool


def run(arguments: Sequence[str], progress: bool | None) -> Finished:
    """Runs the program. Its progress is shown as it comes: as bars on a terminal, as one line in a notebook, else as lines; None where the
    command has none.

    Ctrl-C is passed on once; the program then finishes what it has in work and writes what it has.
    """
    program = checked_path()
    show = _display() if progress else None
    on_terminal = show is not None and sys.stderr.isatty() and os.name == "posix"
    command = [str(program), *arguments]
    if progress is not None:
        command += ["--progress", "bar" if on_terminal else "plain" if show else "none"]
    if on_terminal:
        # Bars want a terminal; one of our own lets us read along.
        import pty

        reader, writer = pty.openpty()
        _copy_size(writer)
    else:
        reader, writer = os.pipe()
    # A group of its own: a Ctrl-C of the terminal reaches this process alone, which passes it on.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, stdin=subprocess.DEVNULL, start_new_session=True)
    os.close(writer)
    errors: list[str] = []
    threads = [threading.Thread(target=_follow, args=(reader, errors, show), daemon=True)]
    out: list[str] = []
    assert process.stdout is not None
    threads.append(threading.Thread(target=_drain, args=(process.stdout, out), daemon=True))
    for thread in threads:
        thread.start()
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT if not interrupted else signal.SIGKILL)
            interrupted = True
    for thread in threads:
        thread.join()
    return Finished(code, "".join(out), "".join(errors), interrupted)


def message(finished: Finished) -> str:
    """The program's error, without its progress."""
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", finished.err).replace("\r", "\n").split("\n")
    starts = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    text = "\n".join(line.rstrip() for line in lines[starts[-1] :] if line.strip()) if starts else ""
    return text.removeprefix("error: ") or f"advmod ended with exit code {finished.code}"


def _drain(stream: IO[bytes], into: list[str]) -> None:
    with stream:
        into.append(stream.read().decode(errors="replace"))


def _follow(reader: int, into: list[str], show: Callable[[str], None] | None) -> None:
    while True:
        try:
            chunk = os.read(reader, 65536)
        except OSError:  # a terminal whose other end is closed
            break
        if not chunk:
            break
        text = chunk.decode(errors="replace")
        into.append(text)
        if show:
            show(text)
    os.close(reader)


def _copy_size(terminal: int) -> None:
    import fcntl
    import termios

    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        pass


def _display() -> Callable[[str], None]:
    """How progress is shown here."""
    shell = sys.modules.get("IPython")
    instance = shell.get_ipython() if shell else None
    if instance is not None and type(instance).__name__ == "ZMQInteractiveShell":
        from IPython.display import display

        handle = display({"text/plain": "advmod …"}, raw=True, display_id=True)

        def in_notebook(text: str) -> None:
            lines = [line for line in text.splitlines() if line.strip()]
            if lines:
                handle.update({"text/plain": lines[-1]}, raw=True)

        return in_notebook

    def on_stderr(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    return on_stderr
