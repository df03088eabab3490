"""What an audit found."""

from __future__ import annotations

import html
import json
import pathlib
import shutil
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ._tensors import read_safetensors

if TYPE_CHECKING:
    import torch


class Rate(NamedTuple):
    """A share with its 95 % interval: ``count`` of ``of``."""

    count: int
    of: int
    value: float
    low: float
    high: float

    @classmethod
    def read(cls, rate: Mapping[str, Any]) -> Rate:
        return cls(rate["count"], rate["of"], rate["value"], rate["low"], rate["high"])

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


class Gate(NamedTuple):
    """A gate: ``outcome`` is ``pass``, ``fail``, ``inconclusive`` or ``waived``; ``checks`` has what was measured for each metric."""

    expression: str
    outcome: str
    checks: list[dict[str, Any]]


class Curves(Mapping[str, list[float]]):
    """Modularity per tap: one list of values per curve, in the order of ``taps``. A tap without a value has NaN."""

    def __init__(self, taps: list[str], curves: dict[str, list[float]]) -> None:
        self.taps = taps
        self._curves = curves

    def __getitem__(self, name: str) -> list[float]:
        return self._curves[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._curves)

    def __len__(self) -> int:
        return len(self._curves)

    def to_pandas(self) -> Any:
        """A DataFrame with a row per tap and a column per curve. Needs pandas."""
        import pandas

        return pandas.DataFrame(self._curves, index=pandas.Index(self.taps, name="tap"))

    def plot(self, ax: Any = None) -> Any:
        """Draws the curves. Needs matplotlib."""
        if ax is None:
            import matplotlib.pyplot

            _, ax = matplotlib.pyplot.subplots(figsize=(7, 4))
        for name, values in self._curves.items():
            ax.plot(self.taps, values, marker="o", markersize=3, linewidth=2 if name == "clean" else 1.2, label=name)
        ax.set_ylabel("modularity Q")
        ax.tick_params(axis="x", rotation=60)
        ax.legend()
        return ax

    def __repr__(self) -> str:
        width = max((len(tap) for tap in self.taps), default=3)
        lines = [" " * width + "".join(f"  {name:>12}" for name in self._curves)]
        for at, tap in enumerate(self.taps):
            lines.append(tap.ljust(width) + "".join(f"  {values[at]:12.4f}" for values in self._curves.values()))
        return "\n".join(lines)


class AttackResult:
    """What one attack did to the images that the model classified correctly.

    ``success_rate`` is the share of these that it broke; ``rate`` has it with its interval. ``accuracy`` is what is left of all images.
    """

    def __init__(self, report: Mapping[str, Any], folder: pathlib.Path) -> None:
        self._report = report
        self._folder = folder
        self.label: str = report["attack"]["label"]
        self.status: str = report["status"]
        self.rate: Rate | None = Rate.read(report["success_rate"]) if report["success_rate"] else None
        self.rate_of_accuracy: Rate | None = Rate.read(report["adversarial_accuracy"]) if report["adversarial_accuracy"] else None

    @property
    def success_rate(self) -> float | None:
        """Share of the attacked images that are misclassified in the end."""
        return self.rate.value if self.rate else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the success rate (Wilson)."""
        return (self.rate.low, self.rate.high) if self.rate else None

    @property
    def accuracy(self) -> float | None:
        """Accuracy under this attack, over all images, those included that were wrong from the start."""
        return self.rate_of_accuracy.value if self.rate_of_accuracy else None

    @property
    def success(self) -> torch.Tensor:
        """Whether each attacked image is broken, bool [n]."""
        import torch

        return torch.tensor([sample["success"] for sample in self._report["samples"]], dtype=torch.bool)

    @property
    def samples(self) -> torch.Tensor:
        """Positions of the attacked images among the audited ones, int64 [n]."""
        import torch

        return torch.tensor([sample["sample"] for sample in self._report["samples"]], dtype=torch.int64)

    @property
    def adversarial(self) -> torch.Tensor:
        """The attacked images as the attack left them, float32 [n, C, H, W] in [0, 1]; read from the run's folder."""
        return read_safetensors(self._folder / "adversarial" / f"{self.label}.safetensors")["pixels"].float()

    @property
    def predictions(self) -> torch.Tensor:
        """What the model says of ``adversarial``, int64 [n]."""
        import torch

        return torch.tensor([sample["prediction"] for sample in self._report["samples"]], dtype=torch.int64)

    def __repr__(self) -> str:
        return f"<{self.label}: {'broke ' + str(self.rate) if self.rate else self.status}>"


class Audit:
    """An audit's result. ``report`` is all of it, as in ``report.json``.

    ``exit_code`` is 0, 1 where a gate failed, 4 where the outcome is inconclusive, 130 where it was interrupted.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        exit_code: int,
        notes: list[str],
        indices: list[int] | None,
        temporary: tempfile.TemporaryDirectory[str] | None,
    ) -> None:
        self.folder = folder
        self.exit_code = exit_code
        self.notes = notes
        #: Where the audited images stand in the data that was given, if that was not a path.
        self.indices = indices
        self._temporary = temporary  # kept as long as somebody may read from it
        self.report: dict[str, Any] = json.loads((folder / "report.json").read_text())

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return bool(self.report["outcome"] == "complete")

    @property
    def accuracy(self) -> float:
        """Accuracy on the clean images."""
        return float(self.report["clean"]["accuracy"]["value"])

    @property
    def budgets(self) -> dict[str, Rate]:
        """Accuracy under attack per budget, such as ``linf:8/255``: any change within it counts, whichever attack made it."""
        return {f"{budget['norm']}:{budget['eps']}": Rate.read(budget["adversarial_accuracy"]) for budget in self.report["budgets"]}

    @property
    def robust_accuracy(self) -> float | None:
        """The smallest accuracy over all budgets; None where no attack had one. It is evidence only where ``validity`` is ``valid``."""
        return min((rate.value for rate in self.budgets.values()), default=None)

    @property
    def attacks(self) -> dict[str, AttackResult]:
        """Results by the attacks' labels."""
        return {entry["attack"]["label"]: AttackResult(entry, self.folder) for entry in self.report["attacks"]}

    @property
    def curves(self) -> Curves:
        """Modularity per tap: ``clean`` is of all images, the others of each attack's images."""
        found = {"clean": self.report["clean"]["curves"]["true_labels"]}
        for entry in self.report["attacks"]:
            if entry["curves"]:
                found[entry["attack"]["label"]] = entry["curves"]["adversarial"]
        curves = {}
        for name, curve in found.items():
            values = {tap["tap"]: tap["q"] for tap in curve["taps"]} if curve else {}
            curves[name] = [float("nan") if values.get(tap) is None else float(values[tap]) for tap in self.report["taps"]]
        return Curves(list(self.report["taps"]), curves)

    @property
    def validity(self) -> str:
        """``valid``, ``limited`` or ``failed``: whether what the attacks did not break may be counted as robust."""
        return str(self.report["validity"]["verdict"])

    @property
    def reason(self) -> str | None:
        """Why it is not ``valid``."""
        reason = self.report["validity"]["reason"]
        return None if reason is None else str(reason)

    @property
    def gates(self) -> list[Gate]:
        """The gates with their outcomes."""
        return [Gate(entry["gate"]["expr"], entry["result"], entry["checks"]) for entry in self.report["gates"]]

    @property
    def passed(self) -> bool:
        """Whether the command line would have ended with 0."""
        return self.exit_code == 0

    def save(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Copies the run's folder (reports, images, plan) to a folder that does not exist yet."""
        return pathlib.Path(shutil.copytree(self.folder, folder))

    def open(self) -> None:
        """Opens the HTML report in the browser."""
        webbrowser.open((self.folder / "report.html").as_uri())

    def plot(self, ax: Any = None) -> Any:
        """Draws the curves. Needs matplotlib."""
        return self.curves.plot(ax)

    def _rows(self) -> list[tuple[str, str, str]]:
        rows = [("clean", "", f"{Rate.read(self.report['clean']['accuracy'])}")]
        for name, attack in self.attacks.items():
            rows.append((f"{name} {attack._report['attack']['summary']}", str(attack.rate or attack.status), str(attack.rate_of_accuracy or "")))
        rows += [(f"any change within {name}", "", str(rate)) for name, rate in self.budgets.items()]
        return rows

    def __repr__(self) -> str:
        rows = [("", "broken [95 %]", "accuracy [95 %]"), *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += [f"{gate.outcome}: {gate.expression}" for gate in self.gates]
        lines.append(f"attack validity: {self.validity}" + (f" ({self.reason})" if self.reason else ""))
        if not self.complete:
            lines.append(f"outcome: {self.report['outcome']}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def cells(row: tuple[str, str, str]) -> str:
            return "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row)

        body = "".join(f"<tr>{cells(row)}</tr>" for row in self._rows())
        model, data = (html.escape(str(self.report[key]["name"])) for key in ("model", "data"))
        gates = "".join(f"<div><b>{html.escape(gate.outcome)}</b>: {html.escape(gate.expression)}</div>" for gate in self.gates)
        reason = f" ({html.escape(self.reason)})" if self.reason else ""
        outcome = "" if self.complete else f"<div>outcome: <b>{html.escape(str(self.report['outcome']))}</b></div>"
        return (
            f"<div><b>{model}</b> on {len(self.report['data']['labels'])} images of {data}</div>"
            "<table><thead><tr><th></th><th style='text-align:left'>broken [95 %]</th><th style='text-align:left'>accuracy [95 %]</th></tr></thead>"
            f"<tbody>{body}</tbody></table>{gates}<div>attack validity: <b>{html.escape(self.validity)}</b>{reason}</div>{outcome}"
        )
