//! Archives that are damaged or forged: an error of one line, whatever they say; no panic, no flood of memory.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::import;
use crate::model::format::{ModelFile, read_model_from};
use crate::model::op::Op;

pub(super) const RESNET: &[u8] = include_bytes!("../../../fixtures/tiny-resnet.pt2");
const VIT: &[u8] = include_bytes!("../../../fixtures/tiny-vit.pt2");
pub(super) const MODEL: &str = "model/models/model.json";
const WEIGHTS: &str = "model/data/weights/model_weights_config.json";

type Entries = Vec<(String, Vec<u8>)>;

fn unpacked(archive: &[u8]) -> Entries {
    let mut zip = ZipArchive::new(Cursor::new(archive)).unwrap();
    let one = |index: usize, zip: &mut ZipArchive<Cursor<&[u8]>>| {
        let mut entry = zip.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.name().unwrap().to_string(), bytes)
    };
    (0..zip.len()).map(|index| one(index, &mut zip)).collect()
}

fn packed(entries: &Entries, method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The archive after a change of one of its JSON entries.
pub(super) fn changed(archive: &[u8], entry: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut entries = unpacked(archive);
    let (_, bytes) = entries.iter_mut().find(|(name, _)| name == entry).unwrap();
    let mut json = serde_json::from_slice(bytes).unwrap();
    change(&mut json);
    *bytes = serde_json::to_vec(&json).unwrap();
    packed(&entries, CompressionMethod::Stored)
}

pub(super) fn nodes(model: &mut Value) -> &mut Vec<Value> {
    model["graph_module"]["graph"]["nodes"].as_array_mut().unwrap()
}

/// What opening says: nothing, or one line.
fn open(bytes: &[u8]) -> Result<(), String> {
    let message = match read_model_from(bytes, Path::new("model.pt2")) {
        Ok(ModelFile::Export(export)) => match import(&export) {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    assert!(!message.contains('\n') && message.len() < 2000, "{message:?}");
    Err(message)
}

fn refusal(bytes: &[u8]) -> String {
    open(bytes).unwrap_err()
}

#[test]
fn the_archives_are_good_before_they_are_damaged() {
    for archive in [RESNET, VIT] {
        open(archive).unwrap();
        open(&packed(&unpacked(archive), CompressionMethod::Stored)).unwrap();
    }
}

#[test]
fn dropout_in_place_does_nothing() {
    let bytes = changed(RESNET, MODEL, |model| {
        for node in nodes(model).iter_mut().filter(|node| node["target"] == "torch.ops.aten.relu_.default") {
            node["target"] = json!("torch.ops.aten.dropout_.default");
        }
    });
    open(&bytes).unwrap();
}

#[test]
fn what_changes_types_or_cuts_gradients_is_done_or_refused() {
    let relu_becomes = |target: &str, more: Value| {
        changed(RESNET, MODEL, |model| {
            for node in nodes(model).iter_mut().filter(|node| node["target"] == "torch.ops.aten.relu_.default") {
                node["target"] = json!(target);
                node["inputs"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
            }
        })
    };
    let detached = relu_becomes("torch.ops.aten.detach_.default", json!([]));
    let ModelFile::Export(export) = read_model_from(&detached, Path::new("model.pt2")).unwrap() else { panic!() };
    let nodes_made = import(&export).unwrap().program.nodes;
    assert!(nodes_made.iter().any(|node| node.op == Op::Detach));
    let half = json!([{"name": "dtype", "arg": {"as_scalar_type": 6}, "kind": 1}]);
    for target in ["torch.ops.aten.to.dtype", "torch.ops.aten._to_copy.default"] {
        let message = refusal(&relu_becomes(target, half.clone()));
        assert!(message.contains("makes a tensor of float16, the file says float32"), "{message}");
    }
    let images = changed(RESNET, MODEL, |model| {
        model["graph_module"]["graph"]["tensor_values"]["x"]["dtype"] = json!(6);
    });
    assert!(refusal(&images).contains("images in another type than float32"));
    let weights = changed(VIT, WEIGHTS, |config| {
        for (_, payload) in config["config"].as_object_mut().unwrap() {
            // As wide as float32.
            payload["tensor_meta"]["dtype"] = json!(4);
        }
    });
    assert!(refusal(&weights).contains("computes in int32"));
    let silent = changed(RESNET, MODEL, |model| {
        let mut node = nodes(model)[0].clone();
        node["target"] = json!("torch._C._set_grad_enabled");
        node["outputs"] = json!([]);
        nodes(model).insert(0, node);
    });
    assert!(refusal(&silent).contains("the operator torch._C._set_grad_enabled is not supported"));
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    for length in (0..RESNET.len()).step_by(61) {
        assert!(open(&RESNET[..length]).is_err(), "{length}");
    }
}

#[test]
fn weights_that_are_missing_forged_or_elsewhere_are_refused_by_name() {
    let weight = |change: fn(&mut Value)| {
        refusal(&changed(RESNET, WEIGHTS, |config| change(&mut config["config"]["fc.weight"])))
    };
    let mut entries = unpacked(RESNET);
    let at = entries.iter().position(|(name, _)| name == "model/data/weights/weight_0").unwrap();
    entries.remove(at);
    assert!(refusal(&packed(&entries, CompressionMethod::Stored)).contains("weight_0"));
    let gone = changed(RESNET, WEIGHTS, |config| {
        config["config"].as_object_mut().unwrap().remove("fc.weight");
    });
    assert!(refusal(&gone).contains("`fc.weight`: is needed but not in the archive"));
    assert!(weight(|it| it["path_name"] = json!("../../../etc/passwd")).contains("no plain file name"));
    assert!(weight(|it| it["use_pickle"] = json!(true)).contains("pickle"));
    assert!(weight(|it| it["tensor_meta"]["dtype"] = json!(99)).contains("number 99"));
    for shape in [
        json!([{"as_int": 1_i64 << 40}]),
        json!([{"as_int": -3}, {"as_int": 8}]),
        json!([{"as_int": 11}, {"as_int": 8}]),
    ] {
        let bytes = changed(RESNET, WEIGHTS, |config| config["config"]["fc.weight"]["tensor_meta"]["sizes"] = shape);
        let message = refusal(&bytes);
        assert!(message.contains("fc.weight") || message.contains("unpacks to more than"), "{message}");
    }
    // f64 needs twice the bytes that are there.
    assert!(weight(|it| it["tensor_meta"]["dtype"] = json!(8)).contains("fc.weight"));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut entries = unpacked(RESNET);
    let (_, bytes) = entries.iter_mut().find(|(name, _)| name == "model/data/weights/weight_0").unwrap();
    *bytes = vec![0; 64 << 20];
    let message = refusal(&packed(&entries, CompressionMethod::Deflated));
    assert!(message.contains("unpacks to more than"), "{message}");
}

#[test]
fn graphs_that_read_what_is_not_there_are_refused() {
    let backwards = changed(RESNET, MODEL, |model| nodes(model).reverse());
    assert!(refusal(&backwards).contains("which nothing before it has made"));
    let cyclic = changed(RESNET, MODEL, |model| {
        let own = nodes(model)[0]["outputs"][0]["as_tensor"]["name"].clone();
        nodes(model)[0]["inputs"][0]["arg"]["as_tensor"]["name"] = own;
    });
    assert!(refusal(&cyclic).contains("which nothing before it has made"));
    let twice = changed(RESNET, MODEL, |model| {
        let node = nodes(model)[0].clone();
        nodes(model).insert(1, node);
    });
    assert!(refusal(&twice).contains("which is there already"));
    let empty = changed(RESNET, MODEL, |model| nodes(model).clear());
    assert!(refusal(&empty).contains("which nothing before it has made"));
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_computed() {
    let input = changed(RESNET, MODEL, |model| {
        let shape = &mut model["graph_module"]["graph"]["tensor_values"]["x"]["sizes"];
        assert!(shape.is_array());
        shape[2] = json!({"as_int": 1_i64 << 40});
    });
    assert!(refusal(&input).contains("absurd"));
    let padding = changed(RESNET, MODEL, |model| {
        let inputs = nodes(model)[0]["inputs"].as_array_mut().unwrap();
        let padding = inputs.iter_mut().find(|input| input["name"] == "padding").unwrap();
        padding["arg"] = json!({"as_ints": [1_000_000, 1_000_000]});
    });
    let message = refusal(&padding);
    assert!(
        message.contains("more than the") && message.contains("conv2d") && message.contains("module `conv1`"),
        "{message}"
    );
}

#[test]
fn a_graph_that_contradicts_its_shapes_is_refused() {
    let bytes = changed(RESNET, MODEL, |model| {
        let inputs = nodes(model)[0]["inputs"].as_array_mut().unwrap();
        let padding = inputs.iter_mut().find(|input| input["name"] == "padding").unwrap();
        padding["arg"] = json!({"as_ints": [2, 2]});
    });
    assert!(refusal(&bytes).contains("the file says"));
}

#[test]
fn an_unknown_operator_is_named_with_its_module_and_its_count() {
    let bytes = changed(RESNET, MODEL, |model| {
        for node in nodes(model).iter_mut().filter(|node| node["target"] == "torch.ops.aten.relu_.default") {
            node["target"] = json!("torch.ops.mylib.softer_relu.default");
        }
    });
    let message = refusal(&bytes);
    for part in ["mylib.softer_relu.default", "module `relu`", "used by 9 node(s)"] {
        assert!(message.contains(part), "{message}");
    }
}

fn mutate(json: &mut Value, random: &mut ChaCha8Rng) {
    const NUMBERS: [i64; 14] = [0, -1, 1, 2, 3, 5, 64, 1 << 16, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN, -2];
    // Down, with a chance to stop at every step.
    if random.random_range(0..12) > 0 {
        match json {
            Value::Array(items) if !items.is_empty() => {
                let index = random.random_range(0..items.len());
                return mutate(&mut items[index], random);
            }
            Value::Object(fields) if !fields.is_empty() => {
                let index = random.random_range(0..fields.len());
                return mutate(fields.values_mut().nth(index).unwrap(), random);
            }
            _ => (),
        }
    }
    match json {
        Value::Number(_) => *json = Value::from(NUMBERS[random.random_range(0..NUMBERS.len())]),
        Value::Bool(value) => *value = !*value,
        Value::Array(items) if items.len() > 1 => {
            let (one, other) = (random.random_range(0..items.len()), random.random_range(0..items.len()));
            match random.random_range(0..3) {
                0 => items.swap(one, other),
                1 => _ = items.remove(one),
                _ => items.insert(one, items[other].clone()),
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let key = fields.keys().nth(random.random_range(0..fields.len())).unwrap().clone();
            fields.remove(&key);
        }
        Value::String(text) => match random.random_range(0..3) {
            0 => text.clear(),
            1 => _ = text.pop(),
            _ => *text = "\u{1b}[31mx\n".to_owned(),
        },
        _ => *json = Value::Null,
    }
}

/// `ADVMOD_FUZZ=10000 cargo test --lib forged_archives` tries that many; the usual run tries fewer.
#[test]
fn forged_archives_are_survived() {
    let count: u64 = std::env::var("ADVMOD_FUZZ").map_or(400, |count| count.parse().unwrap());
    let archives = [RESNET, VIT].map(|archive| (archive, unpacked(archive)));
    let mut refused = 0_u64;
    for seed in 0..count {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (archive, entries) = &archives[seed as usize % 2];
        let bytes = if random.random_range(0..5) == 0 {
            let mut bytes = archive.to_vec();
            for _ in 0..=random.random_range(0..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            bytes
        } else {
            let mut entries = entries.clone();
            let name = if random.random_range(0..4) == 0 { WEIGHTS } else { MODEL };
            let (_, bytes) = entries.iter_mut().find(|(it, _)| it == name).unwrap();
            let mut json = serde_json::from_slice(bytes).unwrap();
            for _ in 0..=random.random_range(0..3) {
                mutate(&mut json, &mut random);
            }
            *bytes = serde_json::to_vec(&json).unwrap();
            packed(&entries, CompressionMethod::Stored)
        };
        refused += u64::from(open(&bytes).is_err());
    }
    // Most changes matter; some do not.
    assert!(refused > count / 3 && refused < count, "{refused} of {count}");
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 6 << 20, "{peak} kB at most");
    }
}
