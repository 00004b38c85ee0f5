//! What the project promises, kept: through the host on the real component, and through the command line.

// What the tests stand on.
mod command;
mod fixture;
mod guests;
#[cfg(unix)]
mod served;
#[cfg(unix)]
mod visitors;

// The contract, theme by theme.
mod admin;
mod concurrency;
mod errors;
mod garbage;
mod ids;
mod life;
mod schema;
mod settled;
mod size;
mod time;
mod writes;

// The host.
mod cache;
mod crash;
#[cfg(unix)]
mod damage;
mod handles;
mod killed;
mod linked;
mod ownership;
#[cfg(unix)]
mod privacy;
#[cfg(unix)]
mod replaced;
#[cfg(unix)]
mod restore;
mod tasks;

// Those who use it.
mod bench;
#[cfg(unix)]
mod browser;
mod command_line;
mod composed;
#[cfg(unix)]
mod connections;
#[cfg(unix)]
mod http;
mod original;
#[cfg(unix)]
mod readme;
#[cfg(unix)]
mod serve;
mod story;
mod tower_sessions;
#[cfg(unix)]
mod web_demo;
