//! Whole session files: the six that others are made after, and those that are wrong.

use crate::*;
use wire::STAMP_BYTES;

mod files;
mod wrong;
