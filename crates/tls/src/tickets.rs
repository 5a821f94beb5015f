//! `Tickets`: what a client has to go on from, of a thread's connections. A reactor is a thread, so
//! it needs no lock.

use crate::handshake;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Tickets that are kept. One is good for one connection; the latest are used first.
const TICKETS_MAX: usize = 64;
/// Sessions of TLS 1.2, and hints: one for each name.
const NAMES_MAX: usize = 64;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[derive(Default)]
struct Kept {
    tickets: VecDeque<(ServerName<'static>, Tls13ClientSessionValue)>,
    sessions: VecDeque<(ServerName<'static>, Tls12ClientSessionValue)>,
    hints: VecDeque<(ServerName<'static>, NamedGroup)>,
}

/// The store of this thread.
#[derive(Debug)]
pub(crate) struct Tickets;

/// Forgets what other tests of this thread have left.
#[cfg(test)]
pub(crate) fn forget() {
    KEPT.take();
}

/// Adds one, in the place of the oldest if there is no room.
fn push<T>(queue: &mut VecDeque<T>, most: usize, one: T) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(one);
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        KEPT.with_borrow_mut(|kept| {
            kept.hints.retain(|(known, _)| *known != name);
            push(&mut kept.hints, NAMES_MAX, (name, group));
        });
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        KEPT.with_borrow(|kept| {
            kept.hints.iter().find(|(known, _)| known == name).map(|(_, group)| *group)
        })
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        KEPT.with_borrow_mut(|kept| {
            kept.sessions.retain(|(known, _)| *known != name);
            push(&mut kept.sessions, NAMES_MAX, (name, value));
        });
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        KEPT.with_borrow(|kept| {
            kept.sessions.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        KEPT.with_borrow_mut(|kept| kept.sessions.retain(|(known, _)| known != name));
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        handshake::ticket_came();
        KEPT.with_borrow_mut(|kept| push(&mut kept.tickets, TICKETS_MAX, (name, value)));
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        KEPT.with_borrow_mut(|kept| {
            let at = kept.tickets.iter().rposition(|(known, _)| known == name)?;
            kept.tickets.remove(at).map(|(_, value)| value)
        })
    }
}
