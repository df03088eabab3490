"""The functions: an audit, a benchmark, a curve, an attack."""

from __future__ import annotations

import json
import pathlib
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _program
from ._data import Images, gather
from ._errors import AdvmodError, DataError
from ._export import save
from ._result import Audit, Curves
from ._tensors import write_npz

if TYPE_CHECKING:
    import os

    import torch

    Model = torch.nn.Module | str | os.PathLike[str]
    Normalization = str | tuple[Sequence[float], Sequence[float]] | object

#: Mean and standard deviation of the command line's presets, for images that were normalized before they came here.
PRESETS: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
}


class Benchmark(NamedTuple):
    """Clean accuracy and robust accuracy, and the audit that they come from."""

    clean: float
    robust: float
    audit: Audit


def audit(
    model: Model,
    data: Any,
    *,
    attacks: str | Sequence[str] | Mapping[str, Mapping[str, Any]] = "fgsm,pgd",
    eps: float | None = None,
    norm: str | None = None,
    normalize: Normalization | None = None,
    preset: str | None = None,
    gates: Iterable[str] = (),
    samples: int | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    batch: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Audit:
    """Attacks a model and compares its clean and adversarial modularity curves.

    Args:
        model: A module that maps float images [N, C, H, W] to logits [N, classes], or the path of a model file. The module is audited in evaluation
            mode; it is copied, and its mode, gradients, device and weights stay as they are.
        data: A ``Dataset`` or ``DataLoader`` of images with their labels, a pair of images and labels (tensors or arrays), or a path. Images are
            8-bit pixels: uint8, PIL, or floats n/255 in [0, 1], before any normalization or after the one that ``normalize`` names.
        attacks: Names (``"fgsm,pgd"``, ``"all"``), a list of attacks with parameters (``["pgd:steps=20", "cw"]``), or a mapping (``{"pgd": {"steps": 20}}``).
        eps: Budget in pixels in [0, 1], such as 8/255, of each attack that has none of its own.
        norm: ``"linf"`` or ``"l2"``, of each attack that has it as a choice.
        normalize: What the model expects of its input: a preset of the command line (``"cifar10"``, ``"imagenet"``, …), ``(mean, std)``, a torchvision
            ``Normalize``, or a ``Compose`` that holds one. None where the module normalizes by itself.
        preset: Where parameters come from that are not given: ``quick``, ``standard`` or ``paper``.
        gates: Bounds such as ``"accuracy.pgd >= 30 %"``.
        samples: Number of images, drawn by ``seed``; 500, or all where there are fewer.
        classes: Names of the model's outputs in their order, for labels that are names.
        seed: Seed for all randomness.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Processor threads; all cores by default.
        batch: Images per batch. It changes the speed, not the result.
        out: A folder for the run; without it a temporary one that lives as long as the result.
        progress: Whether progress is shown.

    Returns:
        The audit. Gates that fail and validity that is not ``valid`` are in it; they raise nothing. An audit that was interrupted by Ctrl-C has what
        was done until then, and ``complete`` is False.

    Raises:
        ExportError: The module cannot be exported as what it computes.
        DataError: The images or labels are not what an audit needs.
        AdvmodError: The program ended with an error.
    """
    temporary = None
    if out is None:
        temporary = tempfile.TemporaryDirectory(prefix="advmod-")
        folder = pathlib.Path(temporary.name) / "run"
    else:
        folder = pathlib.Path(out)
    with tempfile.TemporaryDirectory(prefix="advmod-") as work:
        given, images, notes = _inputs(model, data, normalize, samples, classes, seed, pathlib.Path(work))
        arguments = ["audit", *given, *_attack_arguments(attacks, eps, norm)]
        for gate in gates:
            arguments += ["--gate", gate]
        if preset is not None:
            arguments += ["--preset", preset]
        arguments += ["--seed", str(seed), "--device", device, "--out", str(folder)]
        for name, value in (("--threads", threads), ("--batch", batch)):
            if value is not None:
                arguments += [name, str(value)]
        finished = _program.run(arguments, progress)
    if not (folder / "report.json").exists() or finished.code in (2, 3):
        if finished.interrupted:
            raise KeyboardInterrupt
        raise AdvmodError(_program.message(finished), finished.code)
    return Audit(folder, finished.code, notes, images.indices if images else None, temporary)


def benchmark(
    model: Model,
    data: Any,
    threat: str = "linf",
    eps: float = 8 / 255,
    n: int = 1000,
    **options: Any,
) -> Benchmark:
    """Clean and robust accuracy under AutoAttack, as RobustBench measures it.

    ``options`` are those of :func:`audit`. The robust accuracy counts every change within the budget, whichever attack made it; a warning says so where
    it is no evidence, because the attacks' validity is not ``valid``.
    """
    result = audit(model, data, attacks=strongest(threat, eps), samples=n, **options)
    robust = result.robust_accuracy
    if robust is None:
        raise AdvmodError("nothing could be attacked: the model classifies none of the images correctly")
    if result.validity != "valid":
        warnings.warn(f"the robust accuracy is no evidence of robustness: validity is {result.validity} ({result.reason})", stacklevel=2)
    return Benchmark(result.accuracy, robust, result)


def strongest(threat: str, eps: float) -> list[str]:
    """The attacks of :func:`benchmark`."""
    if threat not in ("linf", "l2"):
        raise AdvmodError(f"threat is {threat!r}; it must be 'linf' or 'l2'")
    return [f"autoattack:norm={threat},eps={amount(eps)}"]


def curve(
    model: Model,
    data: Any,
    *,
    normalize: Normalization | None = None,
    k: int = 3,
    similarity: str = "cosine",
    taps: str = "default",
    samples: int | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> Curves:
    """The clean modularity curve: Q of the k-nearest-neighbour graph at every tap. Arguments are those of :func:`audit`."""
    with tempfile.TemporaryDirectory(prefix="advmod-") as work:
        given, _, _ = _inputs(model, data, normalize, samples, classes, seed, pathlib.Path(work))
        arguments = ["curve", *given, "--k", str(k), "--similarity", similarity, "--taps", taps]
        arguments += ["--seed", str(seed), "--device", device, "--repeats", "1", "--format", "json"]
        if threads is not None:
            arguments += ["--threads", str(threads)]
        finished = _program.run(arguments, progress)
        if finished.interrupted:
            raise KeyboardInterrupt
        if finished.code != 0:
            raise AdvmodError(_program.message(finished), finished.code)
        (found,) = json.loads(finished.out)["curves"]
    values = {tap["tap"]: tap["q"] for tap in found["curve"]["taps"]}
    return Curves(list(values), {"clean": [float("nan") if q is None else float(q) for q in values.values()]})


def attack(
    model: Model,
    images: torch.Tensor,
    labels: torch.Tensor,
    name: str = "pgd",
    *,
    normalize: Normalization | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = False,
    **parameters: Any,
) -> torch.Tensor:
    """Attacks ``images`` [N, C, H, W] and returns them as the attack leaves them: float32 in [0, 1], same shape, on the same device.

    ``parameters`` are the attack's own (``advmod attacks NAME``), such as ``eps=8/255`` or ``steps=20``. Images that the model misclassifies from the start are
    returned unchanged.
    """
    result = audit(
        model, (images, labels), attacks={name: parameters}, normalize=normalize, samples=len(images), seed=seed, device=device,
        threads=threads, progress=progress,
    )  # fmt: skip
    from ._tensors import read_safetensors

    changed = read_safetensors(result.folder / "clean.safetensors")["pixels"].float() / 255
    (found,) = result.attacks.values()
    if found.status != "complete":
        raise AdvmodError(found._report["error"] or f"the attack is {found.status}")
    if len(found.samples):
        changed[found.samples] = found.adversarial
    if changed.shape != images.shape:
        changed = changed.permute(0, 2, 3, 1) if images.dim() == 4 else changed.squeeze(1)
    return changed.to(images.device)


def amount(value: float) -> str:
    """An ε as the command line and its reports write it: 8/255 where it is such a fraction."""
    levels = Fraction(value * 255).limit_denominator(4)
    return f"{levels.numerator}/255" if levels.denominator == 1 and abs(float(levels) / 255 - value) < 1e-9 else repr(float(value))


def mean_std(normalize: Normalization | None) -> tuple[Sequence[float], Sequence[float]] | None:
    """Mean and standard deviation per channel, of whatever says them."""
    if normalize is None or normalize == "none":
        return None
    if isinstance(normalize, str):
        if normalize in PRESETS:
            return PRESETS[normalize]
        parts = normalize.split("/")
        if len(parts) != 2:
            raise DataError(f"normalize is {normalize!r}; it must be one of {', '.join(PRESETS)}, none, or a pair of mean and std")
        first, second = (tuple(float(number) for number in part.split(",")) for part in parts)
        return first, second
    if isinstance(normalize, (tuple, list)) and len(normalize) == 2:
        first, second = (tuple(map(float, part)) if isinstance(part, Iterable) else (float(part),) for part in normalize)
        return first, second
    if hasattr(normalize, "transforms"):
        found = [step for step in normalize.transforms if hasattr(step, "mean") and hasattr(step, "std")]
        if len(found) == 1:
            return mean_std(found[0])
        raise DataError(f"normalize holds {len(found)} transforms that normalize; it must hold one")
    if hasattr(normalize, "mean") and hasattr(normalize, "std"):
        return mean_std((normalize.mean, normalize.std))
    raise DataError(f"normalize is of type {type(normalize).__name__}; it must be a name, a pair of mean and std, or a torchvision Normalize")


def _inputs(
    model: Model,
    data: Any,
    normalize: Normalization | None,
    samples: int | None,
    classes: Sequence[str] | None,
    seed: int,
    work: pathlib.Path,
) -> tuple[list[str], Images | None, list[str]]:
    """Model and data as arguments of the program, exported and written into ``work`` where they live in memory."""
    notes: list[str] = []
    known = mean_std(normalize)
    arguments: list[str] = []
    images = None
    if isinstance(data, (str, pathlib.PurePath)):
        arguments += ["--data", str(data)]
        if samples is not None:
            arguments += ["--samples", str(samples)]
    else:
        images = gather(data, samples, seed, classes, known)
        notes += images.notes
        write_npz(work / "data.npz", images.pixels, images.labels)
        arguments += ["--data", str(work / "data.npz"), "--first", str(len(images.indices))]
    if isinstance(model, (str, pathlib.PurePath)):
        arguments += ["--model", str(model)]
    else:
        if images is None:
            raise DataError("a module needs its data in memory too, to be exported with: give a Dataset or a pair of images and labels, or export the module to a file")
        saved = save(model, _as_input(images, known), work)
        notes.append(f"exported by {saved.how}")
        arguments += ["--model", str(saved.path)]
    if normalize is not None:
        named = normalize if isinstance(normalize, str) else "/".join(",".join(map(repr, part)) for part in known or ())
        arguments += ["--normalize", named]
    elif not isinstance(model, (str, pathlib.PurePath)):
        arguments += ["--normalize", "none"]
    return arguments, images, notes


def _as_input(images: Images, known: tuple[Sequence[float], Sequence[float]] | None) -> torch.Tensor:
    """At most 32 images as the module takes them."""
    import torch

    first = images.pixels[:32].float() / 255
    if known is not None:
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in known)
        first = (first - mean) / std
    return first


def _attack_arguments(attacks: str | Sequence[str] | Mapping[str, Mapping[str, Any]], eps: float | None, norm: str | None) -> list[str]:
    if isinstance(attacks, Mapping):
        entries = [f"{name}:{','.join(f'{key}={_parameter(key, value)}' for key, value in values.items())}".rstrip(":") for name, values in attacks.items()]
    elif isinstance(attacks, str):
        if eps is None and norm is None:
            return ["--attacks", attacks] if ":" not in attacks else ["--attack", attacks]
        entries = [attacks] if ":" in attacks else attacks.split(",")
    else:
        entries = list(attacks)
    if "all" in entries:
        raise AdvmodError("attacks='all' takes no eps or norm, because not all attacks have them; name the attacks", 2)
    arguments: list[str] = []
    single_norm = _single_norm() if (eps, norm) != (None, None) else frozenset()
    for entry in entries:
        name, _, parameters = entry.partition(":")
        more = [parameters] if parameters else []
        if norm is not None and "norm=" not in parameters and name not in single_norm:
            more.append(f"norm={norm}")
        if eps is not None and "eps=" not in parameters and name not in single_norm:
            more.append(f"eps={amount(eps)}")
        arguments += ["--attack", f"{name}:{','.join(more)}" if more else name]
    return arguments


def _single_norm() -> frozenset[str]:
    """Attacks that have one norm only; these are searches for the smallest change, which need no ε. The program's own table says it."""
    finished = _program.run(["attacks", "--format", "json"], progress=None)
    if finished.code != 0:
        raise AdvmodError(_program.message(finished), finished.code)
    return frozenset(entry["name"] for entry in json.loads(finished.out) if len(entry["norms"]) == 1)


def _parameter(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return amount(value) if key == "eps" and isinstance(value, (int, float)) else str(value)
