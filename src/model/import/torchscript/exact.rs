//! What decides what a network computes is known exactly, or the network is refused: data types, devices, sizes, memory. Expected numbers
//! are PyTorch's, of the same modules.

use tch::{Kind, Tensor};

use super::tests::{run, translated};
use crate::model::format::testing::{Py, floats, script_zip, storage, text, vector, view};
use crate::model::op::Op;

/// A network with a buffer `b` of a storage class; `body` makes numbers out of it by which the two logits 1 and 1 are multiplied.
fn with_buffer(class: &'static str, bytes: Vec<u8>, shape: &[i64], stride: &[i64], body: &str) -> Vec<u8> {
    let body: Vec<String> = body.lines().map(|line| format!("    {line}\n")).collect();
    let code = format!(
        "class Net(Module):\n  __parameters__ = [\"bias\", ]\n  bias : Tensor\n  b : Tensor\n  def forward(self: __torch__.Net,\n    x: Tensor) -> \
         Tensor:\n    b = self.b\n    ones = torch.add(torch.mul(torch.mean(x, [2, 3]), 0), self.bias)\n{}",
        body.concat()
    );
    let elements = shape.iter().product();
    let fields =
        vec![(text("bias"), vector("0", 2)), (text("b"), view(storage(class, "1", elements), 0, shape, stride))];
    let module = Py::Object("__torch__", "Net", fields);
    script_zip(&[("__torch__.py", &code)], &module, vec![], &[("data/0", floats(&[1.0, 1.0])), ("data/1", bytes)])
}

fn logits(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let images = Tensor::ones([1, 1, 2, 2], (Kind::Float, tch::Device::Cpu));
    let program = translated(bytes, Some(2))?.program;
    Ok(Vec::try_from(run(program, &images).view([-1]).to_kind(Kind::Double)).unwrap())
}

fn of(class: &'static str, bytes: &[u8], body: &str) -> Result<Vec<f64>, String> {
    logits(&with_buffer(class, bytes.to_vec(), &[2], &[1], body))
}

const USE: &str = "\nreturn torch.mul(ones, torch.to(y, 6))";

#[test]
fn every_type_of_the_file_is_kept() {
    // 100 and 200 as bytes: the sum 300 does not fit.
    let twice = format!("y = torch.mul(b, 2){USE}");
    assert_eq!(of("ByteStorage", &[100, 200], &twice).unwrap(), [200.0, 144.0]);
    assert_eq!(of("CharStorage", &[100, 200], &twice).unwrap(), [-56.0, -112.0]);
    assert_eq!(of("ShortStorage", &[0, 100, 0, 200], &twice).unwrap(), [-14336.0, -28672.0]);
    let big: Vec<u8> = [i32::MAX, -5].iter().flat_map(|it| it.to_le_bytes()).collect();
    assert_eq!(of("IntStorage", &big, &twice).unwrap(), [-2.0, -10.0]);
    // A third in f64, less a third in f32.
    let thirds: Vec<u8> = [1.0 / 3.0, -1.0 / 3.0_f64].iter().flat_map(|it| it.to_le_bytes()).collect();
    let rest = "y = torch.mul(torch.sub(b, torch.to(torch.to(b, 6), 7)), 1e9)";
    let found = of("DoubleStorage", &thirds, &format!("{rest}{USE}")).unwrap();
    assert!((found[0] + 9.934_107).abs() < 1e-5 && (found[1] - 9.934_107).abs() < 1e-5, "{found:?}");
    // 0.3333 in half precision, which is moved and changed, and computed with as PyTorch does.
    let third = [0x55, 0x35, 0x55, 0x35];
    let turned = "y = torch.roll(b, [1], [0])";
    assert_eq!(of("HalfStorage", &third, &format!("{turned}{USE}")).unwrap(), [0.333_251_953_125; 2]);
    assert_eq!(of("HalfStorage", &third, &twice).unwrap(), [0.666_503_906_25; 2]);
    // float32 with float16 is float32, with float64 it is not.
    assert_eq!(of("HalfStorage", &third, "return torch.mul(ones, b)").unwrap(), [0.333_251_953_125; 2]);
    let message = of("DoubleStorage", &thirds, "return torch.mul(ones, b)").unwrap_err();
    assert!(message.contains("logits in float64") && message.contains("model.float()"), "{message}");
}

#[test]
fn types_decide_as_they_do_in_pytorch() {
    let which = "
if torch.eq(ops.prim.dtype(b), 4):
  k = 4
elif torch.eq(ops.prim.dtype(b), 3):
  k = 3
elif torch.is_floating_point(b):
  k = 2
else:
  k = 1
return torch.mul(ones, k)";
    assert_eq!(of("IntStorage", &[0; 8], which).unwrap(), [3.0; 2]);
    assert_eq!(of("DoubleStorage", &[0; 16], which).unwrap(), [2.0; 2]);
    assert_eq!(of("ByteStorage", &[0; 2], which).unwrap(), [1.0; 2]);
    // Truth values times a whole number are whole numbers, times another are others, and one made like whole numbers is one.
    let counted = |factor: &str| format!("y = torch.add(torch.mul(b, {factor}), torch.mul(b, {factor})){USE}");
    assert_eq!(of("BoolStorage", &[1, 0], &counted("3")).unwrap(), [6.0, 0.0]);
    assert_eq!(of("BoolStorage", &[1, 0], &counted("0.25")).unwrap(), [0.5, 0.0]);
    let made = "
y = torch.add(torch.new_ones(b, [2]), torch.zeros_like(b))
if torch.eq(ops.prim.dtype(y), 3):
  k = 1
else:
  k = 2
return torch.mul(ones, k)";
    assert_eq!(of("IntStorage", &[0; 8], made).unwrap(), [1.0; 2]);
    assert!(of("BoolStorage", &[1, 0], "return torch.sub(ones, b)").unwrap_err().contains("subtracts truth values"));
}

#[test]
fn a_single_float_is_one_and_no_python_number() {
    // 16777216 + 1 is 16777216 in f32.
    let body = "one = torch.select(b, 0, 0)\ny = torch.sub(torch.add(one, 1), one)\nreturn torch.mul(ones, y)";
    assert_eq!(of("FloatStorage", &floats(&[16_777_216.0, 0.0]), body).unwrap(), [0.0; 2]);
    // A size that was put into a tensor is a whole number, and one that is divided is not.
    let size = "n = ops.prim.NumToTensor(torch.size(x, 2))\ny = torch.div(torch.mul(n, 16777217), 2)\nreturn torch.mul(ones, y)";
    assert_eq!(of("FloatStorage", &[0; 8], size).unwrap(), [16_777_216.0; 2]);
    let compared = "
if torch.eq(float(torch.mul(torch.select(b, 0, 0), 3.)), 0.30000001192092896):
  k = 1
else:
  k = 2
return torch.mul(ones, k)";
    assert_eq!(of("FloatStorage", &floats(&[0.1, 0.0]), compared).unwrap(), [1.0; 2]);
}

#[test]
fn memory_is_shared_where_pytorch_shares_it() {
    let numbers = floats(&[1.0, 2.0, 3.0, 4.0]);
    let square = |stride: &[i64], body: &str| {
        logits(&with_buffer(
            "FloatStorage",
            numbers.clone(),
            &[2, 2],
            stride,
            &format!("{body}\nreturn torch.mul(ones, y)"),
        ))
    };
    let changed = |view: &str| {
        format!("t = torch.clone(b)\nv = {view}\n_0 = torch.mul_(t, 10)\ny = torch.slice(torch.flatten(v), 0, 0, 2)")
    };
    // Contiguous after it was transposed: a copy. As it was: the same.
    assert_eq!(square(&[2, 1], &changed("torch.contiguous(torch.transpose(t, 0, 1))")).unwrap(), [1.0, 3.0]);
    assert_eq!(square(&[2, 1], &changed("torch.contiguous(t)")).unwrap(), [10.0, 20.0]);
    // Stored transposed: what is reshaped is a copy.
    assert_eq!(square(&[1, 2], &changed("torch.reshape(t, [4])")).unwrap(), [1.0, 3.0]);
    assert_eq!(square(&[2, 1], &changed("torch.reshape(t, [4])")).unwrap(), [10.0, 20.0]);
}

#[test]
fn devices_decide_nothing() {
    let decide = |test: &str| {
        of("FloatStorage", &[0; 8], &format!("if {test}:\n  k = 1\nelse:\n  k = 2\nreturn torch.mul(ones, k)"))
    };
    for (test, expected) in [
        ("torch.eq(torch.device(\"cpu\"), torch.device(\"cuda\"))", 2.0),
        ("torch.eq(torch.device(\"cuda\", 1), torch.device(\"cuda:1\"))", 1.0),
        ("torch.eq(ops.prim.device(x), ops.prim.device(b))", 1.0),
        ("torch.__contains__([\"cpu\", \"cuda\", \"other\"], ops.prim.type(ops.prim.device(x)))", 1.0),
        ("torch.eq(ops.prim.type(ops.prim.device(x)), \"mps\")", 2.0),
        ("ops.prim.is_mps(x)", 2.0),
    ] {
        assert_eq!(decide(test).unwrap(), [expected; 2], "{test}");
    }
    for test in [
        "torch.eq(ops.prim.device(x), torch.device(\"cpu\"))",
        "torch.eq(ops.prim.type(ops.prim.device(x)), \"cpu\")",
        "ops.prim.is_cuda(x)",
        "torch.__contains__([\"cuda\"], ops.prim.type(ops.prim.device(x)))",
        "torch.eq(ops.prim.device(x), ops.prim.device(torch.to(b, torch.device(\"cuda\"), 6)))",
    ] {
        let message = decide(test).unwrap_err();
        assert!(message.contains("device that it runs on") && message.contains("line "), "{test}: {message}");
    }
}

#[test]
fn gradients_are_wanted_where_the_file_says_so() {
    let decide = |of_what: &str| {
        let body = format!("if ops.prim.requires_grad({of_what}):\n  k = 1\nelse:\n  k = 2\nreturn torch.mul(ones, k)");
        of("FloatStorage", &[0; 8], &body)
    };
    assert_eq!(decide("x").unwrap(), [1.0; 2]);
    // Neither the buffer nor the parameter of this file does.
    assert_eq!(decide("b").unwrap(), [2.0; 2]);
    assert_eq!(decide("self.bias").unwrap(), [2.0; 2]);
    assert!(decide("torch.mul(b, 2)").unwrap_err().contains("wants a gradient"));
}

#[test]
fn sizes_that_decide_are_the_only_ones() {
    let decided = "
if torch.eq(torch.size(x, 2), 100):
  k = 2
else:
  k = 1
return torch.mul(ones, k)";
    let open = |body: &str, side| translated(&with_buffer("FloatStorage", vec![0; 8], &[2], &[1], body), side).unwrap();
    assert_eq!(open(decided, None).input_size, Some([224, 224]));
    assert_eq!(open("return torch.mul(ones, torch.floordiv(torch.size(x, 2), 1000))", None).input_size, Some([224; 2]));
    // Channels, batch and rank are no sides, and a size that is only read decides nothing.
    for free in [
        "n, c, h, w, = torch.size(x)\nreturn torch.mul(ones, c)",
        "if torch.ne(torch.dim(x), 4):\n  ops.prim.RaiseException(\"no\")\nreturn ones",
        "h = torch.size(ones, 1)\nreturn torch.mul(ones, h)",
    ] {
        assert_eq!(open(free, None).input_size, None, "{free}");
    }
}

#[test]
fn texts_are_those_of_torchscript_or_decide_nothing() {
    let decide = |test: &str| {
        of("FloatStorage", &[0; 8], &format!("if {test}:\n  k = 1\nelse:\n  k = 2\nreturn torch.mul(ones, k)"))
    };
    assert_eq!(decide("torch.eq(str(1.0), \"1.\")").unwrap(), [1.0; 2]);
    assert_eq!(decide("torch.eq(str(1.0), \"1.0\")").unwrap(), [2.0; 2]);
    assert_eq!(decide("torch.eq(torch.format(\"{} {}\", 3, True), \"3 True\")").unwrap(), [1.0; 2]);
    for inexact in ["str(0.1)", "str([1, 2])", "torch.format(\"{}\", x)", "torch.add(\"a\", str(x))"] {
        let message = decide(&format!("torch.eq({inexact}, \"a\")")).unwrap_err();
        assert!(message.contains("compares a text with"), "{inexact}: {message}");
    }
}

#[test]
fn one_output_is_expected() {
    let refused = |body: &str| of("FloatStorage", &[0; 8], body).unwrap_err();
    assert!(
        refused("return (ones, torch.add(ones, 1))")
            .contains("returns 2 tensors ([N, 2], [N, 2]), expected the logits alone")
    );
    assert!(refused("return (ones, 3)").contains("expected logits"));
    // What is no row of numbers for each image is no rival.
    for body in ["return (ones, None)", "return (ones, x)", "return [x, ones]"] {
        assert_eq!(of("FloatStorage", &[0; 8], body).unwrap(), [1.0; 2], "{body}");
    }
}

#[test]
fn gradients_are_cut_and_types_changed_where_the_code_says_so() {
    let ops = |body: &str| {
        let bytes = with_buffer("FloatStorage", vec![0; 8], &[2], &[1], body);
        translated(&bytes, Some(2)).unwrap().program.nodes.into_iter().map(|node| node.op).collect::<Vec<_>>()
    };
    for cut in ["torch.detach(ones)", "ops.prim.data(ones)"] {
        assert!(ops(&format!("return torch.add(ones, {cut})")).contains(&Op::Detach), "{cut}");
    }
    let cast = ops("return torch.to(torch.to(torch.round(ones), 0), 6)");
    assert!(cast.contains(&Op::Cast { kind: Kind::Uint8 }) && cast.contains(&Op::Cast { kind: Kind::Float }));
    let message = of("FloatStorage", &[0; 8], "return torch.to(ones, 5)").unwrap_err();
    assert!(message.contains("returns logits in float16"), "{message}");
}

#[test]
fn honest_functions_of_modules_are_followed() {
    let numbers = floats(&[2.0, 4.0]);
    for (body, expected) in [
        ("return torch.mul(ones, torch.reciprocal(b))", [0.5, 0.25]),
        ("return torch.mul(ones, torch.slice(torch.constant_pad_nd(b, [1, 0], 8.), 0, 0, 2))", [8.0, 2.0]),
        (
            "y = torch.tensor([1, 5], dtype=6)\n_0 = torch.copy_(y, torch.tensor(3.))\nreturn torch.mul(ones, y)",
            [3.0; 2],
        ),
        (
            "y = torch.zeros_like(b, dtype=6)\nz = torch.masked_fill_(y, torch.gt(b, 3), 9.)\nreturn torch.mul(ones, z)",
            [0.0, 9.0],
        ),
        (
            "k = 1\nfor i in range(torch.__range_length(2, 4, 1)):\n  k = torch.mul(k, torch.__derive_index(i, 2, 1))\nreturn torch.mul(ones, k)",
            [6.0; 2],
        ),
        ("return torch.mul(ones, torch.numel(b))", [2.0; 2]),
        ("return torch.mul(ones, torch.pow(3, 2))", [9.0; 2]),
        (
            "n = ops.prim.NumToTensor(torch.mul(torch.size(x, 2), 2))\nreturn torch.mul(ones, torch.pow(n, -0.5))",
            [0.5; 2],
        ),
    ] {
        assert_eq!(of("FloatStorage", &numbers, body).unwrap_or_else(|it| panic!("{body}: {it}")), expected, "{body}");
    }
}
