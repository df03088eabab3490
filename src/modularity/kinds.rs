//! The similarities, one entry each: what is taken off a representation's rows before their cosine is the similarity.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;
use tch::{Kind, TchError, Tensor};

use super::ModularityError;

#[derive(Debug)]
pub(crate) struct SimilarityKind {
    /// The name on the command line and in files.
    pub name: &'static str,
    pub what: &'static str,
    /// What is subtracted from each row; for some it depends on all rows of the reference.
    pub(super) centre: Option<Centre>,
}

pub(super) type Centre = fn(rows: &Tensor, reference: &Tensor) -> Result<Tensor, TchError>;

pub(crate) static SIMILARITIES: &[&SimilarityKind] = &[
    &COSINE,
    &PEARSON,
    &SAMPLE_CENTRED,
    #[cfg(feature = "toy")]
    &TOY,
];

static COSINE: SimilarityKind =
    SimilarityKind { name: "cosine", what: "Cosine of the rows as they are (as Lu et al., ECCV 2022).", centre: None };

static PEARSON: SimilarityKind = SimilarityKind {
    name: "pearson",
    what: "Cosine after each row's own mean is subtracted.",
    centre: Some(|rows, _| rows.f_mean_dim([1_i64].as_slice(), true, Kind::Float)),
};

static SAMPLE_CENTRED: SimilarityKind = SimilarityKind {
    name: "sample-centred",
    what: "Cosine after the mean representation over the samples is subtracted; this removes hubs.",
    centre: Some(|_, reference| reference.f_mean_dim([0_i64].as_slice(), true, Kind::Float)),
};

/// For tests: what a new entry looks like.
#[cfg(feature = "toy")]
static TOY: SimilarityKind = SimilarityKind {
    name: "toy",
    what: "Cosine after a half is subtracted.",
    centre: Some(|_, reference| reference.f_new_full([1, 1], 0.5, (Kind::Float, reference.device()))),
};

/// How rows of a representation are compared: an entry of [`SIMILARITIES`].
#[derive(Clone, Copy, Debug)]
pub struct Similarity(pub(super) &'static SimilarityKind);

impl Similarity {
    pub const COSINE: Self = Self(&COSINE);
    pub const PEARSON: Self = Self(&PEARSON);
    pub const SAMPLE_CENTRED: Self = Self(&SAMPLE_CENTRED);

    pub fn all() -> impl Iterator<Item = Self> {
        SIMILARITIES.iter().map(|kind| Self(kind))
    }

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The names, for people: `a, b or c`.
    pub fn names() -> String {
        match NAMES.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| SIMILARITIES.iter().map(|kind| kind.name).collect());

impl Default for Similarity {
    fn default() -> Self {
        Self(SIMILARITIES[0])
    }
}

impl PartialEq for Similarity {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Similarity {}

impl fmt::Display for Similarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Similarity {
    type Err = ModularityError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::all().find(|similarity| similarity.name() == name);
        known.ok_or_else(|| ModularityError::UnknownSimilarity { name: name.to_owned(), known: Self::names() })
    }
}

impl Serialize for Similarity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Similarity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(|_| de::Error::unknown_variant(&name, &NAMES))
    }
}

impl JsonSchema for Similarity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Similarity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let entry = |kind: &&SimilarityKind| json!({ "description": kind.what, "type": "string", "const": kind.name });
        json_schema!({
            "description": "How two images are compared at a tap: the network's output for an image there, flattened to a row of numbers, is its representation; two rows are compared by their cosine, after a transform.",
            "oneOf": SIMILARITIES.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for similarity in Similarity::all() {
            assert_eq!(similarity.to_string().parse(), Ok(similarity));
            let json = serde_json::to_value(similarity).unwrap();
            assert_eq!(json, similarity.name());
            assert_eq!(serde_json::from_value::<Similarity>(json).unwrap(), similarity);
        }
        let error = "euclid".parse::<Similarity>().unwrap_err().to_string();
        assert!(error.starts_with("unknown similarity 'euclid', expected cosine, pearson"), "{error}");
        let error = serde_json::from_str::<Similarity>("\"euclid\"").unwrap_err().to_string();
        assert!(error.starts_with("unknown variant `euclid`, expected one of `cosine`, `pearson`"), "{error}");
    }
}
