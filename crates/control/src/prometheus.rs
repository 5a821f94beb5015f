//! A writer of the Prometheus text exposition format, version 0.0.4.
//!
//! The format is three kinds of lines, and a snapshot is rendered afresh for each scrape; the
//! `prometheus-client` crate would bring 17 packages and a registry of shared atomics for that. Its
//! source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::endpoint::Page;
use std::fmt::{self, Display, Write};

/// What a family's values are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only grows, from zero at the program's start. By convention the name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A value of a sample. The format holds floats: a whole number above 2^53 is read with rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// Anything else, NaN and the infinities included.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(f64::INFINITY) => f.write_str("+Inf"),
            Self::Real(f64::NEG_INFINITY) => f.write_str("-Inf"),
            // Rust's own spelling of the rest, "NaN" included, is Go's.
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    names: Vec<&'static str>,
}

impl Exposition {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a family: its HELP and TYPE lines. Its samples follow through the returned value,
    /// which is what keeps them in one group.
    ///
    /// # Panics
    /// If the name is not a metric name, or was used on this page before.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        assert!(is_name(name, ":"), "'{name}' is not a metric name");
        assert!(!self.names.contains(&name), "the family '{name}' is there already");
        self.names.push(name);
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        push_escaped(&mut self.text, help, false);
        self.write(format_args!("\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    /// The page as the endpoint serves it.
    #[must_use]
    pub fn finish(self) -> Page {
        Page {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: self.text.into_bytes(),
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// A family whose lines are being written.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Exposition,
    name: &'static str,
}

impl Family<'_> {
    /// One line: a value under these labels, which must differ from sample to sample.
    ///
    /// # Panics
    /// If a label's name is not one, or begins with the two underscores that Prometheus reserves.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> &mut Self {
        self.page.text.push_str(self.name);
        for (index, (name, text)) in labels.iter().enumerate() {
            assert!(is_name(name, "") && !name.starts_with("__"), "'{name}' is not a label name");
            self.page.text.push(if index == 0 { '{' } else { ',' });
            self.page.text.push_str(name);
            self.page.text.push_str("=\"");
            push_escaped(&mut self.page.text, text, true);
            self.page.text.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.page.write(format_args!("{close} {}\n", value.into()));
        self
    }
}

/// Letters, digits, underscores and the `extra` signs, not a digit first.
fn is_name(name: &str, extra: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || extra.contains(c);
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(allowed)
}

/// Backslash and line feed are escaped everywhere, the quote only where text is quoted.
fn push_escaped(out: &mut String, text: &str, quoted: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(page: Exposition) -> String {
        String::from_utf8(page.finish().body).expect("UTF-8")
    }

    #[test]
    fn a_page_reads_as_the_format_says() {
        let mut page = Exposition::new();
        page.family("c1000k_accepted_total", Kind::Counter, "Connections accepted.")
            .sample(&[("reactor", "0"), ("core", "2")], 3_u64)
            .sample(&[("reactor", "1"), ("core", "3")], u64::MAX);
        page.family("c1000k_busy_ratio", Kind::Gauge, "Share of time\nnot \"waiting\" (\\).")
            .sample(&[], 0.25);
        page.family("c1000k_odd", Kind::Gauge, "")
            .sample(&[("v", "a\\b\"c\nd")], f64::NAN)
            .sample(&[("v", "+")], f64::INFINITY)
            .sample(&[("v", "-")], f64::NEG_INFINITY)
            .sample(&[("v", "")], -1e-9);
        let expected = r#"# HELP c1000k_accepted_total Connections accepted.
# TYPE c1000k_accepted_total counter
c1000k_accepted_total{reactor="0",core="2"} 3
c1000k_accepted_total{reactor="1",core="3"} 18446744073709551615
# HELP c1000k_busy_ratio Share of time\nnot "waiting" (\\).
# TYPE c1000k_busy_ratio gauge
c1000k_busy_ratio 0.25
# HELP c1000k_odd 
# TYPE c1000k_odd gauge
c1000k_odd{v="a\\b\"c\nd"} NaN
c1000k_odd{v="+"} +Inf
c1000k_odd{v="-"} -Inf
c1000k_odd{v=""} -0.000000001
"#;
        assert_eq!(text(page), expected);
    }

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "_", "a_b:c9", "Z"] {
            assert!(is_name(good, ":"), "{good}");
        }
        for bad in ["", "9a", "a-b", "a b", "é", "a.b"] {
            assert!(!is_name(bad, ":"), "{bad}");
        }
        assert!(!is_name("a:b", ""), "no colon in a label");
    }

    #[test]
    #[should_panic(expected = "is there already")]
    fn a_family_opens_once() {
        let mut page = Exposition::new();
        page.family("twice", Kind::Gauge, "");
        page.family("twice", Kind::Gauge, "");
    }

    #[test]
    #[should_panic(expected = "'__name__' is not a label name")]
    fn reserved_labels_are_refused() {
        Exposition::new().family("a", Kind::Gauge, "").sample(&[("__name__", "b")], 1_u64);
    }

    /// Reads a label's text as Prometheus does, up to the closing quote: the text and what follows.
    fn unescape(quoted: &str) -> (String, &str) {
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return (text, &quoted[at + 1..]),
                '\\' => match chars.next().expect("an escaped sign").1 {
                    'n' => text.push('\n'),
                    c @ ('\\' | '"') => text.push(c),
                    c => panic!("unknown escape {c:?}"),
                },
                c => text.push(c),
            }
        }
        panic!("the quote is not closed: {quoted}");
    }

    proptest! {
        #[test]
        fn any_label_and_value_can_be_read_back(label in any::<String>(), value in any::<f64>()) {
            let mut page = Exposition::new();
            page.family("m", Kind::Gauge, "h").sample(&[("l", &label)], value);
            let text = text(page);
            let line = text.strip_prefix("# HELP m h\n# TYPE m gauge\nm{l=\"").expect("head");
            prop_assert_eq!(line.matches('\n').count(), 1, "one line, one sample");
            let (read, rest) = unescape(line);
            prop_assert_eq!(read, label);
            let number = rest.strip_prefix("} ").expect("value").trim_end();
            let number: f64 = number.parse().expect("number");
            prop_assert!(number == value || number.is_nan() && value.is_nan());
        }
    }
}
