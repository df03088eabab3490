//! `torch.save` since PyTorch 1.6: a zip archive with `*/data.pkl` and `*/data/<key>`.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use zip::ZipArchive;

use super::state_dict::{allowed, tensors, views};
use super::{Problem, RawTensor};
use crate::pickle::Pickle;

/// The pickle of a state dict is names and shapes: more than this is no honest one.
const PICKLE_LIMIT: u64 = 256 << 20;

pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, RawTensor)>, Problem> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let names = archive.file_names().map(|name| Ok(name.map_err(|error| damaged(&error))?.into_owned()));
    let names: Vec<String> = names.collect::<Result<_, Problem>>()?;
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    if has("/constants.pkl") || names.iter().any(|name| name.contains("/code/")) {
        return Err(Problem::TorchScript);
    }
    if has("models/model.json")
        || has("serialized_exported_program.json")
        || has("/archive_format")
        || has("archive_format")
    {
        return Err(Problem::Export);
    }
    let Some(pickle_name) = names.iter().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl") else {
        return Err(Problem::Foreign("a zip archive, but not one of torch.save"));
    };
    let folder = pickle_name.trim_end_matches("data.pkl");
    if let Some(order) = names.iter().find(|name| **name == format!("{folder}byteorder"))
        && entry(&mut archive, order, 16)? == b"big"
    {
        return Err(Problem::Foreign("a state_dict saved on a big-endian machine"));
    }
    let pickle_bytes = entry(&mut archive, pickle_name, PICKLE_LIMIT)?;
    let pickle = Pickle::read(&pickle_bytes, &allowed)?;
    let views = views(&pickle)?;
    let mut storages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, view) in &views {
        let storage = &view.storage;
        if storages.contains_key(&storage.key) {
            continue;
        }
        let path = format!("{folder}data/{}", storage.key);
        if !names.contains(&path) {
            let what = format!("its storage {path} is missing; the file is damaged");
            return Err(Problem::Tensor { name: name.clone(), what });
        }
        // torch.save stores without compression, so an honest storage is no larger than the file.
        let found = entry(&mut archive, &path, bytes.len() as u64)?;
        if found.len() / storage.dtype.size() < storage.elements {
            let what = format!("its storage {path} is shorter than it says; the file is damaged");
            return Err(Problem::Tensor { name: name.clone(), what });
        }
        storages.insert(storage.key.clone(), found);
    }
    tensors(views, &storages.iter().map(|(key, bytes)| (key.clone(), bytes.as_slice())).collect())
}

/// The content of an entry of at most `limit` bytes.
fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
    let file = archive.by_name(name).map_err(|error| damaged(&error))?;
    let mut content = Vec::new();
    // The size in the header may lie: read what comes, one byte beyond the limit at most.
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|error| Problem::Damaged(format!("entry {name}: {error}")))?;
    if content.len() as u64 > limit {
        return Err(Problem::Damaged(format!("entry {name} unpacks to more than {limit} bytes")));
    }
    Ok(content)
}

fn damaged(error: &zip::result::ZipError) -> Problem {
    Problem::Damaged(format!("its zip archive cannot be read ({error})"))
}

#[cfg(test)]
mod tests {
    use crate::model::format::samples::{self, zip_of};
    use crate::model::format::{WeightFormat, read_weights_from};
    use std::path::Path;

    fn message(bytes: &[u8]) -> String {
        read_weights_from(bytes, Path::new("w.pt")).unwrap_err().to_string()
    }

    #[test]
    fn an_archive_is_read() {
        let file = read_weights_from(&samples::zip(), Path::new("w.pt")).unwrap();
        assert_eq!(file.format, WeightFormat::TorchZip);
        assert_eq!(file.tensors[0].1.to_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn other_archives_are_called_by_their_name() {
        assert!(message(&zip_of(&[("m/code/x.py", b""), ("m/data.pkl", b"")])).contains("TorchScript"));
        assert!(message(&zip_of(&[("m/models/model.json", b"{}")])).contains("torch.export"));
        assert!(message(&zip_of(&[("word/document.xml", b"")])).contains("zip archive"));
        let module = b"\x80\x02ctorchvision.models.resnet\nResNet\n)\x81.";
        assert!(
            message(&zip_of(&[("m/data.pkl", module)]))
                .contains("whole pickled model (torchvision.models.resnet.ResNet)")
        );
        let evil = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let message = message(&zip_of(&[("m/data.pkl", evil)]));
        assert!(message.contains("os.system") && message.contains("nothing was run"), "{message}");
    }

    #[test]
    fn a_missing_or_short_storage_is_named() {
        let pickle = samples::object(&["a.weight"]);
        assert!(message(&zip_of(&[("m/data.pkl", &pickle)])).contains("m/data/0 is missing"));
        assert!(message(&zip_of(&[("m/data.pkl", &pickle), ("m/data/0", &[0; 20])])).contains("shorter than it says"));
    }
}
