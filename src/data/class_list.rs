//! The names of a model's classes by its outputs, which folders of images are matched with.

use std::collections::BTreeMap;
use std::path::Path;

use super::{DataError, content, read_file};
use crate::text::names;

/// Names of the 1,000 classes of `ImageNet` (ILSVRC 2012) in the order of its networks, without their `n`: those of timm 1.0.31,
/// `timm/data/_info/imagenet_synsets.txt` (Apache 2.0), which are in ascending order.
const IMAGENET_IDS: &str = include_str!("imagenet.txt");

/// How they are asked for.
pub(crate) const IMAGENET: &str = "imagenet";

/// More outputs than any classifier has.
const MOST: u32 = 1 << 20;

/// Which output each name means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassList {
    /// What it was read from.
    pub(crate) source: String,
    places: BTreeMap<String, u32>,
}

impl ClassList {
    /// `imagenet`, or the content of the file that is given, where it is.
    ///
    /// # Errors
    /// A file that cannot be read, or is no list of names.
    pub(crate) fn open(given: &str, path: &Path) -> Result<Self, DataError> {
        if given == IMAGENET {
            return Ok(Self::imagenet());
        }
        let text = String::from_utf8(read_file(path)?)
            .map_err(|_| content(path, "is not UTF-8 text; expected names of classes"))?;
        let named = parse(&text).map_err(|problem| content(path, problem))?;
        Self::of(given, named).map_err(|problem| content(path, problem))
    }

    pub(crate) fn imagenet() -> Self {
        let places = (0..).zip(IMAGENET_IDS.split_whitespace()).map(|(place, digits)| (format!("n{digits}"), place));
        Self { source: IMAGENET.to_owned(), places: places.collect() }
    }

    /// A name for each output, in their order.
    pub(crate) fn in_order(source: &str, names: &[String]) -> Self {
        Self { source: source.to_owned(), places: names.iter().cloned().zip(0..).collect() }
    }

    fn of(source: &str, named: Vec<(String, u32)>) -> Result<Self, String> {
        if named.is_empty() {
            return Err(format!("holds no names; expected {EXPECTED}"));
        }
        let mut places = BTreeMap::new();
        for (name, place) in named {
            if place >= MOST {
                return Err(format!("{} has output {place}; expected less than {MOST}", names::shown(&name)));
            }
            if places.insert(name.clone(), place).is_some() {
                return Err(format!("{} is there twice; expected each name once", names::shown(&name)));
            }
        }
        Ok(Self { source: source.to_owned(), places })
    }

    pub(crate) fn place(&self, name: &str) -> Option<u32> {
        self.places.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }
}

const EXPECTED: &str = "one name per line in the order of the model's outputs, lines `name,output`, or JSON: a list of names, or an object of \
                        names with their outputs";

fn parse(text: &str) -> Result<Vec<(String, u32)>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['[', '{']) {
        return parse_json(text).ok_or_else(|| format!("is not a list of classes; expected {EXPECTED}"));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let pair = |line: &&str| {
        let (name, place) = line.rsplit_once(['\t', ','])?;
        Some((name.trim().to_owned(), place.trim().parse().ok()?))
    };
    let pairs: Vec<(String, u32)> = lines.iter().filter_map(pair).collect();
    match pairs.len() {
        0 => Ok(lines.into_iter().map(str::to_owned).zip(0..).collect()),
        n if n == lines.len() => Ok(pairs),
        _ => {
            let odd = lines.iter().find(|line| pair(line).is_none()).copied().unwrap_or_default();
            Err(format!("line {:?} has no output, others do; expected {EXPECTED}", names::shown(odd)))
        }
    }
}

/// A list of names, `{"name": 3}`, or `{"3": "name"}` and `{"3": ["name", …]}` as in Keras' and PyTorch's index files.
fn parse_json(text: &str) -> Option<Vec<(String, u32)>> {
    use serde_json::Value;
    match serde_json::from_str(text).ok()? {
        Value::Array(names) => {
            names.iter().zip(0..).map(|(name, place)| Some((name.as_str()?.to_owned(), place))).collect()
        }
        Value::Object(pairs) => {
            let pair = |(key, value): (&String, &Value)| match value {
                Value::Number(place) => Some((key.clone(), u32::try_from(place.as_u64()?).ok()?)),
                Value::String(name) => Some((name.clone(), key.parse().ok()?)),
                Value::Array(names) => Some((names.first()?.as_str()?.to_owned(), key.parse().ok()?)),
                _ => None,
            };
            pairs.iter().map(pair).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_each_form() {
        let list = |text: &str| ClassList::of("it", parse(text).unwrap()).unwrap();
        for text in [
            "cat\ndog\n\n",
            "dog,1\ncat,0\n",
            "dog\t1\ncat\t0",
            r#"["cat", "dog"]"#,
            r#"{"dog": 1, "cat": 0}"#,
            r#"{"0": "cat", "1": ["dog", "Dog"]}"#,
        ] {
            let list = list(text);
            assert_eq!((list.place("cat"), list.place("dog"), list.place("cow")), (Some(0), Some(1), None), "{text}");
        }
        // A comma in a name is none before an output.
        assert_eq!(list("tench, Tinca tinca\ngoldfish").place("tench, Tinca tinca"), Some(0));
    }

    #[test]
    fn what_is_no_list_says_what_is() {
        let error = |text: &str| parse(text).and_then(|named| ClassList::of("it", named)).unwrap_err();
        for (text, word) in [
            ("", "no names"),
            ("cat\ncat", "twice"),
            ("cat,0\ndog", "\"dog\" has no output"),
            ("{\"a\": {}}", "JSON"),
            ("[1]", "JSON"),
            ("cat,4294967295", "less than"),
        ] {
            assert!(error(text).contains(word), "{text}: {}", error(text));
        }
        assert!(ClassList::open("file", Path::new("no/such/file")).unwrap_err().to_string().contains("no/such/file"));
    }

    #[test]
    fn imagenets_thousand_are_in_order() {
        let list = ClassList::imagenet();
        assert_eq!(list.names().count(), 1000);
        // tench, goldfish, and the last, toilet tissue.
        let places = ["n01440764", "n01443537", "n15075141"].map(|name| list.place(name));
        assert_eq!(places, [Some(0), Some(1), Some(999)]);
    }
}
