//! The tables of fields in `docs/RESULTS.md`, between marks, are what the schema says of each
//! field, row by row. The prose around them is written by hand.
//!
//! Who changes the schema has the tables written anew, and reads the difference:
//!
//! ```text
//! C1000K_REWRITE_TABLES=1 cargo test --workspace --test page
//! ```

use c1000k_report::{ResultFile, schema};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// The variable that has the tables written instead of compared.
const REWRITE: &str = "C1000K_REWRITE_TABLES";

/// What stands before every table that is generated, its head, and what stands behind it.
const FROM: &str = "<!-- from the schema -->\n\n";
const HEAD: &str = "| field | meaning |\n|---|---|\n";
const TO: &str = "\n<!-- to here -->\n";

/// The keys of objects as they lie in a file: schemas have them by the alphabet.
#[derive(Debug, Default)]
struct Keys(Vec<(String, Self)>);

impl Keys {
    fn of(&self, key: &str) -> &Self {
        const NONE: &Keys = &Keys(Vec::new());
        self.0.iter().find(|(known, _)| known == key).map_or(NONE, |(_, below)| below)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Keys::default();
                while let Some(entry) = map.next_entry()? {
                    keys.0.push(entry);
                }
                Ok(keys)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
                let first = items.next_element()?.unwrap_or_default();
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first)
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
                Ok(Keys::default())
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The names of definitions, each with the field whose table or rows tell of it.
type Told = BTreeMap<String, String>;

/// The schema of results, and what is asked of it.
struct Schema(Value);

impl Schema {
    /// What a reference leads to, and the not-null one of two choices; with the definition's name.
    fn resolved<'a>(&'a self, schema: &'a Value) -> (&'a Value, Option<&'a str>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.0.pointer(reference.trim_start_matches('#')).expect("a definition");
            return (target, reference.rsplit('/').next());
        }
        let choices = schema["anyOf"].as_array();
        match choices.into_iter().flatten().find(|choice| choice["type"] != "null") {
            Some(choice) => self.resolved(choice),
            None => (schema, None),
        }
    }

    /// A value of this schema in which everything is there.
    fn example(&self, schema: &Value) -> Value {
        let (schema, _) = self.resolved(schema);
        if let Some(properties) = schema["properties"].as_object() {
            let each = properties.iter().map(|(key, one)| (key.clone(), self.example(one)));
            return Value::Object(each.collect::<Map<_, _>>());
        }
        let choice = schema["oneOf"].as_array().and_then(|choices| choices[0].get("const"));
        if let Some(named) = choice {
            return named.clone();
        }
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
            Some("array") => json!([self.example(&schema["items"])]),
            Some("object") => json!({ "x": self.example(&schema["additionalProperties"]) }),
            Some("string") => json!(""),
            Some("boolean") => json!(true),
            Some("integer" | "number") => json!(1),
            _ => Value::Null,
        }
    }

    /// The rows of the table of an object: a row a field, and below it those of the objects in it.
    /// What has a table of its own, or had its rows already, is only named; `told` has where.
    fn rows(&self, of: &Value, keys: &Keys, path: &str, told: &mut Told) -> Vec<String> {
        let mut rows = Vec::new();
        for (key, below) in &keys.0 {
            let field = &of["properties"][key];
            let (mut inner, mut name) = self.resolved(field);
            let mut path = format!("{path}{key}");
            let is_list = inner["type"] == "array";
            if is_list {
                (inner, name) = self.resolved(&inner["items"]);
            }
            let is_object = inner["properties"].is_object();
            if is_list && is_object {
                path.push_str("[]");
            }
            let mut meaning = meaning(field, inner);
            let before = name.and_then(|name| told.get(name)).map(|place| format!("`{place}`"));
            if let Some(place) = before.as_ref().filter(|place| !meaning.contains(place.as_str())) {
                meaning.push_str(&format!("; fields as in {place}"));
            }
            rows.push(format!("| `{path}` | {meaning} |\n"));
            if is_object && before.is_none() {
                told.extend(name.map(|name| (name.to_owned(), path.clone())));
                rows.extend(self.rows(inner, below, &format!("{path}."), told));
            }
        }
        rows
    }

    /// The table of a field of the result; `None` if it is neither an object nor a list of them.
    fn table(&self, field: &str, keys: &Keys) -> Option<String> {
        let (mut schema, _) = self.resolved(&self.0["properties"][field]);
        if schema["type"] == "array" {
            schema = self.resolved(&schema["items"]).0;
        }
        schema["properties"].as_object()?;
        if field == "stages" {
            // There is one for each stage.
            let entry = &self.0["$defs"]["StageEntry"];
            return Some(self.rows(entry, keys.of("connect"), "", &mut Told::new()).concat());
        }
        // These have tables of their own.
        let tops = self.0["properties"].as_object().into_iter().flatten();
        let tops = tops.filter_map(|(top, schema)| Some((self.resolved(schema).1?, top)));
        let entry = ("StageEntry", &"stages".to_owned());
        let mut told: Told =
            tops.chain([entry]).map(|(name, top)| (name.to_owned(), top.clone())).collect();
        Some(self.rows(schema, keys, "", &mut told).concat())
    }
}

/// The text of a field as a cell, with what the named values of its type mean.
fn meaning(field: &Value, of: &Value) -> String {
    let words = |schema: &Value| schema["description"].as_str().expect("a text").replace('\n', " ");
    let mut text = cell(&words(field));
    let choices = of["oneOf"].as_array().into_iter().flatten();
    let named = choices.filter_map(|choice| Some((choice["const"].as_str()?, choice)));
    for (value, choice) in named {
        text.push_str(&format!("; `{value}`: {}", cell(&words(choice))));
    }
    text
}

/// A sentence as it stands in a cell: without its full stop, small letters first.
fn cell(text: &str) -> String {
    let text = text.trim().trim_end_matches('.').replace('|', "\\|");
    let mut letters = text.chars();
    let first = letters.next().unwrap_or_default();
    match letters.clone().next() {
        Some(second) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text,
    }
}

/// The page with each table of fields as the schema has it. Whoever adds a section gives it the
/// marks.
fn current(page: &str) -> String {
    let schema = Schema(schema::json_schema());
    let example = schema.example(&schema.0);
    let example: ResultFile = serde_json::from_value(example).expect("a result");
    let written = serde_json::to_string(&example).expect("JSON");
    let keys: Keys = serde_json::from_str(&written).expect("JSON");
    let mut parts = page.split("\n## ");
    let mut current = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        current.push_str("\n## ");
        let field = part.lines().next().unwrap_or_default().trim_matches('`');
        let table = keys.0.iter().any(|(key, _)| key == field);
        let table = table.then(|| schema.table(field, keys.of(field))).flatten();
        match (table, part.split_once(FROM)) {
            (None, None) => current.push_str(part),
            (Some(table), Some((before, rest))) => {
                let (_, after) = rest.split_once(TO).expect("a mark behind the table");
                current.push_str(&[before, FROM, HEAD, &table, TO, after].concat());
            }
            (_, marked) => panic!("`{field}`: marks of a table {}", marked.is_some()),
        }
    }
    current
}

#[test]
fn the_tables_of_fields_are_those_of_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/RESULTS.md");
    let page = fs::read_to_string(&path).expect("the page").replace("\r\n", "\n");
    let current = current(&page);
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, &current).expect("written");
        return;
    }
    for (is, should_be) in page.lines().zip(current.lines()) {
        assert_eq!(is, should_be, "see the head of this file for how to accept a change");
    }
    assert_eq!(page.len(), current.len());
}
