"""Arrays in files: ``.npz`` for the program to read, safetensors that it wrote."""

from __future__ import annotations

import ctypes
import json
import pathlib
import struct
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def _bytes(tensor: torch.Tensor) -> bytes:
    tensor = tensor.contiguous()
    return ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()) if tensor.numel() else b""


def write_npz(path: pathlib.Path, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    """Writes ``x`` (uint8) and ``y`` (int64). NumPy is not needed for that, and PyTorch does not bring it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, kind, tensor in (("x", "|u1", pixels), ("y", "<i8", labels)):
            sizes = ", ".join(map(str, tensor.shape)) + ("," if tensor.dim() == 1 else "")
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + _bytes(tensor))


def read_safetensors(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that the program wrote."""
    import torch

    kinds = {"U8": torch.uint8, "I64": torch.int64, "F32": torch.float32, "BOOL": torch.bool}
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(data, dtype=torch.uint8, offset=start, count=end - start) if end > start else torch.empty(0, dtype=torch.uint8)
        tensors[name] = flat.clone().view(kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors
