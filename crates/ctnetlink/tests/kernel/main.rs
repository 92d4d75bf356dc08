//! Against the running kernel, each test in a network namespace of its own. Skipped without root.

mod events;
mod expectations;
mod filters;
mod flows;
mod lab;
mod record;
mod requests;
