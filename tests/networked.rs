//! Tests of stores on a server, from one source for each kind of server: under the crate and
//! the command line, and composed with the web demo.

/// Makes a test for each kind of server of each of these functions, which get the server that
/// all tests share.
macro_rules! on_each_server {
    ($($test:ident),* $(,)?) => {
        mod mariadb {
            $(
                #[test]
                #[cfg_attr(
                    not(mariadb),
                    ignore = "needs MariaDB's server in /usr/sbin, and Rust's target for WASI"
                )]
                fn $test() {
                    super::$test(&crate::networked::server::MARIADB);
                }
            )*
        }

        mod postgres {
            $(
                #[test]
                #[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
                fn $test() {
                    super::$test(&crate::networked::server::POSTGRES);
                }
            )*
        }
    };
}

mod command_line;
mod composed;
mod failures;
pub mod server;
mod sites;
mod store;
mod together;
mod tower;
pub mod waiting;
