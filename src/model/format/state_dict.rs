//! Which dictionary of a checkpoint holds the network's tensors, and the tensors themselves.

use std::collections::BTreeSet;

use super::RawTensor;
use super::error::{FormatError, Source, printable};
use super::pickled::{self, Storages, View};
use crate::pickle::{Id, Node, Pickle};

/// Where training scripts keep the network, the most usual first.
const USUAL_NAMES: &str = "state_dict model_state_dict model_state model net network weights params parameters classifier ema \
     model_ema ema_state_dict state_dict_ema";
/// Prefixes that `DataParallel` and `torch.compile` put in front of every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// How deep the dictionary may be nested.
const DEEPEST: usize = 4;

/// Entries that are looked at in the search; a pickle can make very many out of few bytes by sharing.
const MOST_ENTRIES: usize = 1_000_000;

/// Reads the tensors of the checkpoint's state dict. Entries of other kinds are left out.
pub(super) fn extract(
    source: Source<'_>,
    pickle: &Pickle<'_>,
    storages: &mut dyn Storages,
) -> Result<Vec<(String, RawTensor)>, FormatError> {
    let dict = find(source, pickle)?;
    let mut names = BTreeSet::new();
    let mut tensors = Vec::new();
    // Names may share storages; only so many, or a small file could ask for any amount of memory.
    let mut allowance = source.expansion_limit();
    for (name, value) in named(pickle, dict).filter(|&(_, value)| pickled::is_tensor(pickle, value)) {
        if !names.insert(name) {
            return Err(source.damaged(format!("two tensors have the name `{}`", printable(name))));
        }
        let view = pickled::view(pickle, value).map_err(|reason| source.tensor(name, reason))?;
        let tensor = read(source, name, view, storages, allowance)?;
        allowance -= tensor.bytes.len() as u64;
        tensors.push((name.to_owned(), tensor));
    }
    Ok(tensors)
}

/// The elements of a tensor, which may have so many bytes.
pub(super) fn read(
    source: Source<'_>,
    name: &str,
    view: View,
    storages: &mut dyn Storages,
    allowance: u64,
) -> Result<RawTensor, FormatError> {
    let View { dtype, key, storage_size, layout, .. } = view;
    let storage = storages.storage(&key)?;
    let storage = storage.get(..storage_size).ok_or_else(|| {
        let (key, found) = (printable(&key), storage.len());
        source.truncated(format!("storage {key} of tensor `{}` has {found} of {storage_size} bytes", printable(name)))
    })?;
    let wrong = |reason| source.tensor(name, reason);
    let size = layout.count().map_err(wrong)?.checked_mul(dtype.width());
    // What does not lie inside its storage has its own message; what does cannot overflow.
    if size.is_some_and(|size| size <= storage.len() && size as u64 > allowance) {
        return Err(source.oversized());
    }
    let bytes = layout.gather(storage, dtype.width()).map_err(wrong)?;
    Ok(RawTensor { dtype, shape: layout.shape, bytes })
}

/// Strips wrapper prefixes that all names have.
pub(super) fn without_wrapper_prefixes(mut tensors: Vec<(String, RawTensor)>) -> Vec<(String, RawTensor)> {
    let is_wrapped = |tensors: &[(String, RawTensor)], prefix: &str| {
        tensors.iter().all(|(name, _)| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
    };
    while let Some(prefix) = WRAPPERS.iter().find(|prefix| !tensors.is_empty() && is_wrapped(&tensors, prefix)) {
        for (name, _) in &mut tensors {
            name.drain(..prefix.len());
        }
    }
    tensors
}

struct Candidate<'p> {
    /// Of the keys that lead to it; empty for the object itself.
    path: Vec<&'p str>,
    dict: Id,
    has_dimensions: bool,
}

/// The dictionary of the network's tensors: the one with the most usual name, else the object itself, else the only one.
fn find(source: Source<'_>, pickle: &Pickle<'_>) -> Result<Id, FormatError> {
    let candidates = candidates(pickle);
    // How usual each key on the way is; compared key by key, so that `model` wins over `ema` whatever lies under them.
    let rank = |candidate: &Candidate<'_>| -> Vec<usize> {
        let position = |key: &&str| USUAL_NAMES.split_whitespace().position(|name| name == *key).unwrap_or(usize::MAX);
        candidate.path.iter().map(position).collect()
    };
    let is_usual = |candidate: &&Candidate<'_>| rank(candidate).iter().any(|&rank| rank < usize::MAX);
    let best = candidates.iter().filter(is_usual).map(rank).min();
    let best: Vec<&Candidate<'_>> = candidates.iter().filter(|candidate| Some(rank(candidate)) == best).collect();
    let root = candidates.iter().find(|candidate| candidate.path.is_empty());
    let others: Vec<&Candidate<'_>> = candidates.iter().filter(|candidate| !candidate.path.is_empty()).collect();
    let chosen = match (&best[..], root, &others[..]) {
        ([], Some(root), others) if root.has_dimensions || others.is_empty() => root.dict,
        ([one], ..) | ([], _, [one]) => one.dict,
        ([], None, []) => return Err(source.no_tensors(&kind(pickle, pickle.root()))),
        (several, ..) => {
            let several = if several.is_empty() { &others[..] } else { several };
            let names: Vec<String> = several.iter().take(8).map(|it| printable(&it.path.join("."))).collect();
            return Err(source.other(format!(
                "several entries hold tensors ({}); save the one that is meant alone: torch.save(checkpoint[\"NAME\"], \"model.pt\")",
                names.join(", ")
            )));
        }
    };
    Ok(chosen)
}

/// All dictionaries that hold tensors, outermost first.
fn candidates<'p>(pickle: &'p Pickle<'_>) -> Vec<Candidate<'p>> {
    let mut candidates = Vec::new();
    let mut level = vec![(Vec::new(), pickle.root())];
    let mut seen = 0;
    for _ in 0..=DEEPEST {
        let mut deeper = Vec::new();
        for (path, dict) in level {
            let tensors = || named(pickle, dict).filter(|&(_, value)| pickled::is_tensor(pickle, value));
            if tensors().next().is_some() {
                let has_dimensions = tensors().any(|(_, value)| pickled::has_dimensions(pickle, value));
                candidates.push(Candidate { path: path.clone(), dict, has_dimensions });
            }
            for (key, value) in named(pickle, dict).filter(|&(_, value)| pickle.entries(value).is_some()) {
                if key.starts_with("optim") {
                    continue;
                }
                seen += 1 + pickle.entries(value).map_or(0, <[_]>::len);
                if seen > MOST_ENTRIES {
                    return candidates;
                }
                deeper.push(([&path[..], &[key]].concat(), value));
            }
        }
        level = deeper;
    }
    candidates
}

/// The entries of a dictionary whose keys are text.
fn named<'p>(pickle: &'p Pickle<'_>, dict: Id) -> impl Iterator<Item = (&'p str, Id)> {
    let entries = pickle.entries(dict).unwrap_or_default();
    entries.iter().filter_map(|&(key, value)| Some((pickle.text(key)?, value)))
}

/// What a value is, for a message.
fn kind(pickle: &Pickle<'_>, id: Id) -> String {
    match pickle.node(id) {
        _ if pickled::is_tensor(pickle, id) => "a single tensor without a name".to_owned(),
        _ if pickle.entries(id).is_some() => {
            let keys: Vec<String> = named(pickle, id).take(6).map(|(key, _)| printable(key)).collect();
            format!("a dictionary with the keys {}", if keys.is_empty() { "()".to_owned() } else { keys.join(", ") })
        }
        Node::List(_) | Node::Tuple(_) => "a list".to_owned(),
        Node::Call { callable, .. } => match pickle.global(*callable) {
            Some((module, name)) => format!("an object of {}", printable(&format!("{module}.{name}"))),
            None => "an object".to_owned(),
        },
        _ => "a plain value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::read_weights_from;
    use super::super::testing::{Py, call, dict, floats, ordered, storage, torch_zip, vector, view, zip_of};
    use super::*;

    /// Names of the tensors that are found. The storage `0` is one float, 7.
    fn names(object: &Py) -> Result<Vec<String>, FormatError> {
        let file = read_weights_from(&torch_zip(object, &[("0", floats(&[7.0]))]), Path::new("model.pt"))?;
        assert!(file.tensors.iter().all(|(_, tensor)| tensor.to_f32() == [7.0]));
        Ok(file.tensors.into_iter().map(|(name, _)| name).collect())
    }

    fn state(name: &str) -> Py {
        ordered(vec![(name, vector("0", 1))])
    }

    fn scalar() -> Py {
        view(storage("FloatStorage", "0", 1), 0, &[], &[])
    }

    #[test]
    fn the_state_dict_is_found_wherever_scripts_put_it() {
        assert_eq!(names(&state("a")).unwrap(), ["a"]);
        for key in USUAL_NAMES.split_whitespace() {
            let other = if key == "state_dict" { "ema" } else { "other" };
            let object = dict(vec![(other, state("b")), ("epoch", Py::Int(3)), (key, state("a"))]);
            assert_eq!(names(&object).unwrap(), ["a"], "{key}");
        }
        let nested = dict(vec![("ema", state("b")), ("model", dict(vec![("state_dict", state("a"))]))]);
        assert_eq!(names(&nested).unwrap(), ["a"]);
        assert_eq!(names(&dict(vec![("my_net", state("a")), ("optimizer", state("b"))])).unwrap(), ["a"]);
    }

    #[test]
    fn a_score_beside_the_state_dict_is_not_mistaken_for_it() {
        assert_eq!(names(&dict(vec![("my_net", state("a")), ("accuracy", scalar())])).unwrap(), ["a"]);
        assert_eq!(names(&dict(vec![("a", vector("0", 1)), ("scores", dict(vec![("b", scalar())]))])).unwrap(), ["a"]);
    }

    #[test]
    fn several_unnamed_state_dicts_are_ambiguous() {
        let error = names(&dict(vec![("generator", state("a")), ("critic", state("b"))])).unwrap_err();
        assert!(error.to_string().contains("(generator, critic)"), "{error}");
        let inner = |name| dict(vec![("state_dict", state(name))]);
        let error = names(&dict(vec![("generator", inner("a")), ("critic", inner("b"))])).unwrap_err();
        assert!(error.to_string().contains("(generator.state_dict, critic.state_dict)"), "{error}");
    }

    #[test]
    fn wrapper_prefixes_go_only_when_all_names_have_them() {
        let two = |first, second| ordered(vec![(first, vector("0", 1)), (second, vector("0", 1))]);
        assert_eq!(names(&two("module.a", "module.b")).unwrap(), ["a", "b"]);
        assert_eq!(names(&two("_orig_mod.module.a", "_orig_mod.module.b")).unwrap(), ["a", "b"]);
        assert_eq!(names(&two("module.a", "b")).unwrap(), ["module.a", "b"]);
        assert_eq!(names(&state("module.")).unwrap(), ["module."]);
    }

    #[test]
    fn what_is_no_tensor_is_left_out() {
        let extra = vec![("w", vector("0", 1)), ("epoch", Py::Int(3)), ("args", call("argparse", "Namespace", vec![]))];
        assert_eq!(names(&dict(extra)).unwrap(), ["w"]);
    }

    #[test]
    fn a_file_without_tensors_says_what_it_holds() {
        for (object, found) in [
            (dict(vec![("epoch", Py::Int(1)), ("lr", Py::Float(0.1))]), "a dictionary with the keys epoch, lr"),
            (vector("0", 1), "a single tensor without a name"),
            (call("argparse", "Namespace", vec![]), "an object of argparse.Namespace"),
            (Py::Tuple(vec![]), "a list"),
        ] {
            let error = names(&object).unwrap_err();
            assert!(error.to_string().contains(&format!("holds no named tensors ({found}")), "{error}");
        }
    }

    #[test]
    fn dictionaries_that_share_each_other_are_not_searched_for_ever() {
        // a = {"x0": b, …, "x99": b}, b the same of c, and so on: 100^4 paths, were they all followed.
        let mut bytes = b"\x80\x02}q\x00".to_vec();
        for _ in 0..6 {
            bytes.extend(b"}(");
            for idx in 0..100 {
                bytes.extend(format!("X\x03\0\0\0x{idx:02}h\0").as_bytes());
            }
            bytes.extend(b"uq\x00");
        }
        bytes.push(b'.');
        let zip = zip_of(&[("m/data.pkl", &bytes)], zip::CompressionMethod::Stored);
        let error = read_weights_from(&zip, Path::new("m")).unwrap_err();
        assert!(error.to_string().contains("holds no named tensors"), "{error}");
    }

    #[test]
    fn two_tensors_of_one_name_are_damage() {
        let error = names(&dict(vec![("w", vector("0", 1)), ("w", vector("0", 1))])).unwrap_err();
        assert!(error.to_string().contains("two tensors have the name `w`"), "{error}");
    }

    #[test]
    fn sharing_one_storage_cannot_multiply_a_file() {
        let values = vec![0.0; 1 << 14];
        let tensors: Vec<(String, Py)> = (0..400).map(|idx| (format!("w{idx}"), vector("0", 1 << 14))).collect();
        let object = dict(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect());
        let error =
            read_weights_from(&torch_zip(&object, &[("0", floats(&values))]), Path::new("model.pt")).unwrap_err();
        assert!(error.to_string().contains("its content unpacks to more than"), "{error}");
    }
}
