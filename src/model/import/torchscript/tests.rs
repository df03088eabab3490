//! Small modules written by hand, in the words of `torch.jit.save`.

use std::path::Path;

use tch::{Kind, Tensor};

use super::{ImportError, Imported, import};
use crate::model::format::testing::{Py, floats, script_zip, storage, text, vector, view};
use crate::model::format::{ModelFile, read_model_from};
use crate::model::interpreter::Interpreter;
use crate::model::op::Mode;
use crate::model::program::Program;

/// Two logits of images 1×2×2: `weight` [2, 4] and `bias` [2] are attributes, `body` is what `forward` does with `x`.
pub(super) fn network(body: &str, more: &[(&str, &str)]) -> Vec<u8> {
    network_with("__buffers__ = []", body, more)
}

/// One whose class says more of itself.
pub(super) fn network_with(field: &str, body: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut code = format!(
        "class Net(Module):\n  __parameters__ = [\"weight\", \"bias\", ]\n  {field}\n  weight : Tensor\n  bias : Tensor\n  training : bool\n  \
         sizes : List[int]\n  padding : Final[int] = 1\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
    );
    code.extend(body.lines().map(|line| format!("    {line}\n")));
    let files = [&[("__torch__.py", code.as_str())], more].concat();
    let fields = vec![
        (text("weight"), view(storage("FloatStorage", "0", 8), 0, &[2, 4], &[4, 1])),
        (text("bias"), vector("1", 2)),
        (text("training"), Py::Bool(true)),
        (text("sizes"), Py::Tuple(vec![Py::Int(2), Py::Int(2)])),
    ];
    let weight = floats(&[1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0]);
    let storages =
        [("data/0", weight), ("data/1", floats(&[0.5, 0.25])), ("constants/0", 3_i64.to_le_bytes().to_vec())];
    let three = view(storage("LongStorage", "0", 1), 0, &[], &[]);
    script_zip(&files, &Py::Object("__torch__", "Net", fields), vec![three], &storages)
}

pub(super) fn translated(bytes: &[u8], side: Option<i64>) -> Result<Imported, String> {
    match read_model_from(bytes, Path::new("net.pt")).map_err(|error| error.to_string())? {
        ModelFile::Script(file) => import(&file, side).map_err(|error: ImportError| error.to_string()),
        other => panic!("{other:?}"),
    }
}

pub(super) fn run(program: Program, images: &Tensor) -> Tensor {
    Interpreter::new(program).run(images, Mode::Evaluate).unwrap()
}

/// Logits of three images of the numbers 1 to 12.
fn logits(body: &str) -> Vec<f64> {
    let imported =
        translated(&network(body, &[("__torch__/f.py", FUNCTIONS)]), Some(2)).unwrap_or_else(|it| panic!("{it}"));
    let images = (Tensor::arange(12, (Kind::Float, tch::Device::Cpu)) + 1.0).view([3, 1, 2, 2]);
    let logits = run(imported.program, &images);
    assert_eq!(logits.size(), [3, 2]);
    Vec::try_from(logits.view([-1]).to_kind(Kind::Double)).unwrap()
}

fn refusal(body: &str) -> String {
    let message = translated(&network(body, &[("__torch__/f.py", FUNCTIONS)]), Some(2)).unwrap_err();
    assert!(!message.contains('\n'), "{message:?}");
    message
}

/// Functions beside the module.
const FUNCTIONS: &str = "def double(x: Tensor,
    times: int=2) -> Tensor:
  return torch.mul(x, times)
def maybe(x: Optional[Tensor]=None) -> bool:
  if torch.__is__(x, None):
    return False
  else:
    return True
class Mode(Enum):
  FAST = \"fast\"
  SLOW = \"slow\"
class Pair(NamedTuple):
  a : Tensor
  b : int
";

const PLAIN: [f64; 6] = [30.5, -29.75, 70.5, -69.75, 110.5, -109.75];

#[test]
fn a_linear_layer_is_one() {
    assert_eq!(logits("return torch.linear(torch.flatten(x, 1), self.weight, self.bias)"), PLAIN);
}

#[test]
fn sizes_are_computed_whatever_the_number_of_images() {
    for shape in [
        "[torch.size(x, 0), 4]",
        "[torch.size(x, 0), -1]",
        "[-1, 4]",
        "[int(_n), torch.mul(torch.size(x, 2), torch.size(x, -1))]",
        "[(torch.size(x))[0], torch.floordiv(torch.mul(8, (torch.size(x))[2]), 4)]",
        "[int(torch.floor_divide(torch.mul(_n, CONSTANTS.c0), CONSTANTS.c0)), int(torch.add(CONSTANTS.c0, 1))]",
        "[torch.size(x, 0), torch.mul((self.sizes)[0], (self.sizes)[-1])]",
        "torch.add([torch.size(x, 0)], [torch.add(3, self.padding)])",
    ] {
        let body = format!(
            "_n = ops.prim.NumToTensor(torch.size(x, 0))\nflat = torch.view(x, {shape})\nreturn torch.linear(flat, self.weight, self.bias)"
        );
        assert_eq!(logits(&body), PLAIN, "{shape}");
    }
}

#[test]
fn what_is_known_decides() {
    let body = "
training = self.training
if training:
  ops.prim.RaiseException(\"in training\")
else:
  pass
_0 = __torch__.f.double
y = torch.flatten(x, 1)
y0 = _0(y, )
y1 = __torch__.f.double(y0, times=3, )
tensors = annotate(List[Tensor], [])
for i in range(3):
  _1 = torch.append(tensors, y1)
n = torch.len(tensors)
going = torch.gt(n, 1)
at = 0
total = uninitialized(Tensor)
while going:
  if torch.eq(at, 0):
    total = unchecked_cast(Tensor, tensors[at])
  elif torch.__contains__([7, 8], at):
    total = x
  else:
    total = torch.add(total, tensors[at])
  at = torch.add(at, 1)
  going = torch.__and__(torch.lt(at, n), torch.__not__(False))
mode = __torch__.f.Mode.FAST
if torch.eq(mode, __torch__.f.Mode.SLOW):
  divisor = 1
else:
  divisor = 18
if __torch__.f.maybe(None, ):
  divisor0 = 1
else:
  divisor0 = divisor
pair = __torch__.f.Pair(torch.div(total, divisor0), 5)
a, b, = pair
return torch.linear(pair.a, self.weight, self.bias)";
    assert_eq!(logits(body), PLAIN);
}

#[test]
fn tensors_that_are_changed_in_place_are_changed_under_all_their_names() {
    let twice = PLAIN.map(|logit| if logit > 0.0 { 2.0 * logit } else { 0.0 });
    let body = "
y = torch.linear(torch.flatten(x, 1), self.weight, self.bias)
z = y
w = torch.relu_(z)
return torch.add(y, w)";
    assert_eq!(logits(body), twice);
    let copied = body.replace("z = y", "z = torch.clone(y)");
    let once: Vec<f64> = PLAIN.iter().map(|logit| logit + logit.max(0.0)).collect();
    assert_eq!(logits(&copied), once);
    let view = body.replace("z = y", "z = torch.slice(y, 1, 0, 1)").replace("(y, w)", "(y, y)");
    let message = refusal(&view);
    assert!(
        message.contains("torch.add in line 15 of code/__torch__.py") && message.contains("changed in place"),
        "{message}"
    );
    let model =
        refusal("_0 = torch.mul_(self.bias, 2)\nreturn torch.linear(torch.flatten(x, 1), self.weight, self.bias)");
    assert!(model.contains("changes a tensor of the model"), "{model}");
}

#[test]
fn constants_are_folded_and_whole_numbers_stay_whole() {
    let body = "
mask = torch.new_zeros(self.bias, [2])
_0 = torch.fill_(torch.slice(mask, 0, 0, 1), 1)
n = int(torch.floor_divide(torch.add(CONSTANTS.c0, 4), 2))
y = torch.linear(torch.flatten(x, 1), self.weight, self.bias)
return torch.add(torch.mul(y, mask), n)";
    assert_eq!(logits(body), [33.5, 3.0, 73.5, 3.0, 113.5, 3.0]);
}

#[test]
fn numbers_that_tracing_put_into_tensors_are_numbers() {
    // In the type of the bias: 3 is an int64 in the file.
    let body = "
if torch.eq(ops.prim.dtype(torch.mul(torch.select(self.bias, 0, 0), CONSTANTS.c0)), 6):
  k = 3
else:
  k = 0
return torch.mul(torch.linear(torch.flatten(x, 1), self.weight, self.bias), k)";
    assert_eq!(logits(body), PLAIN.map(|logit| 3.0 * logit));
}

#[test]
fn casts_are_done_or_refused() {
    let body = |to: &str| format!("return torch.linear(torch.flatten(torch.to(x, {to}), 1), self.weight, self.bias)");
    assert_eq!(logits(&body("6")), PLAIN);
    assert_eq!(logits(&body("ops.prim.device(x), ops.prim.dtype(self.bias)")), PLAIN);
    assert_eq!(logits(&body("5), 6").replacen("torch.to(", "torch.to(torch.to(", 1)), PLAIN);
    assert!(refusal(&body("5")).contains("computes in float16, which is not supported"));
    assert!(refusal("return torch.softmax(torch.flatten(x, 1), 1, 7)").contains("logits in float64"));
}

#[test]
fn what_is_not_translated_is_named_with_its_line() {
    let cases = [
        (
            "y = x\nreturn torch.fft_fft(y)",
            "line 12 of code/__torch__.py, module ``: the operator `torch.fft_fft` is not supported",
        ),
        ("return torch.relu(y)", "it reads `y`, which is not set"),
        ("return torch.relu(x, 1)", "the operator `torch.relu` is not supported"),
        ("return torch.add(x, x, alpha=2, out=x)", "the operator `torch.add` is not supported"),
        ("return torch.max_pool2d(x, [2, 2], ceil_mode=3)", "its argument `ceil_mode` is not true or false"),
        ("if torch.gt(torch.size(x, 0), 5):\n  pass\nreturn x", "compares the number of images, times 1, with 5"),
        ("if torch.dropout(x, 0.5, False):\n  pass\nreturn x", "decides by what the images hold"),
        ("self.bias = x\nreturn x", "changes an attribute of a module"),
        ("_0 = torch.append(self.sizes, 1)\nreturn x", "changes a tuple"),
        ("return self.nothing", "it reads `nothing` of an object, which is not there"),
        ("return torch.size(x)", "it returns a number that depends on the number of images, expected logits"),
        ("return 3", "it returns a number, expected logits"),
        ("return self.bias", "its output does not depend on its input"),
        ("return x", "it returns [N, 3, 2, 2] for images [N, 3, 2, 2], expected [N, classes]"),
        ("return torch.dropout(torch.flatten(x, 1), 0.5, True)", "was exported in training mode"),
        (
            "ops.prim.RaiseException(torch.format(\"no {} of {}\", \"way\\n\", [1, x]))\nreturn x",
            "it refuses: no way\u{fffd} of [1, a tensor]",
        ),
        ("with torch.no_grad():\n  pass\nreturn x", "its kind of statement is not supported"),
        ("return torch.view(x, [2, -1])", "expected [N, classes]"),
    ];
    for (body, expected) in cases {
        let message = refusal(body);
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn modules_have_the_paths_by_which_they_are_reached() {
    let code = "class Layer(Module):
  __parameters__ = [\"weight\", ]
  weight : Tensor
  def forward(self: __torch__.Layer,
    x: Tensor) -> Tensor:
    return (self).helper(x, )
  def helper(self: __torch__.Layer,
    x: Tensor) -> Tensor:
    return torch.linear(x, self.weight, None)
class Net(Module):
  __annotations__[\"0\"] = __torch__.Layer
  head : __torch__.Layer
  def forward(self: __torch__.Net,
    x: Tensor) -> Tensor:
    y = (getattr(self, \"0\")).forward(torch.flatten(x, 1), )
    y0 = (getattr(self, \"0\")).forward1(y, )
    return (self.head).forward(y0, )
"
    .replace(
        "def helper",
        "def forward1(self: __torch__.Layer,\n    x: Tensor) -> Tensor:\n    return (self).helper(x, )\n  def helper",
    );
    let layer = |key: &str| {
        let weight = view(storage("FloatStorage", key, 16), 0, &[4, 4], &[4, 1]);
        Py::Object("__torch__", "Layer", vec![(text("weight"), weight)])
    };
    let module = Py::Object("__torch__", "Net", vec![(text("0"), layer("0")), (text("head"), layer("1"))]);
    let values = floats(&[0.5; 16]);
    let storages = [("data/0", values.clone()), ("data/1", values)];
    let bytes = script_zip(&[("__torch__.py", &code)], &module, vec![], &storages);
    let imported = translated(&bytes, Some(2)).unwrap();
    let paths: Vec<&str> = imported.program.nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(paths, ["", "0", "0@1", "head"]);
    assert_eq!(imported.class, "Net");
    let names: Vec<&str> = imported.program.weights.iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(names, ["0.weight", "head.weight"]);
    assert!(imported.program.weights.iter().all(|weight| weight.trainable));
}
