//! Finds a Rust and a C compiler for WASI on this machine: for the build scripts
//! and, through `find.rs`, for `setup`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that components are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const DEBIAN_HEADERS: &str = "/usr/include/wasm32-wasi";
const DEBIAN_LIBRARIES: &str = "/usr/lib/wasm32-wasi";

/// The cargo that builds components, with its flags and environment.
pub struct Toolchain {
    /// The program.
    pub cargo: PathBuf,
    /// Flags for rustc.
    pub rustflags: Vec<String>,
    /// Environment variables for cargo.
    pub rust: Variables,
    /// Environment variables for the crate `cc`; none if the caller has set them.
    pub c: Variables,
}

type Variables = Vec<(&'static str, OsString)>;

impl Toolchain {
    /// The Rust of `cargo` and `rustc` if it has the target, otherwise Debian's, which has
    /// the source of the standard library. `oldest` is the minimum version of Rust, as
    /// `1.NN`. The error names what is missing.
    pub fn find(cargo: OsString, rustc: OsString, oldest: &str) -> Result<Self, String> {
        if has_target(&rustc) {
            Ok(Self {
                cargo: cargo.into(),
                rustflags: Vec::new(),
                rust: vec![("RUSTC", rustc)],
                c: c_compiler()?,
            })
        } else {
            Self::from_debian(&rustc, oldest)
        }
    }

    /// Debian's Rust, with the component linker of the host's Rust, since Debian has none.
    fn from_debian(host_rustc: &OsStr, oldest: &str) -> Result<Self, String> {
        let files = [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_STD];
        let is_there = files.iter().all(|file| Path::new(file).exists());
        if !is_there || minor_version(DEBIAN_RUSTC.as_ref()) < minor(oldest) {
            return Err(format!(
                "Rust's target {TARGET}, or Debian's Rust {oldest} with its source,"
            ));
        }
        let version = debian_clang(&["clang", "llvm-ar", "wasm-ld"])?;
        let wasm_ld = debian_program("wasm-ld", version);
        let linker = component_linker(host_rustc).ok_or("wasm-component-ld")?;
        Ok(Self {
            cargo: DEBIAN_CARGO.into(),
            rustflags: vec![
                format!("-Clinker={}", linker.display()),
                format!("-Clink-arg=--wasm-ld-path={}", wasm_ld.display()),
                "-Clink-self-contained=no".to_owned(),
                format!("-Clink-arg={DEBIAN_LIBRARIES}/crt1-reactor.o"),
                format!("-L{DEBIAN_LIBRARIES}"),
            ],
            rust: vec![
                ("RUSTC", DEBIAN_RUSTC.into()),
                ("RUSTC_BOOTSTRAP", "1".into()),
                ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
            ],
            c: debian_c_compiler(version),
        })
    }
}

/// The minor version of `rustc`; `None` if it does not run.
fn minor_version(rustc: &OsStr) -> Option<u32> {
    let version = printed(rustc, &["--version"])?;
    minor(version.strip_prefix("rustc ")?)
}

/// The second number of a version.
fn minor(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.parse().ok()
}

/// The folder beside `rustc` with a folder for each target that is installed.
#[allow(dead_code)]
pub fn targets(rustc: &OsStr) -> Option<PathBuf> {
    let targets = target_libraries(rustc)?;
    let targets = targets.parent()?.parent()?;
    targets.exists().then(|| targets.to_owned())
}

/// The folder of the target's standard library beside `rustc`, whether it exists or not.
fn target_libraries(rustc: &OsStr) -> Option<PathBuf> {
    printed(rustc, &["--print", "target-libdir", "--target", TARGET]).map(PathBuf::from)
}

/// Whether the target's standard library is installed beside `rustc`.
fn has_target(rustc: &OsStr) -> bool {
    let files = target_libraries(rustc).and_then(|libraries| fs::read_dir(libraries).ok());
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| file.file_name().as_encoded_bytes().starts_with(b"libstd-"))
}

/// Variables for the crate `cc`: none if the caller has set them, otherwise for
/// the WASI SDK's compiler or Debian's.
fn c_compiler() -> Result<Variables, String> {
    if env::var_os("CC_wasm32_wasip2").is_some() {
        return Ok(Vec::new());
    }
    let Some(sdk) = env::var_os("WASI_SDK_PATH") else {
        return Ok(debian_c_compiler(debian_clang(&["clang", "llvm-ar"])?));
    };
    let sdk = Path::new(&sdk);
    let flags = format!("--sysroot='{}'", sdk.join("share/wasi-sysroot").display());
    let programs = sdk.join("bin");
    Ok(c_variables(
        &programs.join("clang"),
        &programs.join("llvm-ar"),
        &flags,
    ))
}

fn debian_c_compiler(version: u32) -> Variables {
    c_variables(
        &debian_program("clang", version),
        &debian_program("llvm-ar", version),
        &format!("-nostdlibinc -isystem {DEBIAN_HEADERS}"),
    )
}

/// Variables for the crate `cc`. `-O2` makes SQLite 70 kB smaller than the default `-O3`, and
/// no slower.
fn c_variables(compiler: &Path, archiver: &Path, flags: &str) -> Variables {
    vec![
        ("CC_wasm32_wasip2", compiler.into()),
        ("AR_wasm32_wasip2", archiver.into()),
        ("CFLAGS_wasm32_wasip2", format!("-O2 {flags}").into()),
        ("CC_SHELL_ESCAPED_FLAGS", "1".into()),
    ]
}

/// The newest version of Debian's clang of which all `tools` are installed. Fails without
/// wasi-libc.
fn debian_clang(tools: &[&str]) -> Result<u32, String> {
    if !Path::new(DEBIAN_HEADERS).exists() || !Path::new(DEBIAN_LIBRARIES).exists() {
        return Err("a WASI C library (wasi-libc, or the WASI SDK in WASI_SDK_PATH)".to_owned());
    }
    let mut versions = clang_versions();
    versions.sort_unstable();
    let newest = *versions
        .last()
        .ok_or("clang (clang-NN, or the WASI SDK in WASI_SDK_PATH)")?;
    let missing = |version| {
        let mut programs = tools.iter().map(|tool| debian_program(tool, version));
        programs.find(|program| !program.exists())
    };
    match versions
        .into_iter()
        .rev()
        .find(|version| missing(*version).is_none())
    {
        Some(version) => Ok(version),
        None => Err(format!(
            "{} beside clang",
            missing(newest).unwrap_or_default().display()
        )),
    }
}

fn clang_versions() -> Vec<u32> {
    let programs = fs::read_dir("/usr/bin").into_iter().flatten().flatten();
    programs
        .filter_map(|program| {
            program
                .file_name()
                .to_str()?
                .strip_prefix("clang-")?
                .parse()
                .ok()
        })
        .collect()
}

fn debian_program(name: &str, version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/bin/{name}-{version}"))
}

/// The program that turns a linked module into a component: from the rustup toolchain, or
/// installed with `cargo install`.
fn component_linker(host_rustc: &OsStr) -> Option<PathBuf> {
    let libraries = printed(host_rustc, &["--print", "target-libdir"]).map(PathBuf::from);
    let bundled = libraries.map(|libraries| libraries.join("../bin"));
    let installed = env::var_os("CARGO_HOME").map(PathBuf::from);
    let installed = installed.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let directories = bundled
        .into_iter()
        .chain(installed.map(|home| home.join("bin")));
    let mut programs = directories.map(|directory| directory.join("wasm-component-ld"));
    programs.find(|program| program.exists())
}

/// What `rustc` prints; `None` if it does not run or fails.
fn printed(rustc: &OsStr, arguments: &[&str]) -> Option<String> {
    let output = Command::new(rustc).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
