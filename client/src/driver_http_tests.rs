//! The driver over HTTP on the simulated network.
