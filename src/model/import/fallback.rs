//! Operators that no [`Op`] computes, called by their schema where libtorch foretells what they make; [`aten`] says which.

use tch::{Device, Kind, Tensor};

use super::ImportError;
use super::call::{Argument as Given, Call, Made};
use super::graph::{Graph, Operand};
use super::kind::{self, Scalar};
use super::shape::{Shape, shown};
use crate::model::aten::{self, Argument, AtenCall, Formal, Schema, Type};
use crate::model::program::{Op, Size};

/// Numbers of images for which sizes are foretold: no network has them for another reason.
const BATCHES: [i64; 2] = [1009, 2003];
/// What asking libtorch costs for each tensor, in multiply-adds.
const COST: f64 = 2e4;
/// Most tensors that one operator takes, or makes.
const MOST_TENSORS: usize = 4096;

/// Sizes and the type of a tensor.
type Measured = (Vec<i64>, Kind);

/// A call of an operator of the list.
pub(super) struct Boxed {
    schema: &'static Schema,
    /// Whether it writes over its first argument.
    in_place: bool,
    /// By the names of the schema.
    arguments: Vec<(String, Given)>,
}

/// Whether an operator of the list has this name, whatever its overload.
pub(super) fn is_known(name: &str) -> bool {
    [name, name.strip_suffix('_').unwrap_or(name)].into_iter().any(|name| !aten::called(name).is_empty())
}

/// What a typed translation has made since there were so many nodes, and whether that is a list; where there is none or it has failed, what
/// libtorch makes of the call.
pub(super) fn typed_or_boxed(
    graph: &mut Graph,
    nodes: usize,
    typed: Option<Made>,
    boxed: impl FnOnce() -> Option<Boxed>,
) -> Result<(Vec<Operand>, bool), ImportError> {
    let typed = match typed {
        Some(Ok(made)) => return Ok((made, false)),
        // There is no room for anything else.
        Some(Err(error)) if graph.is_exhausted() => return Err(error),
        typed => typed,
    };
    let Some(Boxed { schema, in_place, arguments }) = boxed() else {
        return Err(typed.and_then(Made::err).unwrap_or_else(|| graph.error("is not supported")));
    };
    graph.cut(nodes);
    let call = &mut Call::new(graph, &arguments);
    let made = call.boxed(schema).and_then(|made| match in_place {
        true => call.overwrite(schema.arguments.iter().map(|it| it.name), made),
        false => Ok(made),
    });
    // What advmod says is more to the point.
    made.map(|made| (made, schema.makes_list)).map_err(|error| typed.and_then(Made::err).unwrap_or(error))
}

/// The operator of the list for `name.overload`, and whether the name is that of one that writes over its first argument.
pub(super) fn find(name: &str) -> Option<(&'static Schema, bool)> {
    if let Some(schema) = aten::find(name) {
        return Some((schema, false));
    }
    let (base, overload) = name.split_once('.')?;
    aten::find(&format!("{}.{overload}", base.strip_suffix('_')?)).map(|schema| (schema, true))
}

/// The call of `name.overload` with these arguments, if its operator is in the list.
pub(super) fn by_overload(name: &str, arguments: &[(String, Given)]) -> Option<Boxed> {
    find(name).map(|(schema, in_place)| Boxed { schema, in_place, arguments: arguments.to_vec() })
}

/// The call of the first overload of an operator that takes these arguments, by their place and by their name.
pub(super) fn by_arguments(name: &str, places: &[Given], named: &[(String, Given)]) -> Option<Boxed> {
    let fitting = |name: &str, in_place: bool| {
        let fits = |schema: &&'static Schema| {
            let mut formals = schema.arguments.iter().filter(|it| !it.by_name);
            let by_place = places.iter().all(|given| formals.next().is_some_and(|formal| takes(formal, given)));
            let by_name =
                |(name, given): &(String, Given)| schema.arguments.iter().any(|it| it.name == name && takes(it, given));
            let is_given = |formal: &Formal| named.iter().any(|(name, _)| name == formal.name);
            by_place && named.iter().all(by_name) && formals.all(|it| it.has_default || it.is_optional || is_given(it))
        };
        let schema = aten::called(name).iter().find(fits)?;
        let names = schema.arguments.iter().filter(|it| !it.by_name).map(|it| it.name.to_owned());
        let arguments = names.zip(places.iter().cloned()).chain(named.iter().cloned()).collect();
        Some(Boxed { schema, in_place, arguments })
    };
    fitting(name, false).or_else(|| fitting(name.strip_suffix('_')?, true))
}

/// Whether an argument may be given this way.
fn takes(formal: &Formal, given: &Given) -> bool {
    match formal.kind {
        _ if matches!(given, Given::None) => formal.is_optional,
        Type::Tensor => matches!(given, Given::Tensor(_)),
        Type::Tensors => matches!(given, Given::Tensors(_)),
        Type::Scalar => matches!(given, Given::Integer(_) | Given::Float(_) | Given::Bool(_)),
        Type::Integer => matches!(given, Given::Integer(_)),
        Type::Integers => matches!(given, Given::Integers(_)),
        Type::Number => matches!(given, Given::Float(_) | Given::Integer(_)),
        Type::Numbers => matches!(given, Given::Floats(_) | Given::Integers(_)),
        Type::Flag => matches!(given, Given::Bool(_)),
        Type::Text => matches!(given, Given::Text(_)),
        Type::Kind => matches!(given, Given::Kind(_) | Given::Integer(_)),
        Type::Other => true,
    }
}

impl Call<'_> {
    fn boxed(&mut self, schema: &'static Schema) -> Made {
        let mut operands = Vec::new();
        let arguments = schema.arguments.iter().map(|formal| self.boxed_argument(formal, &mut operands));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        self.all_used()?;
        self.graph.call(&AtenCall { schema, arguments }, &operands)
    }

    fn boxed_argument(&self, formal: &Formal, operands: &mut Vec<Operand>) -> Result<Argument, ImportError> {
        let name = formal.name;
        let mut place = |operand: Operand| {
            operands.push(operand);
            operands.len() - 1
        };
        let Some(given) = self.argument(name) else {
            return match (self.is_none(name) && formal.is_optional, formal.has_default) {
                (false, true) => Ok(Argument::Default),
                _ if formal.is_optional => Ok(Argument::None),
                _ => Err(self.error(format!("its argument `{name}` is missing"))),
            };
        };
        if name == "dropout_p" && self.float(name, None)? > 0.0 {
            return Err(self.error("drops values, which is not supported"));
        }
        Ok(match (formal.kind, given) {
            (Type::Tensor, Given::Tensor(_)) => Argument::Tensor(place(self.operand(name)?)),
            // A number counts less than a tensor for the type of the result, as one without dimensions does.
            (Type::Tensor, Given::Float(_) | Given::Bool(_) | Given::Integer(Size::Fixed(_))) => {
                let number = self.scalar(name)?;
                Argument::Tensor(place(Operand::constant(number.tensor(number.kind()))))
            }
            (Type::Tensors, Given::Tensors(all)) => {
                if name == "indices"
                    && all.iter().flatten().any(|it| matches!(self.graph.kind(it), Kind::Bool | Kind::Uint8))
                {
                    return Err(self.error("takes as many numbers as a mask has truths, which is not supported"));
                }
                let one = |it: &Option<Operand>| match it {
                    Some(operand) => self.graph.read(operand).map(|()| Some(place(operand.clone()))),
                    None => Ok(None),
                };
                Argument::Tensors(all.iter().map(one).collect::<Result<_, _>>()?)
            }
            (Type::Scalar, Given::Tensor(_)) => {
                let known = self.constant(name)?;
                match (known.numel(), kind::is_floating(known.kind())) {
                    (1, true) => Argument::Number(known.double_value(&vec![0; known.dim()])),
                    (1, false) => Argument::Integer(Size::Fixed(known.int64_value(&vec![0; known.dim()]))),
                    _ => return Err(self.error(format!("its argument `{name}` is not a single number"))),
                }
            }
            (Type::Scalar | Type::Integer | Type::Integers | Type::Kind, Given::Integer(size)) => {
                Argument::Integer(*size)
            }
            (Type::Scalar, _) => match self.scalar(name)? {
                Scalar::Bool(flag) => Argument::Flag(flag),
                Scalar::Int(number) => Argument::Integer(Size::Fixed(number)),
                Scalar::Float(number) => Argument::Number(number),
            },
            (Type::Integers, Given::Integers(all)) => Argument::Integers(all.clone()),
            (Type::Number, Given::Float(_) | Given::Integer(_)) => Argument::Number(self.float(name, None)?),
            (Type::Numbers, Given::Floats(all)) => Argument::Numbers(all.clone()),
            (Type::Numbers, Given::Integers(_)) => {
                Argument::Numbers(self.integers(name)?.into_iter().map(|number| number as f64).collect())
            }
            (Type::Flag, Given::Bool(flag)) => Argument::Flag(*flag),
            (Type::Text, Given::Text(text)) => Argument::Text(text.clone()),
            (Type::Kind, Given::Kind(kind)) => Argument::Kind(*kind),
            (Type::Other, _) => {
                if formal.has_default {
                    Argument::Default
                } else {
                    Argument::None
                }
            }
            _ => return Err(self.error(format!("its argument `{name}` is of a kind that is not supported"))),
        })
    }

    fn is_none(&self, name: &str) -> bool {
        self.arguments.iter().any(|(it, argument)| it == name && matches!(argument, Given::None))
    }
}

impl Graph {
    /// Calls an operator: at once if nothing depends on the images, else in a node for each tensor that it makes.
    fn call(&mut self, call: &AtenCall, operands: &[Operand]) -> Made {
        let made = self.foretold(call, operands)?;
        let elements = |shape: &Shape| shape.iter().map(|size| size.of(1) as f64).product::<f64>();
        let total: f64 = made.iter().map(|(shape, _)| elements(shape)).sum();
        for (shape, _) in &made {
            self.check_size(shape, total)?;
        }
        let known: Option<Vec<Tensor>> = operands.iter().map(Operand::known).collect();
        if let Some(tensors) = known.filter(|_| !call.names_the_batch()) {
            let longest = tensors.iter().flat_map(Tensor::size).max().unwrap_or(1) as f64;
            let read: f64 = tensors.iter().map(|tensor| tensor.numel() as f64).sum();
            // Most operators take a few steps for each element that they make, and those that multiply or sort one for each of a row.
            self.work += read + total * if call.joins_rows() { longest } else { 1.0 };
            self.spend(total)?;
            let tensors: Vec<&Tensor> = tensors.iter().collect();
            let made = tch::no_grad(|| call.run(&tensors, 1)).map_err(|error| self.failed(&error))?;
            // Copies of what may share memory: nothing that is written to one of them changes another.
            return Ok(made
                .into_iter()
                .map(|it| Operand::constant(if call.schema.is_view { it } else { it.copy() }))
                .collect());
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for operand in operands {
            inputs.push(self.value_of(operand)?);
        }
        let mut results = Vec::with_capacity(made.len());
        for (output, (shape, kind)) in made.into_iter().enumerate() {
            let id = self.push(Op::Aten { call: call.clone(), output }, inputs.clone(), shape, kind)?;
            results.push(Operand::of(id, operands.first().filter(|_| call.schema.is_view)));
        }
        Ok(results)
    }

    /// Shapes and types of what an operator makes, for any number of images.
    fn foretold(&mut self, call: &AtenCall, operands: &[Operand]) -> Result<Vec<(Shape, Kind)>, ImportError> {
        if operands.len() > MOST_TENSORS {
            return Err(self.error(format!("takes {} tensors", operands.len())));
        }
        // It takes its time, whatever the operator: no network has more than some hundred of them.
        self.work += COST * (1 + operands.len()) as f64;
        self.spend(0.0)?;
        let shapes: Vec<Shape> = operands.iter().map(|operand| self.shape(operand)).collect();
        let of_batch = |batch: i64| -> Result<Vec<Measured>, ImportError> {
            let sized = operands.iter().zip(&shapes).map(|(operand, shape)| {
                let sizes: Vec<i64> = shape.iter().map(|size| size.of(batch)).collect();
                // One element of memory.
                Tensor::f_zeros([0_i64; 0], (self.kind(operand), Device::Cpu))?.f_expand(sizes, false)
            });
            let sized = sized.collect::<Result<Vec<_>, _>>().map_err(|error| self.failed(&error))?;
            call.foretold(&sized.iter().collect::<Vec<_>>(), batch).map_err(|error| self.failed(&error))
        };
        let [first, second] = BATCHES;
        let (small, large) = (of_batch(first)?, of_batch(second)?);
        if small.is_empty() || small.len() != large.len() || small.len() > MOST_TENSORS {
            return Err(self.error(format!("makes {} tensors", small.len())));
        }
        let size = |(&a, &b): (&i64, &i64)| match (a, b) {
            (a, b) if a == b => Some(Size::Fixed(a)),
            (a, b) if a % first == 0 && b % second == 0 && a / first == b / second => Some(Size::Batch(a / first)),
            _ => None,
        };
        let is_batched = |shape: &Shape| shape.iter().any(|size| matches!(size, Size::Batch(_)));
        let was_batched = shapes.iter().any(is_batched) || call.names_the_batch();
        let one = |(a, b): (&Measured, &Measured)| {
            let shape =
                (a.0.len() == b.0.len()).then(|| a.0.iter().zip(&b.0).map(size).collect::<Option<Shape>>()).flatten();
            let shape = shape.ok_or_else(|| self.error("makes a shape that is no multiple of the number of images"))?;
            if was_batched && !is_batched(&shape) {
                let shape = shown(&shape);
                return Err(self.error(format!(
                    "takes images out of their batch, or joins them ({shape}), which is not supported"
                )));
            }
            if kind::shown(a.1) == kind::shown(Kind::ComplexFloat) {
                return Err(self.error("makes complex numbers, which is not supported"));
            }
            Ok((shape, a.1))
        };
        small.iter().zip(&large).map(one).collect()
    }
}
