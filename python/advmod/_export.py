"""A module of the caller's as a file that the program reads. The module itself is not touched."""

from __future__ import annotations

import copy
import linecache
import pathlib
import re
import traceback
import warnings
from typing import TYPE_CHECKING, NamedTuple

from ._errors import ExportError
from ._program import PACKAGE

if TYPE_CHECKING:
    import torch

#: Largest difference between the module's logits and those of its export, relative to the largest logit.
TOLERANCE = 1e-4


class Saved(NamedTuple):
    """An exported module: its file, and how it was made (``torch.export`` or ``torch.jit.trace``, with the reason)."""

    path: pathlib.Path
    how: str


def save(module: torch.nn.Module, images: torch.Tensor, folder: pathlib.Path) -> Saved:
    """Exports a copy of ``module`` in evaluation mode. ``images`` are float [N, C, H, W], at least one, as the module takes them.

    ``torch.export`` first; where it fails, ``torch.jit.trace``, unless the trace would leave out a decision that depends on the images. What was
    written is run beside the module on ``images`` and must agree.
    """
    import torch

    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        raise ExportError(f"the module cannot be copied ({_line(error)}); export it yourself and give its file") from error
    with torch.random.fork_rng(devices=[]):
        copied = copied.to("cpu").eval()
        example = torch.cat([images, images])[:2] if len(images) < 2 else images[:2]
        expected = _logits(copied, images)
        try:
            path, how = _exported(copied, example, folder), "torch.export"
            actual = _logits(torch.export.load(path).module(), images, whole=example.shape[0])
        except Exception as error:
            reason = _line(error)
            path = _traced(copied, example, folder, reason, error)
            how = f"torch.jit.trace, because torch.export failed: {reason}"
            actual = _logits(torch.jit.load(path), images)
    if _differs(expected, _logits(copied, images)):
        return Saved(path, how)  # a random module agrees with nothing; the program recognises such
    if _differs(expected, actual):
        raise ExportError("the exported module computes other logits than the module; export it yourself and give its file")
    return Saved(path, how)


def _exported(module: torch.nn.Module, example: torch.Tensor, folder: pathlib.Path) -> pathlib.Path:
    import torch

    path = folder / "model.pt2"
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
        except Exception:
            # For one size of batch: the program then runs all others in pieces of it.
            program = torch.export.export(module, (example,))
        torch.export.save(program, path)
    return path


def _traced(module: torch.nn.Module, example: torch.Tensor, folder: pathlib.Path, reason: str, error: Exception) -> pathlib.Path:
    import torch

    path = folder / "model.pt"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            traced = torch.jit.trace(module, example, check_trace=False)
        except Exception as second:
            raise ExportError(f"the module cannot be exported: {reason}; nor traced: {_line(second)}") from error
    decisions = [warning for warning in caught if issubclass(warning.category, torch.jit.TracerWarning)]
    if decisions:
        place = _place(error) or f"{decisions[0].filename}, line {decisions[0].lineno}"
        raise ExportError(
            f"what the module computes depends on the images' values, at {place}: {reason}. "
            "A decision in Python cannot be exported; write it with torch.where or torch.cond"
        ) from error
    torch.jit.save(traced, path)
    return path


def _logits(module: torch.nn.Module, images: torch.Tensor, whole: int | None = None) -> torch.Tensor:
    import torch

    with torch.no_grad():
        if whole is not None and len(images) % whole:
            images = images[: max(len(images) - len(images) % whole, whole)]
        try:
            outputs = module(images)
        except Exception:
            if whole is None:
                raise
            outputs = torch.cat([module(piece) for piece in images.split(whole)])
    if not isinstance(outputs, torch.Tensor):
        raise ExportError(f"the module returns {type(outputs).__name__}; it must return the logits [N, classes]")
    return outputs.float()


def _differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    rows = min(len(a), len(b))
    a, b = a[:rows], b[:rows]
    return a.shape != b.shape or bool(((a - b).abs() > TOLERANCE * a.abs().max().clamp(min=1)).any())


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _place(error: BaseException) -> str | None:
    """The line of the caller's code where the export broke: the last one that is not PyTorch's."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    # PyTorch's own account of where in the module's code it was.
    frames += re.findall(r'File "([^"]+)", line (\d+)', str(error))
    own = [(file, line) for file, line in frames if "/torch/" not in file and not file.startswith("<") and pathlib.Path(file).parent != PACKAGE]
    if not own:
        return None
    file, number = own[-1]
    return f"{file}, line {number} ({linecache.getline(file, int(number)).strip()})"
