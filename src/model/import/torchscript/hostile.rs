//! Archives that were made to do harm: each ends in one line, soon, and nothing of it is run.

use std::time::{Duration, Instant};

use super::tests::{network, network_with, translated};
use crate::model::format::testing::{Py, script_zip, text};

fn refused(bytes: &[u8]) -> String {
    let begun = Instant::now();
    let message = translated(bytes, None).unwrap_err();
    // Far more than any of them takes, for slow machines.
    assert!(begun.elapsed() < Duration::from_secs(30), "{message}: {:?}", begun.elapsed());
    assert!(!message.chars().any(crate::text::names::is_obeyed) && message.len() < 2000, "{message:?}");
    message
}

fn refusal(body: &str) -> String {
    refused(&network(body, &[]))
}

#[test]
fn loops_and_calls_without_an_end_are_given_up() {
    let recursive = "def f(x: Tensor) -> Tensor:\n  return __torch__.g.f(x, )\n";
    assert!(
        refused(&network("return __torch__.g.f(x, )", &[("__torch__/g.py", recursive)])).contains("without an end")
    );
    for body in [
        "while True:\n  pass\nreturn x",
        "for i in range(9223372036854775807):\n  pass\nreturn x",
        "l = [0]\nfor i in range(90000):\n  l = torch.add([1], torch.slice(l, 0, 80000))\n  l = torch.mul(l, 2)\nreturn x",
        "y = torch.flatten(x, 1)\nwhile True:\n  y = torch.add(y, y)\nreturn y",
        "y = self.bias\nwhile True:\n  y = torch.mul(torch.reshape(torch.expand(torch.unsqueeze(y, 0), [4000, 2]), [-1]), 2)\n  y = torch.slice(y, 0, 0, 2)\nreturn y",
    ] {
        let message = refusal(body);
        let given_up =
            ["too many steps", "at once", "computes too much", "more than 50000 operators", "depends on the number"];
        assert!(given_up.iter().any(|part| message.contains(part)), "{body}: {message}");
    }
}

#[test]
fn values_that_grow_are_given_up() {
    for (body, expected) in [
        ("t = \"x\"\nwhile True:\n  t = torch.add(t, t)\nreturn x", "letters, at once"),
        ("t = \"{}{}\"\nwhile True:\n  t = torch.format(t, t, t)\nreturn x", "letters, at once"),
        ("l = [0]\nwhile True:\n  l = torch.add(l, l)\nreturn x", "at once"),
        ("l = [0]\nwhile True:\n  l = [l]\nreturn x", "steps"),
        ("l = [[0]]\np = l\nwhile True:\n  n = [[0]]\n  _0 = torch.append(p, n)\n  p = n\nreturn x", "steps"),
        ("l = torch.mul([0], 1000000000000)\nreturn x", "at once"),
        (
            "l = annotate(List[int], [])\n_0 = torch.append(l, l)\nif torch.eq(l, [l]):\n  pass\nreturn x",
            "nested too deep",
        ),
        (
            "t = \"x\"\nwhile torch.lt(torch.len(t), 90000):\n  t = torch.add(t, t)\nl = annotate(List[str], [])\nwhile True:\n  _0 = torch.append(l, str(t))\nreturn x",
            "letters, at once",
        ),
        (
            "t = torch.mul([\"x\"], 5000)\nl = annotate(List[str], [])\nwhile True:\n  _0 = torch.append(l, str(t))\nreturn x",
            "at once",
        ),
        (
            "t = \"x\"\nfor i in range(16):\n  t = torch.add(t, t)\nl = annotate(List[str], [])\nwhile True:\n  _0 = torch.append(l, str(t))\nreturn x",
            "steps",
        ),
        (
            "t = \"x\"\nfor i in range(16):\n  t = torch.add(t, t)\nn = 0\nwhile True:\n  n = torch.len(t)\nreturn x",
            "steps",
        ),
        ("l = torch.mul([1], 100000)\nwhile True:\n  n = ops.prim.max(l)\nreturn x", "steps"),
        (
            "y = torch.flatten(x, 1)\nl = torch.mul([y], 100000)\nwhile True:\n  z = torch.cat(l, 1)\nreturn x",
            "too many steps",
        ),
        ("l = torch.mul([self.bias], 10000)\nwhile True:\n  z = torch.cat(l, 0)\nreturn x", "too many steps"),
        (
            "l = torch.mul([self.bias], 2)\nwhile True:\n  z = torch.cat(l, 0)\n  _0 = torch.append(l, z)\nreturn x",
            "computes too much",
        ),
        ("a, b, = torch.chunk(torch.flatten(x, 1), torch.sub(-9223372036854775807, 1), 1)\nreturn a", "makes pieces"),
        ("y = torch.masked_fill(self.bias, self.bias, 0.)\nreturn y", "no tensor of truth values"),
        ("y = torch.sum(self.bias, [0, 0])\nreturn y", "names a dimension twice"),
        ("y = torch.linalg_vector_norm(torch.flatten(x, 1), 2, [1, 1])\nreturn y", "names a dimension twice"),
        ("y = torch.new_zeros(self.bias, [1000000, 1000000])\nreturn y", "too large or not fixed"),
        ("y = torch.expand(x, [1000000, 1000000, -1, -1, -1, -1])\nreturn y", "are allowed"),
        ("y = torch.pad(x, [1000000, 1000000, 1000000, 1000000])\nreturn y", "are allowed"),
        ("y = torch.view(x, [9223372036854775807, 9223372036854775807])\nreturn y", "too large"),
    ] {
        let message = refusal(body);
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn what_needs_more_memory_than_there_is_is_refused_before_it_is_tried() {
    // Twenty tensors of 2 GiB, all of which are wanted at the end.
    let message = refusal(
        "y = torch.flatten(torch.expand(torch.unsqueeze(x, 1), [-1, 1700, -1, -1, -1]), 1, 2)\nl = annotate(List[Tensor], [])\nfor i in range(20):\n  _0 = torch.append(l, torch.add(y, i))\n\
         s = y\nfor i in range(20):\n  s = torch.add(s, l[i])\nreturn torch.mean(s, [2, 3])",
    );
    assert!(message.contains("held at once") && message.contains("(--memory)"), "{message}");
}

#[test]
fn code_that_would_do_something_is_refused_by_name() {
    for (body, expected) in [
        ("print(\"\u{1b}[2J\")\nreturn x", "the function `print` is not supported"),
        ("_0 = torch.save(x, \"/tmp/advmod-was-here\")\nreturn x", "`torch.save` is not supported"),
        ("_0 = torch.from_file(\"/etc/passwd\")\nreturn x", "`torch.from_file` is not supported"),
        ("_0 = ops.aten.from_file(\"/etc/passwd\", False, 3)\nreturn x", "`ops.aten.from_file` is not supported"),
        ("_0 = torch.load(\"/etc/passwd\")\nreturn x", "`torch.load` is not supported"),
        ("_0 = open(\"/etc/passwd\")\nreturn x", "the function `open` is not supported"),
        ("_0 = fork(self.forward, x)\nreturn x", "it reads `forward` of an object"),
        ("_0 = ops.prim.fork(x)\nreturn x", "the function `ops.prim.fork` is not supported"),
        ("_0 = ops.prim.rpc_sync(\"w\", x)\nreturn x", "`ops.prim.rpc_sync` is not supported"),
        ("_0 = ops.evil.run(\"true\")\nreturn x", "the function `ops.evil.run` is not supported"),
        ("import os\nreturn x", "its kind of statement is not supported"),
        ("_0 = [torch for torch in [1]]\nreturn x", "its kind of expression is not supported"),
        ("_0 = lambda: 1\nreturn x", "its kind of expression is not supported"),
        ("_0 = f\"{x}\"\nreturn x", "is no TorchScript"),
    ] {
        let message = refusal(body);
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    let deep = 100_000;
    for line in [
        format!("return {}x{}", "(".repeat(deep), ")".repeat(deep)),
        format!("return {}x", "-".repeat(deep)),
        format!("return x{}", ".a".repeat(deep)),
        format!("return {}x{}", "torch.relu(".repeat(deep), ")".repeat(deep)),
        format!("y = [{}]\nreturn x", "[".repeat(deep)),
    ] {
        assert!(refusal(&line).contains("nested deeper") || refusal(&line).contains("is no TorchScript"));
    }
}

#[test]
fn objects_that_hold_themselves_and_classes_without_code_are_refused() {
    let code = "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    return (self.inner).forward(x, )\n";
    let module = |class: &'static str, inner: Py| Py::Object("__torch__", class, vec![(text("inner"), inner)]);
    let open = |data: &Py| refused(&script_zip(&[("__torch__.py", code)], data, vec![], &[]));
    assert!(open(&module("Net", Py::Int(3))).contains("calls the method `forward` of a number"));
    assert!(open(&module("Other", Py::None)).contains("there is no code for the class `__torch__.Other`"));
    assert!(open(&Py::Tuple(vec![])).contains("takes something for a module that is none"));
    let endless =
        code.replace("return (self.inner).forward(x, )", "y = self\n    while True:\n      y = y.inner\n    return x");
    // x = Net; x.inner = x
    let cycle = b"\x80\x02c__torch__\nNet\n)\x81q\x00}X\x05\x00\x00\x00innerh\x00sb.";
    let zip = crate::model::format::testing::zip_of(
        &[("n/data.pkl", cycle), ("n/constants.pkl", b"\x80\x02)."), ("n/code/__torch__.py", code.as_bytes())],
        zip::CompressionMethod::Stored,
    );
    assert!(refused(&zip).contains("inside each other without an end"));
    let zip = crate::model::format::testing::zip_of(
        &[("n/data.pkl", cycle), ("n/constants.pkl", b"\x80\x02)."), ("n/code/__torch__.py", endless.as_bytes())],
        zip::CompressionMethod::Stored,
    );
    assert!(refused(&zip).contains("steps"));
}

#[test]
fn what_another_reader_would_read_otherwise_is_refused() {
    let plain = "return torch.linear(torch.flatten(x, 1), self.weight, self.bias)";
    for hooks in ["__forward_pre_hooks__", "__forward_hooks__"] {
        let hooked = network_with(&format!("{hooks} = [\"pre\", ]"), plain, &[]);
        assert!(refused(&hooked).contains("forward hooks"), "{hooks}");
        translated(&network_with(&format!("{hooks} = []"), plain, &[]), Some(2)).unwrap();
    }
    let twice = "def f(x: Tensor) -> Tensor:\n  return x\n".repeat(2);
    assert!(refused(&network("return __torch__.g.f(x, )", &[("__torch__/g.py", &twice)])).contains("defined twice"));
}

#[test]
fn values_without_dimensions_or_with_too_many_are_refused() {
    for operator in [
        "torch.select(y, 0, 0)",
        "torch.squeeze(y, 0)",
        "torch.transpose(y, 0, 1)",
        "torch.slice(y, 0, 0, 1)",
        "torch.cat([y, y])",
    ] {
        let message = refusal(&format!("y = torch.mean(x)\nreturn {operator}"));
        assert!(!message.contains("broke the reader"), "{operator}: {message}");
    }
    assert!(refusal("y = x\nwhile True:\n  y = torch.unsqueeze(y, 0)\nreturn y").contains("dimensions"));
}
