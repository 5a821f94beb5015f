//! The server's own bounds, beside those of the reactor and of the protocols, with the unit in each
//! name.

use control::secure::under_way;
use measure::Nanos;
use reactor::Limits;

/// Connections that one turn of stopping looks at.
pub(crate) const STOP_STEP: usize = 1024;

/// How long peers have to answer our last word when the server stops.
pub(crate) const STOP_PATIENCE: Nanos = Nanos::from_secs(1);

/// How long a peer has to close after our last word (RFC 6455, section 7.1.1, leaves it to us).
pub(crate) const CLOSING_TIMEOUT: Nanos = Nanos::from_secs(5);

/// Bytes of requests that are only partly here, over all reactors, once for each of WebSocket and
/// HTTP. As vectors grow by doubling they may hold twice as much memory.
pub(crate) const PARTIAL_HEAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same for one reactor, however many there are: a head of the usual size finds room.
pub(crate) const PARTIAL_HEAD_BYTES_PER_REACTOR_MIN: usize = 256 * 1024;

/// Inflating streams in use, over all reactors.
pub(crate) const INFLATERS_MAX: usize = 4096;

/// What each of them takes, in bytes. Measured.
pub(crate) const INFLATER_BYTES: u64 = 48 * 1024;

/// Deflating streams in use, over all reactors.
pub(crate) const DEFLATERS_MAX: usize = 1024;

/// What each of them takes, in bytes. Measured.
pub(crate) const DEFLATER_BYTES: u64 = 300 * 1024;

/// All streams of both kinds together may take this part of the memory that there is.
pub(crate) const STREAMS_MEMORY_SHARE: u64 = 4;

/// Streams of either kind that a reactor has in any case.
pub(crate) const STREAMS_PER_REACTOR_MIN: usize = 8;

/// Work for one connection before the others get their turn, in units of about a nanosecond: a read
/// of 64 KiB may be 11,000 empty frames, or give 64 MiB inflated, which take a fifth of a second to
/// inflate and to deflate again.
pub(crate) const WORK_PER_PORTION: u64 = 64 * 1024;

/// Work of one turn for all connections that need more than one portion, in the same units.
/// Connections that need little wait no longer than this because of them, however many they are.
pub(crate) const WORK_PER_TURN: u64 = 4 * WORK_PER_PORTION;

/// Bytes that were read and wait for the work on them, over all reactors.
pub(crate) const PUT_BACK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same for one reactor, however many there are.
pub(crate) const PUT_BACK_BYTES_PER_REACTOR_MIN: usize = 1024 * 1024;

/// These bounds for one of the `reactors` reactors of a server. No peer may hold up the others by
/// the work that it makes.
pub(crate) fn sharing(limits: Limits, reactors: usize) -> Limits {
    let put_back_bytes = PUT_BACK_BYTES_MAX / reactors.max(1);
    Limits {
        work_per_portion: WORK_PER_PORTION,
        work_per_turn: WORK_PER_TURN,
        put_back_bytes: put_back_bytes.max(PUT_BACK_BYTES_PER_REACTOR_MIN),
        file_bytes_per_turn: FILE_BYTES_PER_TURN,
        accept_batch: ACCEPT_BATCH,
        agreeing: under_way(reactors),
        ..limits
    }
}

/// Bytes of a file for one connection before the others get their turn.
pub(crate) const FILE_BYTES_PER_TURN: usize = 256 * 1024;

/// Connections accepted from one listener before those that are open get their turn.
pub(crate) const ACCEPT_BATCH: usize = 64;

/// What a request costs, in units of about a nanosecond, besides its bytes and those of its answer.
pub(crate) const REQUEST_WORK: u64 = 500;

/// What it costs to look at a file, or for one, in the same units: a few system calls.
pub(crate) const LOOKUP_WORK: u64 = 6_000;

/// With `--delay`, bytes of one connection that may wait for its peer besides those that may do so
/// without: the replies to a burst all fall due at the same time.
pub(crate) const DELAYED_UNSENT_BYTES: usize = 16 * 1024 * 1024;

/// A buffer for answers that has grown beyond this is not kept, in bytes.
pub(crate) const ANSWER_KEPT_BYTES_MAX: usize = 256 * 1024;

/// How much longer than one read the answer to it may be where it is not compressed, in bytes: the
/// header of a fragment, what was held of the read before, and a close frame.
pub(crate) const ANSWER_EXCESS_BYTES: usize = 1024;

/// Answers to the requests of one read are sent once they reach this many bytes, before the next
/// request is answered.
pub(crate) const HTTP_ANSWERS_BYTES_MAX: usize = 128 * 1024;

/// Bytes of pipelined requests that wait for the answers before them, over all reactors: up to one
/// read, 64 KiB, for each connection.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same for one reactor, however many there are.
pub(crate) const HELD_BYTES_PER_REACTOR_MIN: usize = 1024 * 1024;

/// How long a stall may last: a server that stands still for longer is not one to be measured.
pub(crate) const STALL_LENGTH_MAX: Nanos = Nanos::from_secs(60);

/// How long replies may be delayed.
pub(crate) const DELAY_MAX: Nanos = Nanos::from_secs(10);

/// Bytes of replies that wait for their delay to pass, over all reactors, with 56 for each reply.
/// Once half of it is used up, a connection that gets one more is not read from until it has left.
pub(crate) const DELAYED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The same for one reactor, however many there are.
pub(crate) const DELAYED_BYTES_PER_REACTOR_MIN: usize = 4 * 1024 * 1024;

/// Delayed replies that are sent before the loop looks for events again.
pub(crate) const DELAYED_PER_TURN: usize = 1024;

/// Large files that one reactor has open, those on their way included, unless told otherwise:
/// descriptors of its table that connections do not get.
pub(crate) const OPEN_FILES: u64 = 512;

/// Where tables are small, no more than this part of one.
pub(crate) const OPEN_FILES_TABLE_SHARE: u64 = 8;
