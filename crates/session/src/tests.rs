//! Whole session files: the six that others are made after, and those that are wrong.

use crate::*;

mod files;
mod wrong;
