//! Options that both programs have: reactors, cores, descriptor tables.

use clap::ValueEnum;

/// Whose descriptor table a reactor uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FdTable {
    /// Each reactor has its own: its own limit, and no lock to share.
    Own,
    /// All threads share the process's.
    Shared,
}

/// How many reactors were asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reactors {
    /// As many as it takes.
    Auto,
    /// Exactly so many.
    Exactly(usize),
}

/// The number of reactors where at least `needed` are and `least` are wanted anyway: above one per
/// CPU it goes up to a multiple, so that every CPU carries as many.
#[must_use]
pub fn even_reactors(needed: u64, least: usize, cpus: usize) -> usize {
    let needed = usize::try_from(needed).unwrap_or(usize::MAX).min(REACTORS_MAX);
    if needed <= least {
        return least;
    }
    needed.next_multiple_of(cpus.max(1))
}

/// A list of CPUs, as `host::cpu::parse_cpu_list` reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cores(pub Vec<usize>);

/// Reactors that a process can have: each is a thread, a table and an event queue.
const REACTORS_MAX: usize = 1024;

/// Reads `auto` or a number from 1 to 1,024.
pub fn parse_reactors(text: &str) -> Result<Reactors, String> {
    if text == "auto" {
        return Ok(Reactors::Auto);
    }
    let count = text.parse().ok().filter(|count| (1..=REACTORS_MAX).contains(count));
    let count = count.ok_or_else(|| format!("give a number from 1 to {REACTORS_MAX}, or auto"))?;
    Ok(Reactors::Exactly(count))
}

/// Reads a list of CPUs.
pub fn parse_cores(text: &str) -> Result<Cores, String> {
    host::cpu::parse_cpu_list(text).map(Cores).map_err(|error| error.to_string())
}

/// The CPUs to pin reactors to: those asked for, or all that this process may use.
///
/// # Errors
/// A sentence, if one is asked for that this process may not use.
pub fn choose_cpus(asked: Option<&Cores>, allowed: &[usize]) -> Result<Vec<usize>, String> {
    let Some(Cores(cpus)) = asked else { return Ok(allowed.to_vec()) };
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        None => Ok(cpus.clone()),
        Some(cpu) => Err(format!(
            "--cores names CPU {cpu}, and this process may use only {}",
            host::cpu::format_cpu_list(allowed)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactors_are_a_number_or_auto() {
        assert_eq!(parse_reactors("auto"), Ok(Reactors::Auto));
        assert_eq!(parse_reactors("3"), Ok(Reactors::Exactly(3)));
        for bad in ["0", "-1", "1025", "many", ""] {
            assert!(parse_reactors(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_cpu_carries_as_many_reactors() {
        assert_eq!(even_reactors(1, 2, 2), 2);
        assert_eq!(even_reactors(1, 1, 2), 1);
        assert_eq!(even_reactors(3, 2, 2), 4);
        assert_eq!(even_reactors(51, 8, 8), 56);
        assert_eq!(even_reactors(u64::MAX, 2, 2), REACTORS_MAX);
    }

    #[test]
    fn only_cpus_that_may_be_used_are_chosen() {
        assert_eq!(choose_cpus(None, &[1, 3]), Ok(vec![1, 3]));
        assert_eq!(choose_cpus(Some(&Cores(vec![3])), &[1, 3]), Ok(vec![3]));
        let refused = choose_cpus(Some(&Cores(vec![2])), &[1, 3]);
        assert!(refused.expect_err("refused").contains("CPU 2"));
    }
}
