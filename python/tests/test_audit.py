"""Audits of modules in memory: the same numbers as the command line, and nothing of the caller's changed."""

import copy
import json
import os
import subprocess

import advmod
import pytest
import torch
from advmod._functions import _attack_arguments
from advmod._tensors import write_npz

QUICK = {"fgsm": {"eps": 8 / 255}, "pgd": {"eps": 8 / 255, "steps": 3}, "cw": {"search_steps": 1, "steps": 5}}


def test_an_audit_equals_the_command_line_and_leaves_the_caller_alone(model, images, tmp_path):
    x, y = images
    x = x.float() / 255
    model.train()
    model.dropout.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    pixels, random = x.clone(), torch.random.get_rng_state()
    model.zero_grad()
    result = advmod.audit(model, (x, y), attacks=QUICK, out=tmp_path / "run", threads=1, progress=False)
    assert torch.equal(random, torch.random.get_rng_state()) and torch.equal(pixels, x)
    assert modes == [module.training for module in model.modules()]
    assert wants == [parameter.requires_grad for parameter in model.parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()

    exported = torch.export.export(
        copy.deepcopy(model).eval(), (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},)
    )
    torch.export.save(exported, tmp_path / "model.pt2")
    write_npz(tmp_path / "data.npz", images[0], y)
    attacks = [word for name, values in QUICK.items() for word in ("--attack", f"{name}:" + ",".join(f"{k}={v}" for k, v in values.items()))]
    command = [os.environ["ADVMOD_BINARY"], "audit", "--model", tmp_path / "model.pt2", "--normalize", "none", "--data", tmp_path / "data.npz"]
    command += ["--first", "64", *attacks, "--threads", "1", "--seed", "0", "--quiet", "--out", tmp_path / "other"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode in (0, 4)
    theirs = json.loads((tmp_path / "other/report.json").read_text())
    ours = result.report
    assert ours["clean"] == theirs["clean"]
    for one, other in zip(ours["attacks"], theirs["attacks"], strict=True):
        assert one["samples"] == other["samples"] and one["curves"] == other["curves"]

    assert result.accuracy > 0.8 and result.complete and result.robust_accuracy is not None
    pgd = result.attacks["pgd"]
    low, high = pgd.interval
    assert low <= pgd.success_rate <= high
    clean = x[torch.tensor(result.indices)][pgd.samples]
    assert pgd.adversarial.shape == clean.shape and (pgd.adversarial - clean).abs().max() <= 8 / 255 + 1e-6
    with torch.no_grad():
        assert torch.equal(model(pgd.adversarial).argmax(1) != y[pgd.samples], pgd.success)
    assert list(result.curves) == ["clean", "fgsm", "pgd", "cw"] and len(result.curves["pgd"]) == len(result.curves.taps)
    assert "pgd" in repr(result) and "<table>" in result._repr_html_()
    result.save(tmp_path / "copy")
    assert (tmp_path / "copy/report.html").exists()


def test_gates_are_in_the_result(model, images):
    result = advmod.audit(model, images, attacks="fgsm", eps=0.5, gates=["accuracy.fgsm >= 99 %"], samples=40, threads=1, progress=False)
    (gate,) = result.gates
    assert gate.expression == "accuracy.fgsm >= 0.99" and gate.outcome in ("fail", "inconclusive") and not result.passed
    assert len(result.indices) == 40


def test_a_budget_goes_to_the_attacks_that_take_one():
    found = _attack_arguments("pgd,cw,ddn", eps=8 / 255, norm="l2")
    assert found == ["--attack", "pgd:norm=l2,eps=8/255", "--attack", "cw", "--attack", "ddn"]
    assert _attack_arguments("pgd,cw", None, None) == ["--attacks", "pgd,cw"]


def test_an_attack_returns_images_in_their_order(model, images):
    x, y = images[0][:20].float() / 255, images[1][:20]
    adversarial = advmod.attack(model, x, y, "pgd", eps=16 / 255, steps=5, threads=1)
    assert adversarial.shape == x.shape and (adversarial - x).abs().max() <= 16 / 255 + 1e-6
    with torch.no_grad():
        was, now = (model.eval()(pixels).argmax(1) == y for pixels in (x, adversarial))
    assert now.sum() < was.sum()
    assert torch.equal(adversarial[~was], x[~was])


def test_a_curve_has_a_value_per_tap(model, images):
    curve = advmod.curve(model, images, samples=60, threads=1, progress=False)
    assert len(curve["clean"]) == len(curve.taps) >= 2 and "clean" in repr(curve)


def test_errors_of_the_program_are_exceptions(model, images):
    with pytest.raises(advmod.AdvmodError, match="(?i)nosuch") as caught:
        advmod.audit(model, images, attacks="nosuch", progress=False)
    assert caught.value.exit_code == 2
    with pytest.raises(advmod.AdvmodError) as caught:
        advmod.audit("missing.pt2", "missing.npz", progress=False)
    assert caught.value.exit_code in (2, 3) and "missing" in str(caught.value)


class Decides(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        if x.mean() > 0.5:
            x = 1 - x
        return self.inner(x)


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return -gradient  # hides the true gradient


class Custom(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(Squared.apply(x))


def test_a_decision_by_values_is_refused_with_its_line(model, images):
    with pytest.raises(advmod.ExportError, match=r"if x.mean\(\) > 0.5") as caught:
        advmod.audit(Decides(model.eval()), images, attacks="fgsm", progress=False)
    assert "test_audit.py" in str(caught.value)


def test_a_custom_function_is_audited_by_what_it_computes(model, images):
    result = advmod.audit(Custom(model.eval()), images, attacks="pgd", eps=0.2, threads=1, progress=False)
    with torch.no_grad():
        right = (model(((images[0].float() / 255) ** 2)).argmax(1) == images[1]).float().mean().item()
    assert result.accuracy == pytest.approx(right)
