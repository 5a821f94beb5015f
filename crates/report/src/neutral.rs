//! Text that comes from elsewhere (labels, names of files, what servers said), made harmless for
//! every format: what moves a cursor, recolours a terminal, turns the direction of reading around
//! or is not allowed in XML at all becomes `U+FFFD`. The summaries in ASCII put a `?` there.

use std::borrow::Cow;

/// The same text without anything in it that does more than to be seen. Line breaks stay: what they
/// may do is a format's own business.
#[must_use]
pub fn neutral(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(is_harmful, "\u{fffd}"))
}

fn is_harmful(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Marks of direction, embeddings, overrides and isolates; what breaks lines and is not
        // seen; what is no character.
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_more_than_to_be_seen_is_replaced_and_the_rest_stays() {
        assert!(matches!(neutral("gr\u{fc}n, 1\u{a0}ms\n\t\u{1f600}"), Cow::Borrowed(_)));
        assert_eq!(
            neutral("a\x1b[31mb\x07\x7f\u{9b}2J\r"),
            "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}2J\u{fffd}"
        );
        assert_eq!(neutral("x\u{202e}gnp.exe\u{2066}"), "x\u{fffd}gnp.exe\u{fffd}");
        assert_eq!(neutral("\u{fffe}\u{feff}\u{2028}"), "\u{fffd}\u{fffd}\u{fffd}");
    }
}
