//! What the studies give: plain data that reports and screens show. As JSON it names its study and the version of its form.

pub(crate) mod curve;
pub(crate) mod dynamics;
pub(crate) mod flow;
pub(crate) mod labels;
pub(crate) mod prune;
pub(crate) mod similarity;

use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::DatasetInfo;
use crate::input;
use crate::memory::Allowance;
use crate::model::info::ModelInfo;
use crate::text::json::{self, pretty};
use crate::text::names;

/// What a study has measured; everything that is shown of it is made from this alone.
pub(crate) trait StudyResult: Serialize + DeserializeOwned + JsonSchema {
    /// The command that measures it.
    const STUDY: &'static str;
    /// Name of its JSON file.
    const FILE: &'static str;
    /// Raised whenever a reader of the form before would misread a result.
    const SCHEMA_VERSION: u64 = 1;

    /// Refuses parts that do not fit each other, in one line. What is made from a result relies on it.
    fn check(&self) -> Result<(), String>;
}

/// The model and the data set that a result is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Subject {
    /// Name of the model's file without its folders, or `embedded`.
    pub model: String,
    /// Architecture of the model, such as `resnet20`, or the class of an exported network.
    pub architecture: String,
    /// SHA-256 of the model's file, in hexadecimal.
    pub sha256: String,
    /// Name of the data set.
    pub data: String,
}

impl Subject {
    pub(crate) fn new(model: &ModelInfo, data: &DatasetInfo) -> Self {
        let ModelInfo { name, architecture, sha256, .. } = model.clone();
        Self { model: name, architecture, sha256, data: data.name.clone() }
    }
}

/// A result as its file holds it.
#[derive(Serialize)]
struct Document<'a, R> {
    study: &'static str,
    schema_version: u64,
    #[serde(flatten)]
    result: &'a R,
}

/// A file that names its study, whatever else is in it.
#[derive(Deserialize)]
struct Head {
    study: String,
    schema_version: u64,
}

/// Indented JSON with a final line break.
pub(crate) fn to_json<R: StudyResult>(result: &R) -> Vec<u8> {
    pretty(&Document { study: R::STUDY, schema_version: R::SCHEMA_VERSION, result })
}

/// The study that a file's content names; none where it is something else.
pub(crate) fn study_of(json: &[u8]) -> Option<String> {
    serde_json::from_slice(json).ok().map(|head: Head| names::shown(&head.study))
}

/// Reads what [`to_json`] wrote.
pub(crate) fn parse<R: StudyResult>(json: &[u8]) -> Result<R, String> {
    Allowance::new(R::FILE, json.len() as u64).open(|| parse_within(json))
}

fn parse_within<R: StudyResult>(json: &[u8]) -> Result<R, String> {
    let fail =
        |reason: String| format!("not a {} of advmod ({reason}); measure it again with advmod {}", R::FILE, R::STUDY);
    let head: Head = serde_json::from_slice(json).map_err(|error| fail(error.to_string()))?;
    if head.study != R::STUDY {
        return Err(format!(
            "holds a result of advmod {}, expected one of advmod {}",
            names::shown(&head.study),
            R::STUDY
        ));
    }
    if head.schema_version != R::SCHEMA_VERSION {
        return Err(format!("has schema version {}; this advmod reads {}", head.schema_version, R::SCHEMA_VERSION));
    }
    let text = str::from_utf8(json).map_err(|error| fail(error.to_string()))?;
    let result: R = json::read(text).map_err(|error| fail(error.to_string()))?;
    result.check().map_err(fail)?;
    Ok(result)
}

/// Reads a result's file, as [`parse`].
pub(crate) fn read<R: StudyResult>(path: &Path) -> Result<R, String> {
    let bytes = input::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The JSON Schema of its file, draft 2020-12. Fields that are not known to it are allowed: a later advmod of the same schema version may add
/// some.
pub(crate) fn schema<R: StudyResult>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<R>().to_value();
    schema["title"] = format!("{} of advmod, schema version {}", R::FILE, R::SCHEMA_VERSION).into();
    schema["properties"]["study"] =
        json!({ "const": R::STUDY, "type": "string", "description": "The advmod command that measured this result." });
    schema["properties"]["schema_version"] = json!({
        "const": R::SCHEMA_VERSION,
        "type": "integer",
        "description": "Version of this form; it is raised when an earlier reader would misread the file."
    });
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend(["study", "schema_version"].map(Value::from));
    }
    schema
}
