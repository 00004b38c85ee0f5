//! What the project promises, kept: through the host on the real component, and through the command line.

// What the tests stand on.
mod command;
mod fixture;

// The contract, theme by theme.
mod admin;
mod concurrency;
mod errors;
mod garbage;
mod ids;
mod life;
mod schema;
mod settled;
mod time;
mod writes;

// The host.
mod cache;
mod crash;
#[cfg(unix)]
mod damage;
mod handles;
mod killed;
mod ownership;
mod tasks;

// Those who use it.
mod bench;
mod command_line;
mod original;
mod readme;
mod story;
