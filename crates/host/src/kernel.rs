//! The kernel's release: as text for the result, as numbers to compare with.

/// The release as the kernel gives it, such as `6.18.44-generic` (uname(2)).
#[must_use]
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Major and minor number of a release text; `None` where it does not start with two numbers.
#[must_use]
pub fn parse_release(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.trim().split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

/// Major and minor number of the running kernel.
#[must_use]
pub fn version() -> Option<(u32, u32)> {
    parse_release(&release())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_two_numbers_and_more() {
        for (text, version) in [
            ("6.18.44", (6, 18)),
            ("5.10.0-28-amd64", (5, 10)),
            ("6.1-rc3", (6, 1)),
            ("4.4.0-19041-Microsoft\n", (4, 4)),
            ("7.0", (7, 0)),
        ] {
            assert_eq!(parse_release(text), Some(version), "{text}");
        }
        for text in ["", "6", "six.one", "6.", ".1", "6.x"] {
            assert_eq!(parse_release(text), None, "{text}");
        }
    }

    #[test]
    fn the_running_kernel_has_a_version() {
        assert!(version().is_some_and(|version| version >= (3, 10)), "{}", release());
    }
}
