//! The classic BPF program that gives a new connection to a reactor on the CPU that its SYN arrived
//! on: built as data here, attached by [`crate::socket::attach_steering`].

use libc::sock_filter;

/// Why no program can be built for a list of CPUs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SteeringError {
    /// There is nothing to choose from.
    #[error("there is no reactor to steer connections to")]
    NoReactor,
    /// The reactors do not go round the CPUs in whole turns.
    #[error(
        "{reactors} reactors on {cpus} CPUs cannot be steered to by CPU: \
         each CPU must have the same number of reactors, dealt out in turn"
    )]
    Uneven {
        /// How many reactors there are.
        reactors: usize,
        /// How many different CPUs they are pinned to.
        cpus: usize,
    },
    /// The comparisons do not fit into the longest program that the kernel takes.
    #[error("steering by CPU takes at most {MAX_CPUS} CPUs, not {0}")]
    TooManyCpus(usize),
}

/// The most CPUs that a program of 4,096 instructions (`BPF_MAXINSNS`) can tell apart.
pub const MAX_CPUS: usize = (4_096 - FRAME) / PER_CPU;

/// Instructions for each CPU, and those around them.
const PER_CPU: usize = 3;
const FRAME: usize = 1 + 3 + 5;

// Classic BPF as in linux/filter.h: class | size or operation | mode or source.
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const MODULO: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
const MULTIPLY: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
const ADD_X: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;

/// Where a load finds the CPU that handles the packet, and a random number.
const CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;

/// The program for reactors of which number `i` is pinned to `cpus[i]`, where the list repeats one
/// base list of different CPUs: `[0, 1, 0, 1]` is two turns of `[0, 1]`.
///
/// It answers the number of the reactor: position of the CPU in the base list, plus a random number
/// of whole turns. A packet on a CPU without a reactor goes to any of them. The cost is one
/// comparison for each CPU ahead of the right one, once for each new connection.
pub fn steering_program(cpus: &[usize]) -> Result<Vec<sock_filter>, SteeringError> {
    let base = base_list(cpus)?;
    let turns = cpus.len() / base.len();
    let mut program = Vec::with_capacity(FRAME + PER_CPU * base.len());
    program.push(step(LOAD_WORD, CPU));
    for (position, &cpu) in base.iter().enumerate() {
        // Over the other CPUs still to come, and over the three steps for an unknown one.
        let to_spread = PER_CPU * (base.len() - position - 1) + 3;
        program.push(sock_filter { jf: 2, ..step(IF_EQUAL, cpu as u32) });
        program.push(step(LOAD_X, position as u32));
        program.push(step(JUMP, to_spread as u32));
    }
    program.extend([
        step(LOAD_WORD, RANDOM),
        step(MODULO, cpus.len() as u32),
        step(RETURN_A, 0),
        // Spread over the reactors of the CPU whose position is in X.
        step(LOAD_WORD, RANDOM),
        step(MODULO, turns as u32),
        step(MULTIPLY, base.len() as u32),
        step(ADD_X, 0),
        step(RETURN_A, 0),
    ]);
    Ok(program)
}

const fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// The shortest list of different CPUs that `cpus` repeats in whole turns.
fn base_list(cpus: &[usize]) -> Result<&[usize], SteeringError> {
    let different = cpus.iter().enumerate().filter(|(i, cpu)| !cpus[..*i].contains(cpu)).count();
    if different == 0 {
        return Err(SteeringError::NoReactor);
    }
    if different > MAX_CPUS {
        return Err(SteeringError::TooManyCpus(different));
    }
    let base = &cpus[..different];
    let repeats =
        cpus.len().is_multiple_of(different) && cpus.chunks(different).all(|turn| turn == base);
    let uneven = SteeringError::Uneven { reactors: cpus.len(), cpus: different };
    if repeats { Ok(base) } else { Err(uneven) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as the kernel would, with this CPU and this random number. Panics where the
    /// kernel's checker would refuse: an unknown step, a jump outside, a division by zero.
    fn run(program: &[sock_filter], cpu: u32, random: u32) -> u32 {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) {
                LOAD_WORD if step.k == CPU => a = cpu,
                LOAD_WORD if step.k == RANDOM => a = random,
                LOAD_X => x = step.k,
                IF_EQUAL => at += usize::from(if a == step.k { step.jt } else { step.jf }),
                JUMP => at += step.k as usize,
                MODULO => a %= step.k,
                MULTIPLY => a = a.wrapping_mul(step.k),
                ADD_X => a = a.wrapping_add(x),
                RETURN_A => return a,
                other => panic!("step {at} has the unknown code {other:#x}"),
            }
        }
    }

    fn turns_of(base: &[usize], turns: usize) -> Vec<usize> {
        base.iter().copied().cycle().take(base.len() * turns).collect()
    }

    #[test]
    fn uneven_lists_are_refused_with_a_sentence() {
        assert_eq!(steering_program(&[]).err(), Some(SteeringError::NoReactor));
        for cpus in [&[0, 1, 0][..], &[0, 0, 1, 1], &[0, 1, 1, 0], &[5, 5, 5, 6]] {
            let error = steering_program(cpus).expect_err("uneven");
            assert!(matches!(error, SteeringError::Uneven { cpus: 2, .. }), "{error}");
        }
        let many: Vec<_> = (0..=MAX_CPUS).collect();
        assert_eq!(steering_program(&many).err(), Some(SteeringError::TooManyCpus(many.len())));
        assert!(steering_program(&many[1..]).is_ok_and(|program| program.len() <= 4_096));
    }

    proptest! {
        #[test]
        fn the_reactor_is_one_of_the_cpus_own(
            base in prop::collection::hash_set(0..1_024usize, 1..40),
            turns in 1..20usize,
            random: u32,
        ) {
            let base: Vec<_> = base.into_iter().collect();
            let cpus = turns_of(&base, turns);
            let program = steering_program(&cpus).expect("even");
            for (position, &cpu) in base.iter().enumerate() {
                let chosen = run(&program, cpu as u32, random) as usize;
                prop_assert_eq!(cpus[chosen], cpu);
                prop_assert_eq!(chosen, position + base.len() * (random as usize % turns));
            }
            let unknown = run(&program, 5_000, random);
            prop_assert_eq!(unknown, random % cpus.len() as u32);
        }
    }
}
