"""Audits of the adversarial robustness of image classifiers, from Python.

>>> import advmod
>>> result = advmod.audit(model, test_set, attacks="fgsm,pgd", eps=8/255, normalize="cifar10")  # doctest: +SKIP
>>> result.accuracy, result.attacks["pgd"].success_rate                                          # doctest: +SKIP
(0.932, 1.0)

The work is done by the program ``advmod``, which this package brings; it uses the libtorch of the installed PyTorch. The command line is there
too: ``advmod`` and ``python -m advmod`` are the same. Images are 8-bit pixels and all distances are in pixels in [0, 1].
"""

from ._errors import AdvmodError, DataError, ExportError
from ._functions import attack, audit, benchmark, curve
from ._program import TORCH
from ._program import VERSION as __version__
from ._result import AttackResult, Audit, Curves, Gate, Rate

__all__ = [
    "TORCH",
    "AdvmodError",
    "AttackResult",
    "Audit",
    "Curves",
    "DataError",
    "ExportError",
    "Gate",
    "Rate",
    "__version__",
    "attack",
    "audit",
    "benchmark",
    "curve",
]
