//! Little weight files as bytes, for tests: a pickle writer and the containers around it.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// What a test puts into a pickle.
#[derive(Clone, Debug)]
pub(crate) enum Py {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<Self>),
    Dict(Vec<(Self, Self)>),
    Global(&'static str, &'static str),
    /// `callable(*args)`.
    Call(Box<Self>, Vec<Self>),
    /// An object of the tuple's kind outside the pickle.
    Persistent(Vec<Self>),
    /// An object of a class with fields.
    Object(&'static str, &'static str, Vec<(Self, Self)>),
    /// An `OrderedDict` with the attribute `_metadata`, as `state_dict()` returns it.
    Ordered(Vec<(Self, Self)>),
}

pub(crate) fn text(text: &str) -> Py {
    Py::Text(text.to_owned())
}

pub(crate) fn ints(values: &[i64]) -> Py {
    Py::Tuple(values.iter().copied().map(Py::Int).collect())
}

pub(crate) fn dict(entries: Vec<(&str, Py)>) -> Py {
    Py::Dict(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

pub(crate) fn ordered(entries: Vec<(&str, Py)>) -> Py {
    Py::Ordered(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

pub(crate) fn call(module: &'static str, name: &'static str, args: Vec<Py>) -> Py {
    Py::Call(Box::new(Py::Global(module, name)), args)
}

/// `('storage', torch.<class>, key, location, elements)`, of a file that was saved on a GPU.
pub(crate) fn storage(class: &'static str, key: &str, elements: i64) -> Vec<Py> {
    vec![text("storage"), Py::Global("torch", class), text(key), text("cuda:0"), Py::Int(elements)]
}

/// A tensor view of a storage, as `torch.save` writes it.
pub(crate) fn view(storage: Vec<Py>, offset: i64, shape: &[i64], stride: &[i64]) -> Py {
    let hooks = call("collections", "OrderedDict", vec![]);
    let args = vec![Py::Persistent(storage), Py::Int(offset), ints(shape), ints(stride), Py::Bool(false), hooks];
    call("torch._utils", "_rebuild_tensor_v2", args)
}

/// A float32 vector that fills its storage.
pub(crate) fn vector(key: &str, size: i64) -> Py {
    view(storage("FloatStorage", key, size), 0, &[size], &[1])
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A pickle of protocol 2.
pub(crate) fn pickle(value: &Py) -> Vec<u8> {
    let mut bytes = b"\x80\x02".to_vec();
    write(&mut bytes, value);
    bytes.push(b'.');
    bytes
}

fn write(out: &mut Vec<u8>, value: &Py) {
    match value {
        Py::None => out.push(b'N'),
        Py::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Py::Int(value) => {
            out.extend(b"\x8a\x08");
            out.extend(value.to_le_bytes());
        }
        Py::Float(value) => {
            out.push(b'G');
            out.extend(value.to_be_bytes());
        }
        Py::Text(text) => {
            out.push(b'X');
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
        Py::Tuple(items) => {
            out.push(b'(');
            for item in items {
                write(out, item);
            }
            out.push(b't');
        }
        Py::Dict(entries) => {
            out.push(b'}');
            write_items(out, entries);
        }
        Py::Global(module, name) => out.extend(format!("c{module}\n{name}\n").into_bytes()),
        Py::Call(callable, args) => {
            write(out, callable);
            write(out, &Py::Tuple(args.clone()));
            out.push(b'R');
        }
        Py::Persistent(id) => {
            write(out, &Py::Tuple(id.clone()));
            out.push(b'Q');
        }
        Py::Object(module, name, fields) => {
            out.extend(format!("c{module}\n{name}\n)").into_bytes());
            // NEWOBJ and BUILD.
            out.extend(b"\x81}");
            write_items(out, fields);
            out.push(b'b');
        }
        Py::Ordered(entries) => {
            out.extend(b"ccollections\nOrderedDict\n)R");
            write_items(out, entries);
            write(out, &dict(vec![("_metadata", dict(vec![("version", Py::Int(1))]))]));
            out.push(b'b');
        }
    }
}

fn write_items(out: &mut Vec<u8>, entries: &[(Py, Py)]) {
    out.push(b'(');
    for (key, value) in entries {
        write(out, key);
        write(out, value);
    }
    out.push(b'u');
}

/// A zip archive with these entries, as they come (stored) or compressed.
pub(crate) fn zip_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What `torch.save` has written since 1.6.
pub(crate) fn torch_zip(object: &Py, storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pickle = pickle(object);
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("model/data/{key}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("model/data.pkl", &pickle), ("model/byteorder", b"little")];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().map(|(_, bytes)| bytes.as_slice())));
    entries.push(("model/version", b"3\n"));
    zip_of(&entries, CompressionMethod::Stored)
}

/// What `torch.jit.save` writes: files of code, the module, the constants, and the storages of both.
pub(crate) fn script_zip(
    code: &[(&str, &str)],
    data: &Py,
    constants: Vec<Py>,
    storages: &[(&str, Vec<u8>)],
) -> Vec<u8> {
    let (data, constants) = (pickle(data), pickle(&Py::Tuple(constants)));
    let files: Vec<(String, &[u8])> = (code.iter())
        .map(|(name, text)| (format!("net/code/{name}"), text.as_bytes()))
        .chain(storages.iter().map(|(key, bytes)| (format!("net/{key}"), bytes.as_slice())))
        .collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("net/data.pkl", &data), ("net/constants.pkl", &constants)];
    entries.extend(files.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
    zip_of(&entries, CompressionMethod::Stored)
}

/// What `torch.save` wrote before 1.6; the storages' element width is 4 bytes.
pub(crate) fn torch_legacy(object: &Py, storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(pickle(&Py::Int(1001)));
    bytes.extend(pickle(&dict(vec![("protocol_version", Py::Int(1001)), ("little_endian", Py::Bool(true))])));
    bytes.extend(pickle(object));
    // A list of keys: the empty list, a mark, the keys, append all.
    bytes.extend(b"\x80\x02](");
    for (key, _) in storages {
        write(&mut bytes, &text(key));
    }
    bytes.extend(b"e.");
    for (_, data) in storages {
        bytes.extend((data.len() as i64 / 4).to_le_bytes());
        bytes.extend(data);
    }
    bytes
}

/// The same for a persistent id of the older stream, which has one more item: which part of the storage is meant.
pub(crate) fn legacy_storage(class: &'static str, key: &str, elements: i64, part: Py) -> Vec<Py> {
    let mut id = storage(class, key, elements);
    id.push(part);
    id
}
