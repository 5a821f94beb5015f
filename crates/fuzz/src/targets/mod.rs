//! The list of targets: what peers send, what lies in files, what is typed.

mod files;
mod frames;
mod handshakes;
mod http;
mod sessions;
mod texts;
mod tls;

use crate::{Random, Target, Verdict};

/// All targets.
pub const TARGETS: &[Target] = &[
    target("frames", frames::WORDS, frames::frames),
    target("messages", &[], frames::messages),
    target("masks", &[], frames::masks),
    target("utf8", &["é", "€", "😀", "\u{7ff}", "\u{ffff}"], frames::utf8),
    target("echoes", &[], frames::echoes),
    target("stamps", &[], frames::stamps),
    target("requests", handshakes::WORDS, handshakes::requests),
    target("replies", handshakes::WORDS, handshakes::replies),
    target("extensions", handshakes::EXTENSION_WORDS, handshakes::extensions),
    target("http-requests", http::REQUEST_WORDS, http::server),
    target("http-responses", http::RESPONSE_WORDS, http::client),
    target("http-paths", http::PATH_WORDS, http::paths),
    target("tls", tls::WORDS, tls::tls),
    target("sessions", sessions::FILE_WORDS, sessions::files),
    target("session-messages", sessions::MESSAGE_WORDS, sessions::messages),
    target("session-frames", sessions::FRAME_WORDS, sessions::frames),
    target("urls", texts::URL_WORDS, texts::urls),
    target("units", texts::UNIT_WORDS, texts::units),
    target("sources", texts::SOURCE_WORDS, texts::sources),
    target("cpus", &[",", "-", "0", "1023", "1024", "18446744073709551615"], texts::cpus),
    target("thresholds", texts::THRESHOLD_WORDS, texts::thresholds),
    target("proc", files::PROC_WORDS, files::proc),
    target("results", files::RESULT_WORDS, files::results),
    target("histograms", &["HISTFAAA"], files::histograms),
];

const fn target(
    name: &'static str,
    words: &'static [&'static str],
    run: fn(&[u8]) -> Verdict,
) -> Target {
    Target { name, words, run }
}

/// Ways to cut these bytes into reads: not at all, into single bytes, and a way that only they
/// have.
fn cuts(bytes: &[u8]) -> [Vec<usize>; 3] {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = Random(hash);
    let most = *random.pick(&[2, 6, 20, 200, 2000]);
    let own = (0..64).map(|_| random.below(most)).collect();
    [Vec::new(), vec![1; bytes.len()], own]
}
