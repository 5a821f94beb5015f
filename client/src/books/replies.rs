//! `Replies`: where the replies of one read are entered.

use super::Books;
use super::audited::Audited;
use crate::protocol::{Content, Times};
use measure::{Nanos, Stage};
use reactor::Receipt;

/// The replies of one read, on their way into the books.
pub(crate) struct Replies<'a> {
    pub(super) books: &'a mut Books,
    /// When they were read, and received.
    pub(super) now: Nanos,
    pub(super) receipt: Receipt,
    pub(super) batch: Batch,
}

/// Replies in a row whose messages left together: they came with the same read, so they took
/// equally long and are recorded at once. With sixteen in flight that is nearly all of them.
#[derive(Default)]
pub(super) struct Batch {
    intended: Nanos,
    sent: Nanos,
    count: u32,
}

impl Replies<'_> {
    /// A reply is complete.
    #[inline]
    pub(crate) fn enter(&mut self, times: &Times, content: Option<Content>) {
        let Batch { intended, sent, count } = self.batch;
        let alike = count > 0 && intended == times.intended && sent == times.sent;
        if alike && !times.first && content.is_none() && !self.is_audited() {
            self.batch.count += 1;
        } else {
            self.enter_apart(times, content);
        }
    }

    /// Whether its parts are recorded too.
    #[inline]
    fn is_audited(&self) -> bool {
        self.receipt != Receipt::NotAudited
    }

    /// One that is not just like the one before it.
    fn enter_apart(&mut self, times: &Times, content: Option<Content>) {
        let Books { recorder, totals, audited, first_echo, .. } = &mut *self.books;
        let now = self.now;
        let unserved = u64::from(content.is_some_and(|content| !content.served));
        if times.first && *first_echo {
            recorder.record(Stage::FirstEcho, now - times.sent);
            totals.first_received += 1;
            totals.first_unserved += unserved;
            return;
        }
        if let (Receipt::Missing | Receipt::At(_), Some(audited)) = (self.receipt, audited) {
            Audited::reply(audited, recorder, times, self.receipt, now);
        }
        if let Some(content) = content {
            recorder.record(Stage::FirstByte, content.begun - times.sent);
            if let Some(class) = content.class {
                recorder.record(class, now - times.intended);
            }
            totals.bytes_received += content.bytes;
            totals.unserved += unserved;
        }
        if self.batch.intended != times.intended || self.batch.sent != times.sent {
            self.record_batch();
            self.batch = Batch { intended: times.intended, sent: times.sent, count: 0 };
        }
        self.batch.count += 1;
    }

    /// Records what is collected. To be called when all bytes of a read are taken.
    #[inline]
    pub(crate) fn record_batch(&mut self) {
        let Batch { intended, sent, count } = self.batch;
        if count == 0 {
            return;
        }
        self.batch.count = 0;
        let Books { recorder, totals, interval, .. } = &mut *self.books;
        let span = self.now - intended;
        recorder.record_many(Stage::Response, span, count);
        interval.response.record_many(span.0, count);
        let span = self.now - sent;
        recorder.record_many(Stage::Service, span, count);
        interval.service.record_many(span.0, count);
        totals.received += u64::from(count);
    }
}
