//! What opens the files of others, each by a name and on bytes: `fuzz/` runs it at length, the test below in short.
//!
//! A reader gets what a file holds, and goes on to all that the program makes of it: a model is translated and tried, a report is rendered in
//! every format. Whether it refuses is no matter; a panic, or what takes more than five seconds or a gibibyte, is a fault.

use std::cell::RefCell;
use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::sync::LazyLock;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::audit::gate::GatePlan;
use crate::audit::gate::check::resolve;
use crate::audit::gate::expr::GateExpr;
use crate::audit::journal;
use crate::audit::plan::{AttackPlan, AuditPlan};
use crate::data::{self, ClassList, OpenOptions, Split};
use crate::model::device::DeviceChoice;
use crate::model::load::{LoadOptions, load};
use crate::pickle::Pickle;
use crate::report::study::{STUDIES, TextOptions};
use crate::report::{Evidence, FORMATS, table};
use crate::store::pixels::PixelFile;
use crate::store::{CLEAN_FILE, Kept, RunFolder};
use crate::study::results::study_of;
use crate::text::heatmap::Look;
use crate::text::json;
use crate::verdict::Report;
use crate::verdict::change::{baseline, changes};

/// A reader; `fuzz/seeds/NAME` holds what it begins with.
type Reader = fn(&[u8]);

/// All of them, by name.
pub static READERS: &[(&str, Reader)] = &[
    ("pickle", pickle),
    ("archive", model),
    ("legacy", model),
    ("safetensors", model),
    ("state_dict", |bytes| model(&zip(&[("m/data.pkl", bytes), ("m/data/0", &[0; 64]), ("m/version", b"3\n")]))),
    ("pt2", |bytes| model(&repacked(&PROGRAM, |name| name.ends_with("models/model.json"), bytes))),
    ("torchscript_code", torchscript_code),
    ("torchscript_data", |bytes| model(&repacked(&MODULES[0], |name| name.ends_with("/data.pkl"), bytes))),
    ("npz", |bytes| data(&[("images.npz", bytes)], "images.npz")),
    ("npy", |bytes| data(&[("images.npz", &zip(&[("x.npy", bytes), ("y.npy", LABELS)]))], "images.npz")),
    ("idx", idx),
    ("image", |bytes| data(&[("a/1.png", bytes), ("b/1.png", bytes)], "")),
    ("cifar", |bytes| data(&[("test_batch.bin", bytes)], "")),
    ("cifar_python", cifar_python),
    ("class_list", |bytes| {
        inside(&[("classes", bytes)], |folder| drop(ClassList::open("classes", &folder.join("classes"))));
    }),
    ("plan", plan),
    ("gate", gate),
    ("attack", |bytes| text(bytes, |text| drop(AttackPlan::parse(text)))),
    ("journal", |bytes| text(bytes, |text| Report::new(&journal::replay(text).0).iter().for_each(shown))),
    ("report", |bytes| text(bytes, |text| json::read(text).iter().for_each(shown))),
    ("study", study),
    ("pixels", pixels),
];

/// Lets a reader read something.
///
/// # Panics
/// No reader has this name; or a reader has a fault.
pub fn read(name: &str, bytes: &[u8]) {
    let (_, reader) = READERS.iter().find(|reader| reader.0 == name).expect("it is in the table");
    reader(bytes);
}

const FIXTURES: [&[u8]; 4] = [
    include_bytes!("../fixtures/tiny-resnet-scripted.pt"),
    include_bytes!("../fixtures/tiny-resnet-traced.pt"),
    include_bytes!("../fixtures/tiny-vit-scripted.pt"),
    include_bytes!("../fixtures/tiny-vit-traced.pt"),
];

/// Names and contents of an archive's entries.
type Entries = Vec<(String, Vec<u8>)>;

static MODULES: LazyLock<Vec<Entries>> = LazyLock::new(|| FIXTURES.map(entries).to_vec());
static PROGRAM: LazyLock<Entries> = LazyLock::new(|| entries(include_bytes!("../fixtures/tiny-resnet.pt2")));

/// The labels 0 and 1 as NumPy writes them.
const LABELS: &[u8] = b"\x93NUMPY\x01\x00\x3a\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n\x00\x01";

fn entries(archive: &[u8]) -> Entries {
    let mut archive = ZipArchive::new(Cursor::new(archive)).expect("a fixture is an archive");
    (0..archive.len())
        .map(|at| {
            let mut entry = archive.by_index(at).expect("it has so many entries");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a fixture is whole");
            (entry.name().unwrap_or_default().into_owned(), bytes)
        })
        .collect()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).expect("the name is no other entry's");
        zip.write_all(bytes).expect("memory takes it");
    }
    zip.finish().expect("memory takes it").into_inner()
}

/// An archive with other bytes in one of its entries.
fn repacked(entries: &Entries, is_it: impl Fn(&str) -> bool, bytes: &[u8]) -> Vec<u8> {
    let entries = entries.iter().map(|(name, old)| (name.as_str(), if is_it(name) { bytes } else { old }));
    zip(&entries.collect::<Vec<_>>())
}

fn text(bytes: &[u8], read: impl FnOnce(&str)) {
    let _ = str::from_utf8(bytes).map(read);
}

/// Two files in one input: the first is as long as its first two bytes say.
fn two(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_at(bytes.len().min(2));
    let length = length.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    rest.split_at(length.min(rest.len()))
}

/// With these files, and no others, in a folder.
fn inside(files: &[(&str, &[u8])], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("there is a place for files"));
    }
    FOLDER.with_borrow(|folder| {
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("the folder is ours");
            fs::write(path, bytes).expect("the folder is ours");
        }
        read(folder.path());
        for (name, _) in files {
            let first = folder.path().join(name.split('/').next().unwrap_or(name));
            let _ = if first.is_dir() { fs::remove_dir_all(first) } else { fs::remove_file(first) };
        }
    });
}

fn pickle(bytes: &[u8]) {
    let Ok(pickle) = Pickle::read(bytes, &|_, _| true) else { return };
    for id in pickle.ids() {
        let _ = (pickle.text(id), pickle.bytes(id), pickle.sequence(id), pickle.get(id, "x"), pickle.global(id));
    }
}

fn model(bytes: &[u8]) {
    inside(&[("model", bytes)], |folder| {
        let options = LoadOptions { input_size: Some(16), ..LoadOptions::default() };
        let processor = DeviceChoice::Cpu.resolve().expect("every machine has one");
        drop(load(Some(&folder.join("model")), &options, processor));
    });
}

/// Files of code, each after a line `#NAME`; the first byte says which of the fixtures has the objects.
fn torchscript_code(bytes: &[u8]) {
    let Some((fixture, code)) = bytes.split_first() else { return };
    let files = String::from_utf8_lossy(code);
    let files: Vec<(String, &[u8])> = (files.split("\n#").filter_map(|file| file.split_once('\n')))
        .map(|(name, code)| (format!("model/code/{name}"), code.as_bytes()))
        .collect();
    let module = &MODULES[usize::from(*fixture) % MODULES.len()];
    let others = module.iter().filter(|(name, _)| !name.contains("/code/"));
    let mut all: Vec<(&str, &[u8])> = others.map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    for (name, code) in &files {
        if !all.iter().any(|entry| entry.0 == name) {
            all.push((name, code));
        }
    }
    model(&zip(&all));
}

fn data(files: &[(&str, &[u8])], name: &str) {
    inside(files, |folder| {
        for split in [Split::Test, Split::Train] {
            let options = OpenOptions { split, ..OpenOptions::default() };
            if let Ok(opened) = data::open(Some(&folder.join(name)), &options) {
                let first: Vec<usize> = (0..opened.info().n.min(2)).collect();
                let _ = (opened.read(&first), opened.sha256(&first));
            }
        }
    });
}

fn idx(bytes: &[u8]) {
    let (images, labels) = two(bytes);
    data(&[("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)], "");
}

fn cifar_python(bytes: &[u8]) {
    let (batch, meta) = two(bytes);
    data(&[("test_batch", batch), ("batches.meta", meta)], "");
}

fn plan(bytes: &[u8]) {
    inside(&[("plan.toml", bytes)], |folder| {
        if let Ok(plan) = AuditPlan::read(&folder.join("plan.toml")) {
            let _ = toml::to_string(&plan);
            let _ = plan.resolve();
        }
    });
}

fn gate(bytes: &[u8]) {
    text(bytes, |text| {
        if let Ok(expr) = GateExpr::parse(text) {
            let _ = (expr.to_string(), expr.claims_robustness(), expr.limit_text());
        }
        let _ = resolve(&[GatePlan::named(text)], &[], &[]);
    });
}

fn shown(report: &Report) {
    let evidence = Evidence::default();
    for format in FORMATS {
        let _ = (format.render)(report, &evidence);
    }
    let _ = table::text(report);
    let _ = changes(&report.facts(), &baseline(&report.facts(), "itself"));
}

fn study(bytes: &[u8]) {
    let Some(study) = study_of(bytes).and_then(|name| STUDIES.iter().find(|study| study.name == name)) else { return };
    let options = TextOptions { details: true, ..TextOptions::new(Look::Blocks) };
    for [format, _] in (study.formats)() {
        let _ = (study.render)(bytes, format, &options);
    }
}

/// A run's clean images, and those that an attack had made when it was killed.
fn pixels(bytes: &[u8]) {
    let (clean, part) = two(bytes);
    inside(&[(CLEAN_FILE, clean), ("adversarial/a.part", part)], |folder| {
        if let Ok(Some(mut file)) = PixelFile::clean(folder) {
            let _ = file.picture(0);
        }
        if let Ok(folder) = RunFolder::open(folder) {
            let _ = Kept::read(&folder, "a", [1, 2, 2]).samples();
        }
    });
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

    /// The same on every machine.
    fn in_order(folder: &str) -> Vec<Vec<u8>> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// One to four small changes, as a fuzzer makes them.
    fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut ChaCha8Rng) {
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(0..=bytes.len());
            let end = (at + random.random_range(1..9)).min(bytes.len());
            match random.random_range(0..7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, std::iter::repeat_n(random.random(), 4))),
                3 => bytes[at..end].fill([0, 0x7f, 0x80, 0xff][random.random_range(0..4)]),
                4 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
                5 => {
                    let again = bytes[at..].to_vec();
                    bytes.splice(at..at, again.into_iter().take(64));
                }
                _ => {
                    let other = &seeds[random.random_range(0..seeds.len())];
                    bytes.truncate(at);
                    bytes.extend(other.iter().skip(at));
                }
            }
        }
    }

    #[test]
    fn no_reader_falls_over_its_seeds_nor_over_small_changes_of_them() {
        let mut cases = 0;
        for (name, reader) in READERS {
            let seeds = in_order(&format!("{FUZZ}/seeds/{name}"));
            assert!(!seeds.is_empty(), "{name}");
            let mut random = ChaCha8Rng::seed_from_u64(7);
            let lengths: usize = seeds.iter().map(Vec::len).sum();
            for seed in &seeds {
                reader(seed);
                // A second or two for each reader.
                for _ in 0..(1_000_000 / lengths).min(300 / seeds.len()) {
                    let mut bytes = seed.clone();
                    change(&mut bytes, &seeds, &mut random);
                    reader(&bytes);
                    cases += 1;
                }
            }
        }
        assert!(cases > 2000, "{cases}");
    }

    #[test]
    fn there_is_a_fuzzer_for_each_reader() {
        let manifest: toml::Table = fs::read_to_string(format!("{FUZZ}/Cargo.toml")).unwrap().parse().unwrap();
        let named: Vec<&str> =
            manifest["bin"].as_array().unwrap().iter().filter_map(|bin| bin["name"].as_str()).collect();
        assert_eq!(named, READERS.iter().map(|reader| reader.0).collect::<Vec<_>>());
    }
}
