//! Kernel settings as `sysctl` names them, read from `/proc/sys`. Nothing is ever written.

use std::fs;

/// The value of a setting, such as `net.core.somaxconn`, without the line's end; `None` where this
/// kernel, namespace or user does not see it.
#[must_use]
pub fn read(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// A setting that is one number.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    numbers::<1>(name).map(|[value]| value)
}

/// A setting that is exactly `N` numbers in a row, such as `net.ipv4.tcp_mem`.
#[must_use]
pub fn numbers<const N: usize>(name: &str) -> Option<[u64; N]> {
    parse_numbers(&read(name)?)
}

/// Exactly `N` whole numbers with white space between them.
#[must_use]
pub fn parse_numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let values: Vec<u64> =
        text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    values.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_name() {
        assert!(number("net.core.somaxconn").is_some_and(|value| value > 0));
        assert!(numbers::<3>("net.ipv4.tcp_rmem").is_some_and(|[min, _, max]| min <= max));
        assert_eq!(number("net.ipv4.tcp_rmem"), None, "three numbers are not one");
        assert_eq!(read("net.core.no_such_setting"), None);
        assert!(read("kernel.ostype").is_some_and(|value| value == "Linux"));
    }

    #[test]
    fn numbers_are_counted() {
        assert_eq!(parse_numbers("4096\t131072\t33554432\n"), Some([4096, 131_072, 33_554_432]));
        assert_eq!(parse_numbers::<2>("1 2 3"), None);
        assert_eq!(parse_numbers::<1>("-1"), None);
        assert_eq!(parse_numbers::<1>(""), None);
    }
}
