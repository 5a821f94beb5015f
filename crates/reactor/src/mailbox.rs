//! The mailbox: commands into a reactor, over a bounded channel and a waker.
//!
//! The event queue (epoll) is made together with the mailbox, on the control thread: the waker's
//! descriptor has to be in the table of the thread that rings it, and the queue's in that of the
//! reactor, which takes a copy of the table when it sets its own apart.

use crate::network::Token;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::sync::Arc;

/// Commands that may wait in one mailbox. The control plane sends a few per phase and one per
/// snapshot, so this is never reached unless a reactor stands still.
pub const COMMANDS_MAX: usize = 64;

/// The control plane's end: puts commands in and wakes the reactor. Clones reach the same reactor.
#[derive(Debug)]
pub struct Outside<C> {
    commands: Sender<C>,
    waker: Option<Arc<mio::Waker>>,
}

impl<C> Clone for Outside<C> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), waker: self.waker.clone() }
    }
}

/// Why a command could not be delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Undelivered {
    /// The mailbox is full: the reactor has not looked into it for a long time.
    Full,
    /// The reactor has ended.
    Ended,
}

impl<C> Outside<C> {
    /// Puts a command into the mailbox and wakes the reactor. Never waits.
    ///
    /// # Errors
    /// If the mailbox is full or the reactor has ended.
    pub fn send(&self, command: C) -> Result<(), Undelivered> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Undelivered::Full,
            TrySendError::Disconnected(_) => Undelivered::Ended,
        })?;
        self.wake()
    }

    /// The same, and waits for room where the mailbox is full: whoever has that many commands
    /// unread stands still, and was woken for each of them.
    ///
    /// # Errors
    /// If the reactor has ended, be it meanwhile.
    pub fn send_or_wait(&self, command: C) -> Result<(), Undelivered> {
        self.commands.send(command).map_err(|_| Undelivered::Ended)?;
        self.wake()
    }

    fn wake(&self) -> Result<(), Undelivered> {
        if let Some(waker) = &self.waker {
            // Waking fails only if its descriptor is gone, and then so is the reactor.
            waker.wake().map_err(|_| Undelivered::Ended)?;
        }
        Ok(())
    }
}

/// The reactor's end.
#[derive(Debug)]
pub struct Inbox<C> {
    commands: Receiver<C>,
    poll: Option<mio::Poll>,
}

impl<C> Inbox<C> {
    /// The next command, if one waits.
    pub(crate) fn next(&mut self) -> Option<C> {
        self.commands.try_recv().ok()
    }

    pub(crate) fn take_poll(&mut self) -> mio::Poll {
        self.poll.take().expect("one reactor takes the queue of one mailbox")
    }
}

/// A mailbox with its event queue, for a reactor on the [`crate::System`] network.
///
/// # Errors
/// If the kernel has no descriptor left for the queue or the waker.
pub fn open<C>() -> io::Result<(Outside<C>, Inbox<C>)> {
    let poll = mio::Poll::new()?;
    let waker = mio::Waker::new(poll.registry(), mio::Token(Token::WAKE.0 as usize))?;
    let (outside, inbox) = bounded(COMMANDS_MAX);
    Ok((
        Outside { commands: outside, waker: Some(Arc::new(waker)) },
        Inbox { commands: inbox, poll: Some(poll) },
    ))
}

/// A mailbox without an event queue, for a reactor that a test turns by hand.
#[must_use]
pub fn open_unwatched<C>() -> (Outside<C>, Inbox<C>) {
    let (outside, inbox) = bounded(COMMANDS_MAX);
    (Outside { commands: outside, waker: None }, Inbox { commands: inbox, poll: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_is_told_of_or_waited_for() {
        let (outside, mut inbox) = open_unwatched();
        for number in 0..COMMANDS_MAX {
            assert_eq!(outside.send(number), Ok(()));
        }
        assert_eq!(outside.send(COMMANDS_MAX), Err(Undelivered::Full));
        let patient = std::thread::spawn(move || outside.send_or_wait(COMMANDS_MAX));
        // Each once and in order, however late the room is made.
        let mut taken = Vec::new();
        while taken.len() <= COMMANDS_MAX {
            taken.extend(inbox.next());
        }
        assert_eq!(patient.join().expect("no panic"), Ok(()));
        assert_eq!(taken, (0..=COMMANDS_MAX).collect::<Vec<_>>());
    }

    #[test]
    fn who_has_ended_is_waited_for_no_longer() {
        let (outside, inbox) = open_unwatched();
        for number in 0..COMMANDS_MAX {
            assert_eq!(outside.send(number), Ok(()));
        }
        let patient = std::thread::spawn(move || outside.send_or_wait(COMMANDS_MAX));
        drop(inbox);
        assert_eq!(patient.join().expect("no panic"), Err(Undelivered::Ended));
    }
}
