//! UTF-8 checked as it arrives (RFC 6455 8.1): a wrong byte is found in the chunk that brings it.

/// The bytes are not UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotUtf8;

/// The check of one text: holds the start of a character that was cut, at most three bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Utf8 {
    held: [u8; 3],
    length: u8,
}

impl Utf8 {
    /// Takes the next bytes and hands on all characters that are complete with them, in at most two
    /// pieces. A character that is cut is held back until the rest of it is here.
    ///
    /// # Errors
    /// [`NotUtf8`], after everything in front of the wrong character was handed on.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(&str)) -> Result<(), NotUtf8> {
        let bytes = if self.length == 0 { bytes } else { self.complete(bytes, &mut sink)? };
        // The standard library checks ASCII by words.
        let error = match std::str::from_utf8(bytes) {
            Ok("") => return Ok(()),
            Ok(text) => {
                sink(text);
                return Ok(());
            }
            Err(error) => error,
        };
        let (good, rest) = bytes.split_at(error.valid_up_to());
        if let Ok(text) = std::str::from_utf8(good)
            && !text.is_empty()
        {
            sink(text);
        }
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        self.hold(rest);
        Ok(())
    }

    /// Whether the text may end here: not in the middle of a character.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.length == 0
    }

    /// Goes on with the character that was cut. Returns what follows it.
    #[cold]
    fn complete<'a>(
        &mut self,
        bytes: &'a [u8],
        sink: &mut impl FnMut(&str),
    ) -> Result<&'a [u8], NotUtf8> {
        let held = usize::from(self.length);
        let size = match self.held[0] {
            ..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
        };
        let (now, rest) = bytes.split_at(bytes.len().min(size - held));
        let mut character = [0; 4];
        character[..held].copy_from_slice(&self.held[..held]);
        character[held..held + now.len()].copy_from_slice(now);
        let character = &character[..held + now.len()];
        match std::str::from_utf8(character) {
            Ok(text) => {
                self.length = 0;
                sink(text);
            }
            Err(error) if error.error_len().is_none() => self.hold(character),
            Err(_) => return Err(NotUtf8),
        }
        Ok(rest)
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held[..bytes.len()].copy_from_slice(bytes);
        self.length = bytes.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the chunks; what was handed on, and in which chunk (if any) it failed.
    fn feed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (String, Option<usize>, bool) {
        let (mut check, mut text) = (Utf8::default(), String::new());
        for (index, chunk) in chunks.into_iter().enumerate() {
            if check.push(chunk, |piece| text.push_str(piece)).is_err() {
                return (text, Some(index), false);
            }
        }
        (text, None, check.is_complete())
    }

    #[test]
    fn a_wrong_byte_is_found_at_once() {
        // Overlong forms, surrogates and what lies above U+10FFFF are known by their second byte.
        let table: &[(&[u8], usize)] = &[
            (b"\x80", 0),
            (b"\xc0", 0),
            (b"\xf5", 0),
            (b"ab\xff", 2),
            (b"\xe0\x9f", 1),
            (b"\xed\xa0", 1),
            (b"\xf0\x8f", 1),
            (b"\xf4\x90", 1),
            (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80", 12),
            (b"\xf0\x9f\x98\x41", 3),
        ];
        for (bytes, at) in table {
            assert_eq!(feed(bytes.chunks(1)).1, Some(*at), "{bytes:x?}");
        }
    }

    #[test]
    fn a_cut_character_is_no_end() {
        for text in ["é", "€", "😀"] {
            let cut = &text.as_bytes()[..text.len() - 1];
            assert_eq!(feed(cut.chunks(1)), (String::new(), None, false));
            assert_eq!(feed(text.as_bytes().chunks(1)), (text.to_owned(), None, true));
        }
    }

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let text = "\\PC{0,12}".prop_map(String::into_bytes);
        let noise = prop::collection::vec(
            prop_oneof![Just(0xf4u8), Just(0xe2), Just(0x82), Just(0x90), any::<u8>()],
            0..6,
        );
        (text, noise, "[a-zé€😀]{0,12}")
            .prop_map(|(text, noise, more)| [text, noise, more.into_bytes()].concat())
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_text(
            bytes in any_bytes(),
            sizes in prop::collection::vec(1..5usize, 60),
        ) {
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes {
                let (now, then) = rest.split_at(size.min(rest.len()));
                chunks.push(now);
                rest = then;
            }
            chunks.push(rest);
            let (text, failed, complete) = feed(chunks);
            match std::str::from_utf8(&bytes) {
                Ok(whole) => {
                    prop_assert_eq!(text, whole);
                    prop_assert!(failed.is_none() && complete);
                }
                Err(error) => {
                    prop_assert_eq!(text.as_bytes(), &bytes[..error.valid_up_to()]);
                    prop_assert_eq!(failed.is_some(), error.error_len().is_some());
                    prop_assert!(!complete);
                }
            }
        }
    }
}
