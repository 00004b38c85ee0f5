//! Runs the web demo composed with the store with only wasmtime-wasi-http: for SQLite with an
//! instance for each request, and one directory for all.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use tokio::sync::oneshot;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wasi_sessions::{COMPONENT, Stores};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use crate::guests::{State, WEB_DEMO};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Engine::new(&config).unwrap()
});

static SITE: LazyLock<ProxyPre<State>> = LazyLock::new(|| site(COMPONENT));

/// The web demo composed with this component of the store, ready to be instantiated.
pub fn site(store: &[u8]) -> ProxyPre<State> {
    let component = Component::new(&ENGINE, composed(store)).unwrap();
    let mut linker = Linker::new(&ENGINE);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
    ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap()
}

/// The composed component, as `wac plug web.wasm --plug store.wasm` writes it.
fn composed(store: &[u8]) -> Vec<u8> {
    let mut graph = CompositionGraph::new();
    let mut register = |name, bytes| {
        let package = Package::from_bytes(name, None, bytes, graph.types_mut()).unwrap();
        graph.register_package(package).unwrap()
    };
    let store = register("store", store.to_vec());
    let web = register("web", fs::read(WEB_DEMO).unwrap());
    plug(&mut graph, vec![store], web).unwrap();
    graph.encode(EncodeOptions::default()).unwrap()
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The cookie that the answer sets, as `name=value`.
    pub cookie: Option<String>,
    pub body: String,
}

impl Answer {
    /// The number of visits that the start page shows.
    pub fn visits(&self) -> u64 {
        assert_eq!(self.status, 200, "{}", self.body);
        let (_, rest) = self.body.split_once("id=\"visits\">").unwrap();
        rest.split_once('<').unwrap().0.parse().unwrap()
    }
}

/// How long an instance may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    None,
    /// Until the next call of [`interrupt`].
    Interrupt,
}

/// Traps every instance that was started with [`Deadline::Interrupt`].
pub fn interrupt() {
    ENGINE.increment_epoch();
}

/// Compiles the component, so that later times do not include the compilation.
pub fn prepare() {
    LazyLock::force(&SITE);
}

/// Answers one request with a new instance, which is killed when this is dropped.
pub fn request(
    directory: &Path,
    path: &str,
    cookie: Option<&str>,
    deadline: Deadline,
) -> impl Future<Output = wasmtime::Result<Answer>> + Send + 'static {
    let directory: PathBuf = directory.to_owned();
    let (path, cookie) = (path.to_owned(), cookie.map(str::to_owned));
    async move {
        let mut wasi = WasiCtx::builder();
        wasi.preopened_dir(&directory, "/", FsPerms::ReadWrite)?;
        let mut instance = Instance::new(wasi.build(), deadline);
        instance.answer(&SITE, &path, cookie.as_deref()).await
    }
}

/// An instance of a composed component, which answers requests one after the other.
pub struct Instance {
    store: Store<State>,
    /// `None` before the first request.
    proxy: Option<Proxy>,
}

impl Instance {
    /// An instance with this WASI. Its store is in the composed component; the host links
    /// none.
    pub fn new(wasi: WasiCtx, deadline: Deadline) -> Self {
        let mut store = Store::new(&ENGINE, State::new(wasi, Stores::new()));
        let ticks = match deadline {
            Deadline::None => u64::MAX >> 1,
            Deadline::Interrupt => 1,
        };
        store.set_epoch_deadline(ticks);
        Self { store, proxy: None }
    }

    /// Its answer to a request.
    pub async fn answer(
        &mut self,
        site: &ProxyPre<State>,
        path: &str,
        cookie: Option<&str>,
    ) -> wasmtime::Result<Answer> {
        let mut request = Request::builder().uri(format!("http://localhost{path}"));
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let (sender, receiver) = oneshot::channel();
        let Self { store, proxy } = self;
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let response = http.new_response_outparam(sender)?;
        let handle = async move {
            let proxy = match proxy {
                Some(proxy) => proxy,
                none => none.insert(site.instantiate_async(&mut *store).await?),
            };
            let handler = proxy.wasi_http_incoming_handler();
            handler.call_handle(store, request, response).await
        };
        // The guest runs on while its answer is read. If it traps, no answer comes.
        let ((), answer) = tokio::try_join!(handle, async move {
            let (head, body) = receiver.await??.into_parts();
            let cookie = head.headers.get("set-cookie").map(|cookie| {
                let cookie = cookie.to_str().unwrap();
                cookie.split(';').next().unwrap().to_owned()
            });
            let body = body.collect().await?.to_bytes();
            wasmtime::Result::Ok(Answer {
                status: head.status.as_u16(),
                cookie,
                body: String::from_utf8(body.into()).unwrap(),
            })
        })?;
        Ok(answer)
    }
}
