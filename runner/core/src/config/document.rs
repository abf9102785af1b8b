//! A TOML document as a tree that remembers where everything stands, in the order of the file.
//!
//! It gives no key a meaning: that is `shape`.

use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::Diagnostic;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// In bytes of the text. A table with a header has the header's.
    pub span: Range<usize>,
    pub data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Text(String),
    Integer(i64),
    /// A whole number that 64 bits do not hold.
    HugeInteger,
    Float(f64),
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key, where it stands, and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub node: Node,
}

/// Reads `text`. What can be understood is understood, whatever else is wrong.
pub(crate) fn read(text: &str) -> (Node, Vec<Diagnostic>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mistakes = errors
        .into_iter()
        .map(|error| syntax_mistake(text, &error))
        .collect();
    let data = table(root.into_inner());
    (Node { span: 0..0, data }, mistakes)
}

fn syntax_mistake(text: &str, error: &toml::de::Error) -> Diagnostic {
    let message = error.message().trim().replace('\n', ", ");
    let Some(span) = error.span() else {
        return Diagnostic::of_the_whole("syntax", message);
    };
    // An underline needs something to stand under, and must not cut a character in two.
    let start = (0..=span.start.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let end = (span.end.min(text.len())..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    let found = text.get(start..end).unwrap_or_default();
    let mistake = Diagnostic::at("syntax", start..end, message.clone());
    if message.contains("duplicate key") {
        mistake
            .label(format!("`{found}` is here a second time"))
            .hint("keep one of the two")
    } else {
        mistake.label("this is not TOML")
    }
}

fn table(map: DeTable<'_>) -> Data {
    let mut entries: Vec<Entry> = map.into_iter().map(|(key, value)| entry(&key, value)).collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Data::Table(entries)
}

fn entry(key: &Spanned<DeString<'_>>, value: Spanned<DeValue<'_>>) -> Entry {
    Entry {
        key: key.get_ref().clone().into_owned(),
        key_span: key.span(),
        node: node(value),
    }
}

fn node(value: Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let data = match value.into_inner() {
        DeValue::String(text) => Data::Text(text.into_owned()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Data::HugeInteger, Data::Integer)
        }
        DeValue::Float(float) => float.as_str().parse().map_or(Data::Float(f64::NAN), Data::Float),
        DeValue::Boolean(boolean) => Data::Boolean(boolean),
        DeValue::Datetime(_) => Data::Datetime,
        DeValue::Array(items) => Data::List(items.into_iter().map(node).collect()),
        DeValue::Table(map) => table(map),
    };
    Node { span, data }
}

impl Node {
    /// What it is, with an article.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.data {
            Data::Text(_) => "a text",
            Data::Integer(_) | Data::HugeInteger => "a whole number",
            Data::Float(_) => "a number",
            Data::Boolean(_) => "true or false",
            Data::Datetime => "a date",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
        }
    }

    /// The value of `key`, when this is a table.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// The entries, none when this is no table.
    pub(crate) fn entries(&self) -> &[Entry] {
        if let Data::Table(entries) = &self.data {
            entries
        } else {
            &[]
        }
    }

    /// The entries of the table at `key`, none when there is none.
    pub(crate) fn entries_of(&self, key: &str) -> &[Entry] {
        self.get(key).map_or(&[], Node::entries)
    }

    /// The elements, none when this is no list.
    pub(crate) fn items(&self) -> &[Node] {
        if let Data::List(items) = &self.data {
            items
        } else {
            &[]
        }
    }

    /// The text, when this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data {
            Some(text)
        } else {
            None
        }
    }

    /// The text at `key`, when there is one.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::text)
    }

    /// The truth at `key`, false when there is none.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        matches!(
            self.get(key),
            Some(Node {
                data: Data::Boolean(true),
                ..
            })
        )
    }

    /// The whole number at `key`, when there is one.
    pub(crate) fn integer_of(&self, key: &str) -> Option<i64> {
        match self.get(key)?.data {
            Data::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// The number at `key`, whole or not, when there is one.
    pub(crate) fn number_of(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Node::number)
    }

    /// The number, whole or not.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.data {
            Data::Integer(integer) => Some(integer as f64),
            Data::Float(float) => Some(float),
            _ => None,
        }
    }

    /// The texts of the list at `key`; what is no text is left out.
    pub(crate) fn texts_of(&self, key: &str) -> Vec<&str> {
        self.get(key)
            .map_or(&[][..], Node::items)
            .iter()
            .filter_map(Node::text)
            .collect()
    }

    /// The same value as JSON. Dates, infinities and numbers beyond 64 bits have none and are left out.
    pub(crate) fn json(&self) -> Option<Json> {
        Some(match &self.data {
            Data::Text(text) => Json::from(text.as_str()),
            Data::Integer(integer) => Json::from(*integer),
            Data::Float(float) => Json::Number(serde_json::Number::from_f64(*float)?),
            Data::Boolean(boolean) => Json::from(*boolean),
            Data::HugeInteger | Data::Datetime => return None,
            Data::List(items) => Json::Array(items.iter().filter_map(Node::json).collect()),
            Data::Table(entries) => Json::Object(
                entries
                    .iter()
                    .filter_map(|entry| Some((entry.key.clone(), entry.node.json()?)))
                    .collect(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_remembers_where_it_stands_in_the_order_of_the_file() {
        let text = "z = 1\n[b.c]\ny = \"é\"\nx = [1, 2]\n[a]\n";
        let (root, mistakes) = read(text);
        assert_eq!(mistakes, []);
        let keys: Vec<_> = root.entries().iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["z", "b", "a"]);
        let c = root.get("b").and_then(|b| b.get("c")).expect("a table");
        assert_eq!(&text[c.span.clone()], "[b.c]");
        assert_eq!(&text[c.get("y").expect("y").span.clone()], "\"é\"");
        assert_eq!(&text[c.get("x").expect("x").items()[1].span.clone()], "2");
    }

    #[test]
    fn every_syntax_error_is_found_and_the_rest_is_read() {
        let text = "a = 1\nb = \nc = 3\na = 4\n[d\ne = 5\n";
        let (root, mistakes) = read(text);
        assert!(mistakes.len() >= 3, "{mistakes:#?}");
        assert!(
            mistakes
                .iter()
                .all(|mistake| mistake.code == "syntax" && mistake.span.is_some()),
            "{mistakes:#?}"
        );
        assert_eq!(root.get("c").and_then(Node::json), Some(Json::from(3)));
    }
}
