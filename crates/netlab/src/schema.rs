//! JSON held against the schemas of `docs/json-schema`.
//!
//! Knows what those use: types, `properties`, `required`, `additionalProperties: false`, `items`, `enum`, `minimum`, `oneOf`,
//! `$ref`. A schema that uses anything else is refused, so that nothing is left unchecked in silence.

use std::path::Path;

use serde_json::Value;

/// What a schema may say.
const KNOWN: [&str; 13] = [
    "$schema",
    "$defs",
    "$ref",
    "title",
    "description",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "minimum",
    "oneOf",
];

/// A schema.
#[derive(Debug)]
pub struct Schema(Value);

impl Schema {
    /// Reads one of the workspace's by its name: `stats` is `docs/json-schema/stats.schema.json`.
    ///
    /// # Errors
    /// It is absent or no JSON.
    pub fn of(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/json-schema")
            .join(format!("{name}.schema.json"));
        Ok(Self(serde_json::from_str(&std::fs::read_to_string(path)?)?))
    }

    /// What is wrong with a line of output; `None` if nothing is.
    #[must_use]
    pub fn complaint(&self, line: &str) -> Option<String> {
        match serde_json::from_str(line) {
            Ok(value) => self.conform(&self.0, &value, "").err(),
            Err(error) => Some(format!("{error}: {line}")),
        }
    }

    fn conform(&self, part: &Value, value: &Value, place: &str) -> Result<(), String> {
        if let Some(reference) = part["$ref"].as_str() {
            let part = self.0.pointer(reference.trim_start_matches('#'));
            return self.conform(part.ok_or(format!("no {reference}"))?, value, place);
        }
        if let Some(unknown) = members(part).find(|(name, _)| !KNOWN.contains(&name.as_str())) {
            return Err(format!("{place}: the schema says {}", unknown.0));
        }
        if let Some(choices) = part["oneOf"].as_array() {
            let verdicts = choices
                .iter()
                .map(|choice| self.conform(choice, value, place));
            let (good, bad): (Vec<_>, Vec<_>) = verdicts.partition(Result::is_ok);
            return match good.len() {
                1 => Ok(()),
                _ => Err(format!("{place}: {} choices fit: {bad:?}", good.len())),
            };
        }
        let fits = match part["type"].as_str() {
            Some("object") => return self.conform_object(part, value, place),
            Some("array") => {
                let items = value.as_array().ok_or(format!("{place}: no array"))?;
                return items
                    .iter()
                    .try_for_each(|item| self.conform(&part["items"], item, place));
            }
            Some("string") => {
                let words = part["enum"].as_array();
                value.is_string() && words.is_none_or(|words| words.contains(value))
            }
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_u64(),
            Some("number") => value.as_f64().is_some_and(|number| number >= 0.0),
            other => return Err(format!("{place}: the schema says type {other:?}")),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{place}: {value} is not {part}"))
        }
    }

    fn conform_object(&self, part: &Value, value: &Value, place: &str) -> Result<(), String> {
        if !value.is_object() {
            return Err(format!("{place}: no object: {value}"));
        }
        for name in part["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if value.get(name).is_none() {
                return Err(format!("{place}: no {name}"));
            }
        }
        for (name, member) in members(value) {
            let place = format!("{place}/{name}");
            match part["properties"].get(name) {
                Some(part) => self.conform(part, member, &place)?,
                None => return Err(format!("{place} is not in the schema")),
            }
        }
        Ok(())
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told() {
        let schema = Schema::of("role").unwrap();
        let good = r#"{"role":"primary","for_s":1,"since_s":2,"cause":"role","generation":1,"settled":true}"#;
        assert_eq!(schema.complaint(good), None);
        for (from, to) in [
            ("primary", "king"),
            ("\"for_s\":1,", ""),
            ("\"for_s\":1", "\"for_s\":-1"),
            ("true", "\"true\""),
            ("true", "true,\"more\":1"),
        ] {
            assert!(schema.complaint(&good.replace(from, to)).is_some(), "{to}");
        }
        let dump = Schema::of("dump").unwrap();
        assert!(dump.complaint(r#"{"kind":"nothing"}"#).is_some());
    }
}
