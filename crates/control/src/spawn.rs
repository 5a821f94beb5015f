//! Threads with a name and a small stack, and the end of many of them reported in one sentence.

use std::any::Any;
use std::io;
use std::thread::{Builder, JoinHandle};

/// The stack of a reactor and of the helpers. The standard library's 2 MiB would be mapped once per
/// reactor, of which there may be hundreds; none of these threads recurses or keeps buffers on it.
pub const STACK_BYTES: usize = 256 * 1024;

/// Starts `run` on a thread called `name`, with a stack of `stack_bytes`. The thread inherits the
/// caller's CPU mask: pin from inside `run`, never the thread that spawns.
///
/// Debuggers and `/proc` show the first 15 bytes of the name (`pthread_setname_np(3)`).
///
/// # Errors
/// If the name holds a NUL byte, or the kernel refuses the thread; the message says what to raise.
pub fn spawn_named<T, F>(name: &str, stack_bytes: usize, run: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if name.contains('\0') {
        // The standard library panics on it.
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a thread cannot be called {name:?}: leave the NUL byte out"),
        ));
    }
    Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(run).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "cannot start the thread '{name}' ({error}): start fewer, or raise `ulimit -u`, \
                 the cgroup's pids.max or kernel.threads-max"
            ),
        )
    })
}

/// A thread that panicked. That is always a bug in the program, never the run's data.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the thread '{thread}' panicked{}: {message} (this is a bug, please report \
    it)", and_others(*.others))]
pub struct Panicked {
    /// The name of the first one, in the order of the handles.
    pub thread: String,
    /// What it said.
    pub message: String,
    /// How many more panicked.
    pub others: usize,
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " and so did one more".to_owned(),
        _ => format!(" and so did {count} more"),
    }
}

/// Waits for all the threads and hands over what they return, in the order of the handles.
///
/// # Errors
/// `Panicked` if any did not end well; also then, all have ended.
pub fn join_all<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Result<Vec<T>, Panicked> {
    let mut results = Vec::new();
    let mut panicked: Option<Panicked> = None;
    for handle in handles {
        let thread = handle.thread().name().unwrap_or("unnamed").to_owned();
        match (handle.join(), &mut panicked) {
            (Ok(result), _) => results.push(result),
            (Err(_), Some(first)) => first.others += 1,
            (Err(payload), None) => {
                panicked = Some(Panicked { thread, message: said(&*payload), others: 0 });
            }
        }
    }
    panicked.map_or(Ok(results), Err)
}

/// The text of a panic: `panic!` carries a `&str` or a `String`.
fn said(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;
    use std::thread;

    #[test]
    fn results_come_in_the_order_of_the_handles() {
        let handles: Vec<_> = (0..8)
            .map(|index| {
                let name = format!("worker-{index}");
                spawn_named(&name.clone(), STACK_BYTES, move || {
                    (index, thread::current().name() == Some(&name))
                })
                .expect("thread")
            })
            .collect();
        let expected: Vec<_> = (0..8).map(|index| (index, true)).collect();
        assert_eq!(join_all(handles), Ok(expected));
    }

    #[test]
    fn the_first_panic_is_named_and_the_others_are_counted() {
        let spawn = |name, panics: bool| {
            spawn_named(name, STACK_BYTES, move || {
                if panics {
                    // Unlike `panic!`, this leaves the test's output quiet.
                    panic::resume_unwind(Box::new("slot 7 is taken".to_owned()));
                }
            })
            .expect("thread")
        };
        let handles = [spawn("a", false), spawn("b", true), spawn("c", false), spawn("d", true)];
        let error = join_all(handles).expect_err("two panicked");
        assert_eq!(
            error.to_string(),
            "the thread 'b' panicked and so did one more: slot 7 is taken \
             (this is a bug, please report it)"
        );
        let error = join_all([spawn("e", true)]).expect_err("it panicked");
        assert!(error.to_string().starts_with("the thread 'e' panicked: slot 7"), "{error}");
    }

    #[test]
    fn a_thread_that_cannot_be_had_is_an_error_in_words() {
        let error = spawn_named("a\0b", STACK_BYTES, || ()).expect_err("NUL");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // No address space holds this stack.
        let error = spawn_named("huge", 1 << 60, || ()).expect_err("stack");
        assert!(error.to_string().starts_with("cannot start the thread 'huge'"), "{error}");
    }
}
