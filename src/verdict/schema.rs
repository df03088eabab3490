//! The JSON Schema of `report.json`, made from the types that it is written from.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Report;
use crate::audit::event::SCHEMA_VERSION;

/// Draft 2020-12. Fields that are not known to it are allowed: a later advmod of the same schema version may add some.
pub(crate) fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Report>().to_value();
    let title = format!("report.json of advmod, schema version {SCHEMA_VERSION}");
    schema["title"] = title.into();
    schema["properties"]["schema_version"]["const"] = json!(SCHEMA_VERSION);
    schema
}

/// As it is published: pretty, with a line break at its end.
pub(crate) fn text() -> String {
    format!("{:#}\n", schema())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptions(value: &Value) -> Vec<&str> {
        match value {
            Value::Object(fields) => {
                let own = fields.get("description").and_then(Value::as_str);
                own.into_iter().chain(fields.values().flat_map(descriptions)).collect()
            }
            Value::Array(values) => values.iter().flat_map(descriptions).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_description_is_a_sentence() {
        let schema = schema();
        let all = descriptions(&schema);
        assert!(all.len() > 250, "{}", all.len());
        for text in all {
            assert!(text.split_whitespace().count() > 3 && text.ends_with('.'), "{text:?}");
            // A link of the documentation tells a reader of the schema nothing.
            assert!(!text.contains("[`"), "{text:?}");
        }
    }

    #[test]
    fn the_published_schema_is_this_one() {
        let published = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json"));
        assert_eq!(text(), published, "write it anew: advmod schema > docs/report.schema.json");
    }
}
