"""Images and labels from what Python has: arrays, data sets, loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ._errors import DataError

if TYPE_CHECKING:
    import torch

#: Images that are drawn where nobody says how many: the command line's default.
SAMPLES = 500
#: How far a float may lie from a 256th level, in levels: what float32 loses in a normalization and back.
TOLERANCE = 0.02


class Images(NamedTuple):
    """What is audited: ``pixels`` uint8 [N, C, H, W], ``labels`` int64 [N], and where in the data they come from."""

    pixels: torch.Tensor
    labels: torch.Tensor
    indices: list[int]
    notes: list[str]


def gather(
    data: Any,
    samples: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    mean_std: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Images:
    """Takes ``samples`` images (the default of the command line where it is None) out of ``data``.

    A pair of arrays and a data set with a length are drawn from at random, by ``seed``; whatever can only be iterated over is read from its start.
    """
    if samples is not None and samples < 1:
        raise DataError(f"samples is {samples}; it must be at least 1")
    wanted = SAMPLES if samples is None else samples
    notes: list[str] = []
    if isinstance(data, (tuple, list)) and len(data) == 2 and hasattr(data[0], "shape"):
        images, labels, indices = _from_arrays(data[0], data[1], wanted, seed)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        chosen = draw(len(data), wanted, seed)
        images, labels, indices = _from_items((data[at] for at in chosen), chosen)
    elif isinstance(data, Iterable):
        images, labels, indices = _from_items(_single(data, wanted), None)
        notes.append(f"the first {len(indices)} images of {type(data).__name__}")
    else:
        raise DataError(
            f"data is {_type(data)}; it must be a path, a Dataset, a DataLoader, or a pair of images and labels"
        )
    if not indices:
        raise DataError("data has no images")
    return Images(to_pixels(images, mean_std, notes), to_labels(labels, classes), indices, notes)


def draw(available: int, wanted: int, seed: int) -> list[int]:
    """Which of the images are taken, in their order."""
    import torch

    if available <= wanted:
        return list(range(available))
    order = torch.randperm(available, generator=torch.Generator().manual_seed(seed))
    return sorted(order[:wanted].tolist())


def _from_arrays(images: Any, labels: Any, wanted: int, seed: int) -> tuple[torch.Tensor, Any, list[int]]:
    if len(images) != len(labels):
        raise DataError(f"{len(images)} images and {len(labels)} labels; each image needs one label")
    import torch

    indices = draw(len(images), wanted, seed)
    chosen = torch.tensor(indices, dtype=torch.int64)
    images = _tensor(images)[chosen]
    labels = _tensor(labels)[chosen] if hasattr(labels, "shape") and _is_numeric(labels) else [labels[i] for i in indices]
    return images, labels, indices


def _single(data: Iterable[Any], wanted: int) -> Iterator[Any]:
    """The images of batches, one by one, as far as they are wanted."""
    taken = 0
    for batch in data:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise DataError(f"the data yields {_type(batch)}; it must yield images with their labels")
        images, labels = batch[0], batch[1]
        is_batch = hasattr(images, "shape") and len(images.shape) == 4
        for pair in zip(images, labels, strict=True) if is_batch else [(images, labels)]:
            if taken == wanted:
                return
            taken += 1
            yield pair


def _from_items(items: Iterable[Any], indices: list[int] | None) -> tuple[torch.Tensor, list[Any], list[int]]:
    import torch

    images: list[torch.Tensor] = []
    labels: list[Any] = []
    for at, item in enumerate(items):
        place = indices[at] if indices is not None else at
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise DataError(f"item {place} is {_type(item)}; it must be a pair of an image and its label")
        image = _image(item[0], place)
        if images and image.shape != images[0].shape:
            first, this = (" × ".join(map(str, shape)) for shape in (images[0].shape, image.shape))
            raise DataError(f"image {place} has the shape {this}, the first one {first}; resize and crop them in the data set")
        images.append(image)
        labels.append(item[1])
    stacked = torch.stack(images) if images else torch.empty(0)
    return stacked, labels, indices if indices is not None else list(range(len(images)))


def _image(image: Any, place: int) -> torch.Tensor:
    if hasattr(image, "tobytes") and hasattr(image, "mode"):  # PIL
        import torch

        if image.mode not in ("L", "RGB"):
            image = image.convert("L" if image.mode in ("1", "LA", "I;16", "I", "F") else "RGB")
        channels = len(image.getbands())
        flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return flat.reshape(image.height, image.width, channels).permute(2, 0, 1).contiguous()
    if hasattr(image, "shape"):
        return _tensor(image)
    raise DataError(f"image {place} is {_type(image)}; it must be a tensor, an array or a PIL image")


def to_pixels(images: torch.Tensor, mean_std: tuple[Sequence[float], Sequence[float]] | None, notes: list[str]) -> torch.Tensor:
    """8-bit pixels [N, C, H, W]. Floats must be levels of 255, or become such once a normalization is taken back."""
    import torch

    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4:
        raise DataError(f"images have the shape {list(images.shape)}; it must be [N, C, H, W], [N, H, W, C] or [N, H, W]")
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.shape[1] not in (1, 3):
        raise DataError(f"images have {images.shape[1]} channels; they must have 1 or 3")
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        low, high = int(images.min()), int(images.max())
        if low < 0 or high > 255:
            raise DataError(f"images hold integers from {low} to {high}; pixels must be 0 to 255")
        return images.to(torch.uint8).contiguous()
    images = images.to(torch.float64)
    if not bool(torch.isfinite(images).all()):
        raise DataError("images hold values that are not finite")
    if (pixels := _levels(images * 255)) is not None:
        return pixels
    if float(images.max()) > 1.5 and (pixels := _levels(images)) is not None:
        return pixels
    low, high = float(images.min()), float(images.max())
    if mean_std is not None:
        mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in mean_std)
        if mean.shape[1] in (1, images.shape[1]) and (pixels := _levels((images * std + mean) * 255)) is not None:
            notes.append("the images were normalized; that was taken back, and the program normalizes them again")
            return pixels
        raise DataError(
            f"images hold values from {low:.3g} to {high:.3g} which are not 8-bit pixels, also not once `normalize` is taken back; "
            "give images in [0, 1] before any normalization"
        )
    if low < 0 or high > 1:
        raise DataError(
            f"images hold values from {low:.3g} to {high:.3g}; they must be pixels in [0, 1] or uint8. If they are normalized, say how with normalize=(mean, std)"
        )
    raise DataError(
        "images hold floats in [0, 1] that are not 8-bit levels (n/255), which attacks start from; resize before ToTensor(), or round them: (images * 255).round() / 255"
    )


def _levels(scaled: torch.Tensor) -> torch.Tensor | None:
    """The bytes that these are, if all of them are."""
    import torch

    rounded = scaled.round()
    is_level = bool(((scaled - rounded).abs() < TOLERANCE).all()) and bool(((rounded >= 0) & (rounded <= 255)).all())
    return rounded.to(torch.uint8).contiguous() if is_level else None


def to_labels(labels: Any, classes: Sequence[str] | None) -> torch.Tensor:
    """Numbers of classes. Names need ``classes``, whose order is the model's: nothing else knows it."""
    import torch

    if isinstance(labels, torch.Tensor):
        tensor = labels
    else:
        values = [label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label for label in labels]
        if values and isinstance(values[0], str):
            if classes is None:
                some = ", ".join(repr(name) for name in sorted(set(values))[:3])
                raise DataError(f"labels are names ({some}, …); say which output of the model each one is: classes=[name of output 0, …]")
            numbers = {name: number for number, name in enumerate(classes)}
            unknown = sorted({name for name in values if name not in numbers})
            if unknown:
                raise DataError(f"the label {unknown[0]!r} is not among classes")
            values = [numbers[name] for name in values]
        if values and hasattr(values[0], "shape"):
            tensor = torch.stack([_tensor(value) for value in values])
        else:
            if any(not isinstance(value, (int, float)) or isinstance(value, bool) for value in values):
                odd = next(value for value in values if not isinstance(value, (int, float)) or isinstance(value, bool))
                raise DataError(f"a label is {_type(odd)}; labels must be numbers of classes, or names with classes=[…]")
            tensor = torch.tensor(values)
    if tensor.dim() == 2 and tensor.shape[1] > 1:
        ones = (tensor == 1).sum(dim=1)
        if not bool(((ones == 1) & ((tensor != 0).sum(dim=1) == 1)).all()):
            raise DataError(f"labels have the shape {list(tensor.shape)} and are not one-hot; each image needs one class")
        tensor = tensor.argmax(dim=1)
    tensor = tensor.reshape(-1)
    whole = tensor.to(torch.int64)
    if bool((whole != tensor).any()) or bool((whole < 0).any()):
        raise DataError("labels must be whole numbers from 0")
    return whole.contiguous()


def _tensor(values: Any) -> torch.Tensor:
    import torch

    if isinstance(values, torch.Tensor):
        return values.detach().cpu()
    return torch.as_tensor(values)


def _is_numeric(values: Any) -> bool:
    return hasattr(values, "is_floating_point") or getattr(getattr(values, "dtype", None), "kind", "O") in "biuf"


def _type(value: Any) -> str:
    return f"of type {type(value).__name__}"
