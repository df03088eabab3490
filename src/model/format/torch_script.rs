//! TorchScript archives (`torch.jit.save`), read as plain data: the text of their code, and the objects that it works on.

use std::collections::BTreeMap;

use super::error::{EXPORT_AGAIN, FormatError, Source, printable};
use super::globals::is_allowed;
use super::pickled;
use super::torch_zip::Archive;
use super::{RawTensor, sha256_of, state_dict};
use crate::pickle::{Id, Node, Pickle};

/// Code that is read; that of the largest usual networks has a tenth of it.
const MOST_CODE: usize = 2 << 20;
/// The longest pickle that is read; those of usual networks have some ten kilobytes. A byte may be a value.
const MOST_OBJECTS: usize = 2 << 20;

#[derive(Clone, Debug)]
pub(crate) struct ScriptFile {
    /// Text by the name of its file (`__torch__/torch/nn/functional.py`).
    pub code: BTreeMap<String, String>,
    /// The module, with all its attributes.
    pub data: Items,
    /// A tuple: what the code calls `CONSTANTS.c0` and so on.
    pub constants: Items,
    /// Shape of the images that it was traced with, where it was traced and says so.
    pub traced: Option<Vec<usize>>,
    /// Of the file's bytes, in hexadecimal.
    pub sha256: String,
}

/// The objects of a pickle. An object holds others by their places, so there may be circles.
#[derive(Clone, Debug)]
pub(crate) struct Items {
    items: Vec<Item>,
    pub root: usize,
}

impl Items {
    /// The object at a place, past those that only say what type another one has.
    pub(crate) fn get(&self, mut place: usize) -> (usize, &Item) {
        for _ in 0..8 {
            match &self.items[place] {
                Item::Same(other) => place = *other,
                item => return (place, item),
            }
        }
        (place, &self.items[place])
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Tensor {
        raw: RawTensor,
        /// How its elements lie in memory when PyTorch has loaded it.
        stride: Vec<usize>,
        requires_grad: bool,
    },
    /// Of a class of the code (`__torch__.torch.nn.modules.conv.Conv2d`).
    Object {
        class: String,
        fields: BTreeMap<String, usize>,
    },
    /// A member of an enumeration of the code, by its value.
    Member {
        class: String,
        value: usize,
    },
    /// Another object.
    Same(usize),
    /// What is not read, and why.
    Unread(String),
}

/// Reads everything, with its checksums; the code is not looked at.
pub(super) fn read(source: Source<'_>) -> Result<ScriptFile, FormatError> {
    let mut archive = Archive::open_around(source, "constants.pkl")?;
    let mut code = BTreeMap::new();
    let mut room = MOST_CODE;
    for name in archive.names()? {
        let lower = name.to_lowercase();
        let known = ["data.pkl", "constants.pkl", "version", "byteorder"].contains(&lower.as_str());
        if lower != name
            && (known || lower.starts_with("code/") || lower.starts_with("data/"))
            && !name.starts_with("code/")
        {
            let shown = printable(&name);
            return Err(source.damaged(format!("its entry `{shown}` would be found under another name, in lower case")));
        }
        let Some(file) = name.strip_prefix("code/").filter(|file| file.rsplit_once('.').is_some_and(|it| it.1 == "py"))
        else {
            continue;
        };
        let entry = archive.entry(&name)?;
        let too_long = || source.other(format!("has more than {MOST_CODE} bytes of code, which no network needs"));
        room = room.checked_sub(entry.len()).ok_or_else(too_long)?;
        // libtorch would run it while it loads the file, before anything can be looked at.
        if entry.windows(12).any(|window| window == b"__setstate__") {
            return Err(source.other(format!(
                "is a TorchScript archive with a method `__setstate__`, which would run while it is loaded; nothing of it was run; \
                 where its Python is, {EXPORT_AGAIN}"
            )));
        }
        let text = String::from_utf8(entry.into_owned())
            .map_err(|_| source.damaged(format!("its entry `{}` is not text", printable(&name))))?;
        code.insert(file.to_owned(), text);
    }
    if archive.has("byteorder") && archive.entry("byteorder")?.trim_ascii() == b"big" {
        return Err(source.damaged("it was saved on a big-endian machine, which is not read"));
    }
    let mut allowance = source.expansion_limit();
    let data = items(source, &mut archive, "data", &mut allowance)?;
    let constants = items(source, &mut archive, "constants", &mut allowance)?;
    let traced = match archive.has("traced_inputs.pkl") {
        true => image_of(source, &archive.entry("traced_inputs.pkl")?),
        false => None,
    };
    Ok(ScriptFile { code, data, constants, traced, sha256: sha256_of(source.bytes) })
}

fn may_be_named(module: &str, name: &str) -> bool {
    const LISTS: &str = "build_intlist build_doublelist build_boollist build_tensorlist restore_type_tag";
    match module {
        "torch.jit._pickle" => LISTS.split_whitespace().any(|it| it == name),
        _ => module == "__torch__" || module.starts_with("__torch__.") || is_allowed(module, name),
    }
}

fn items(
    source: Source<'_>,
    archive: &mut Archive<'_>,
    kind: &'static str,
    allowance: &mut u64,
) -> Result<Items, FormatError> {
    archive.storages_in(kind);
    let entry = archive.entry(&format!("{kind}.pkl"))?;
    if entry.len() > MOST_OBJECTS {
        return Err(source.other(format!("has a {kind}.pkl of more than {MOST_OBJECTS} bytes, which no network needs")));
    }
    let pickle = pickled::load_with(source, &entry, &may_be_named)?;
    let items = pickle.ids().map(|id| item(source, &pickle, id, archive, allowance)).collect::<Result<_, _>>()?;
    Ok(Items { items, root: pickle.root().place() })
}

fn item(
    source: Source<'_>,
    pickle: &Pickle<'_>,
    id: Id,
    archive: &mut Archive<'_>,
    allowance: &mut u64,
) -> Result<Item, FormatError> {
    let places = |ids: &[Id]| ids.iter().map(|id| id.place()).collect();
    Ok(match pickle.node(id) {
        Node::None => Item::None,
        Node::Bool(flag) => Item::Bool(*flag),
        Node::Int(number) => Item::Int(*number),
        Node::Float(number) => Item::Float(*number),
        Node::Text(text) => Item::Text(text.clone()),
        Node::List(members) => Item::List(places(members)),
        Node::Tuple(members) => Item::Tuple(places(members)),
        Node::Dict(entries) => Item::Dict(entries.iter().map(|(key, value)| (key.place(), value.place())).collect()),
        Node::Call { callable, arguments, state, .. } => {
            let (module, name) = pickle.global(*callable).unwrap_or_default();
            let first = pickle.sequence(*arguments).and_then(|arguments| arguments.first());
            match (module, first) {
                ("torch.jit._pickle", Some(first)) => Item::Same(first.place()),
                _ if pickled::is_tensor(pickle, id) => tensor(source, pickle, id, archive, allowance)?,
                _ if module == "__torch__" || module.starts_with("__torch__.") => {
                    let class = format!("{module}.{name}");
                    match (first, state) {
                        (Some(value), None) => Item::Member { class, value: value.place() },
                        (_, Some(state)) => fields(pickle, *state).map_or_else(
                            || Item::Unread("has a state of its own".to_owned()),
                            |fields| Item::Object { class, fields },
                        ),
                        (None, None) => Item::Object { class, fields: BTreeMap::new() },
                    }
                }
                _ => Item::Unread(format!("is made by `{}`", printable(&format!("{module}.{name}")))),
            }
        }
        Node::BigInt(_) | Node::Bytes(_) | Node::Set(_) | Node::Global(..) | Node::Persistent(_) => {
            Item::Unread("is of no type that a network computes with".to_owned())
        }
    })
}

fn fields(pickle: &Pickle<'_>, state: Id) -> Option<BTreeMap<String, usize>> {
    let field = |(name, value): &(Id, Id)| Some((pickle.text(*name)?.to_owned(), value.place()));
    pickle.entries(state)?.iter().map(field).collect()
}

fn tensor(
    source: Source<'_>,
    pickle: &Pickle<'_>,
    id: Id,
    archive: &mut Archive<'_>,
    allowance: &mut u64,
) -> Result<Item, FormatError> {
    let view = match pickled::view(pickle, id) {
        Ok(view) => view,
        Err(reason) => return Ok(Item::Unread(reason)),
    };
    let name = format!("number {} of its pickle", id.place());
    let (stride, requires_grad) = (view.layout.stride.clone(), view.requires_grad);
    match state_dict::read(source, &name, view, archive, *allowance) {
        Ok(raw) => {
            *allowance -= raw.bytes.len() as u64;
            Ok(Item::Tensor { raw, stride, requires_grad })
        }
        Err(FormatError::Other { what, .. }) => Ok(Item::Unread(what)),
        Err(error) => Err(error),
    }
}

/// The shape of the only tensor with four dimensions among the inputs.
fn image_of(source: Source<'_>, bytes: &[u8]) -> Option<Vec<usize>> {
    let bytes = bytes.get(..bytes.len().min(MOST_OBJECTS))?;
    let pickle = pickled::load_with(source, bytes, &may_be_named).ok()?;
    let shape = |id: Id| pickled::is_tensor(&pickle, id).then(|| pickled::view(&pickle, id).ok()).flatten();
    let mut images = pickle.ids().filter_map(shape).map(|view| view.layout.shape).filter(|shape| shape.len() == 4);
    images.next().filter(|_| images.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zip::CompressionMethod;

    use super::super::testing::{Py, dict, floats, pickle, text, vector, zip_of};
    use super::super::{ModelFile, read_model_from};
    use super::*;

    fn open(entries: &[(&str, &[u8])], method: CompressionMethod) -> Result<ScriptFile, FormatError> {
        match read_model_from(&zip_of(entries, method), Path::new("net.pt"))? {
            ModelFile::Script(file) => Ok(file),
            other => panic!("{other:?}"),
        }
    }

    fn module() -> Vec<u8> {
        pickle(&Py::Object("__torch__", "Net", vec![(text("weight"), vector("0", 2)), (text("same"), Py::Int(3))]))
    }

    fn with(extra: &[(&str, &[u8])]) -> Result<ScriptFile, FormatError> {
        let (module, constants, values) = (module(), pickle(&Py::Tuple(vec![])), floats(&[1.0, 2.0]));
        let mut entries: Vec<(&str, &[u8])> =
            vec![("m/data.pkl", &module), ("m/constants.pkl", &constants), ("m/data/0", &values)];
        entries.push(("m/code/__torch__.py", b"class Net(Module):\n  pass\n"));
        entries.extend(extra);
        open(&entries, CompressionMethod::Stored)
    }

    #[test]
    fn an_archive_is_objects_and_text() {
        let file = with(&[]).unwrap();
        assert_eq!(file.code.keys().collect::<Vec<_>>(), ["__torch__.py"]);
        let (_, Item::Object { class, fields }) = file.data.get(file.data.root) else { panic!("{file:?}") };
        assert_eq!(class, "__torch__.Net");
        assert!(matches!(file.data.get(fields["weight"]).1, Item::Tensor { raw, .. } if raw.to_f32() == [1.0, 2.0]));
    }

    #[test]
    fn names_that_libtorch_would_read_otherwise_are_refused() {
        for (name, what) in [
            ("m/CODE/__torch__.py", "is there twice"),
            ("m/code/__TORCH__.py", "is there twice"),
            ("m/Data.pkl", "is there twice"),
            ("m/Code/other.py", "in lower case"),
            ("m/VERSION", "in lower case"),
            ("n/code/other.py", "lies outside its folder"),
            ("m/code/../other.py", "has no plain name"),
            ("m/code\\other.py", "has no plain name"),
        ] {
            let error = with(&[(name, b"x")]).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
        }
    }

    #[test]
    fn entries_with_one_name_are_refused_by_it() {
        let (module, constants) = (module(), pickle(&Py::Tuple(vec![])));
        let entries: [(&str, &[u8]); 4] = [
            ("m/data.pkl", &module),
            ("m/constants.pkl", &constants),
            ("m/code/__torch__.py", b"class Net(Module):\n  pass\n"),
            ("m/code/__tirch__.py", b"class Net(Module):\n  forged : int\n"),
        ];
        let mut bytes = zip_of(&entries, CompressionMethod::Stored);
        while let Some(at) = bytes.windows(9).position(|window| window == b"__tirch__") {
            bytes[at..at + 9].copy_from_slice(b"__torch__");
        }
        let error = read_model_from(&bytes, Path::new("net.pt")).unwrap_err().to_string();
        assert!(error.contains("its entry `m/code/__torch__.py` is there twice"), "{error}");
    }

    #[test]
    fn a_module_that_would_run_code_while_it_is_loaded_is_refused() {
        let error = with(&[("m/code/net.py", b"def __setstate__(self, state): pass")]).unwrap_err();
        assert!(error.to_string().contains("with a method `__setstate__`"), "{error}");
    }

    #[test]
    fn forged_storages_are_refused() {
        let module = pickle(&dict(vec![("w", vector("0", 3))]));
        let (constants, values) = (pickle(&Py::Tuple(vec![])), floats(&[1.0, 2.0]));
        let entries: [(&str, &[u8]); 3] =
            [("m/data.pkl", &module), ("m/constants.pkl", &constants), ("m/data/0", &values)];
        let error = open(&entries, CompressionMethod::Stored).unwrap_err().to_string();
        assert!(error.contains("has 8 of 12 bytes"), "{error}");
        let gone = open(&entries[..2], CompressionMethod::Stored).unwrap_err().to_string();
        assert!(gone.contains("no entry `m/data/0`"), "{gone}");
    }

    #[test]
    fn a_damaged_or_inflated_archive_is_refused() {
        let entries: [(&str, &[u8]); 2] = [("m/data.pkl", b"."), ("m/constants.pkl", b"a long enough text")];
        let mut bytes = zip_of(&entries, CompressionMethod::Stored);
        let at = bytes.windows(6).position(|window| window == b"enough").unwrap();
        bytes[at] ^= 1;
        assert!(read_model_from(&bytes, Path::new("net.pt")).is_err());
        let zeros = vec![0; 1 << 20];
        let entries: [(&str, &[u8]); 2] = [("m/constants.pkl", b"."), ("m/data.pkl", &zeros)];
        let bomb = open(&entries, CompressionMethod::Deflated).unwrap_err();
        assert!(bomb.to_string().contains("its content unpacks to more than"), "{bomb}");
    }
}
