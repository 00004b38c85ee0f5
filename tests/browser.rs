//! Tests with a real browser and the real server: what users do with their sessions.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::fixture::Home;
use crate::served::Site;
use crate::visitors::serve;

/// The user agent of the second browser.
const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 \
                       Firefox/140.0";

/// The time-out of a page.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program that drives browsers; killed on drop.
struct Driver {
    process: Child,
    url: String,
}

impl Driver {
    fn start() -> Self {
        let mut process = Command::new("/usr/bin/chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let url = format!(
            "http://127.0.0.1:{}",
            port.expect("the driver tells its port")
        );
        Self { process, url }
    }

    /// A browser with an empty profile.
    async fn browser(&self, arguments: &[&str]) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let own = format!("--user-data-dir={}", profile.path().display());
        let quiet = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            &own,
        ];
        let arguments: Vec<&str> = quiet.iter().chain(arguments).copied().collect();
        let options = json!({ "binary": "/usr/bin/chromium", "args": arguments });
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.url)
            .await
            .unwrap();
        Browser {
            client,
            _profile: profile,
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A browser, and the directory of its profile.
struct Browser {
    client: Client,
    _profile: TempDir,
}

impl Browser {
    async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Waits for the element that a CSS selector matches; returns its text.
    async fn text(&self, place: &str) -> String {
        let wait = self.client.wait().at_most(PATIENCE);
        let element = wait.for_element(Locator::Css(place)).await.unwrap();
        element.text().await.unwrap()
    }

    /// Presses the button with this label, and waits for an element of the next page.
    async fn press(&self, label: &str, leads_to: &str) {
        let button = format!("//button[normalize-space() = '{label}']");
        let button = self.client.find(Locator::XPath(&button)).await.unwrap();
        let page = self.client.find(Locator::Css("html")).await.unwrap();
        button.click().await.unwrap();
        // The old page is gone when its elements are stale.
        let gone = async { while page.tag_name().await.is_ok() {} };
        timeout(PATIENCE, gone).await.expect("the page is left");
        self.text(leads_to).await;
    }

    async fn log_in(&self, name: &str) {
        let field = self.client.find(Locator::Id("name")).await.unwrap();
        field.send_keys(name).await.unwrap();
        self.press("Log in", "#sessions").await;
    }

    /// The path of the current page.
    async fn path(&self) -> String {
        self.client.current_url().await.unwrap().path().to_owned()
    }

    /// The browsers in the list of sessions.
    async fn sessions(&self) -> Vec<String> {
        let names = Locator::Css("#sessions strong");
        let mut sessions = vec![];
        for name in self.client.find_all(names).await.unwrap() {
            sessions.push(name.text().await.unwrap());
        }
        sessions
    }
}

#[tokio::test]
#[cfg_attr(not(browser), ignore = "needs chromium and chromedriver in /usr/bin")]
async fn a_user_counts_logs_in_and_ends_sessions_in_two_browsers() {
    let driver = Driver::start();
    let (first, second) = (
        driver.browser(&[]).await,
        driver.browser(&[&format!("--user-agent={FIREFOX}")]).await,
    );
    let clients = [first.client.clone(), second.client.clone()];
    // Browsers outlive their driver, so they are closed even if the test fails.
    let ended = tokio::spawn(story(first, second)).await;
    for client in clients {
        client.close().await.unwrap();
    }
    ended.unwrap();
}

fn url(site: &Site, path: &str) -> String {
    format!("http://{}{path}", site.address)
}

async fn story(first: Browser, second: Browser) {
    let home = Home::new();
    let site = serve(&home);
    let (start, account) = (url(&site, "/"), url(&site, "/account"));

    // Counting.
    first.open(&start).await;
    assert_eq!(first.text("#visits").await, "1");
    first.client.refresh().await.unwrap();
    assert_eq!(first.text("#visits").await, "2");

    // Logging in, here and in another browser.
    first.log_in("Alice").await;
    assert_eq!(first.path().await, "/account");
    first.open(&start).await;
    assert_eq!(first.text("#visits").await, "3");
    assert_eq!(first.text("#user").await, "Alice");
    second.open(&start).await;
    assert_eq!(second.text("#visits").await, "1");
    second.log_in("Alice").await;

    // Seeing the other session, and ending it.
    first.open(&account).await;
    assert_eq!(
        first.sessions().await,
        ["Chrome on Linux", "Firefox on Windows"]
    );
    assert_eq!(first.text(".badge").await, "This browser");
    first.press("End", "#sessions").await;
    assert_eq!(first.sessions().await, ["Chrome on Linux"]);
    second.open(&account).await;
    assert_eq!(second.path().await, "/");
    assert_eq!(second.text("#visits").await, "1");

    // Logging out everywhere else.
    second.log_in("Alice").await;
    assert_eq!(second.sessions().await.len(), 2);
    first.open(&account).await;
    first.press("Log out everywhere else", "#sessions").await;
    assert_eq!(first.sessions().await, ["Chrome on Linux"]);
    second.open(&account).await;
    assert_eq!(second.path().await, "/");

    // Another server on the same directory, and still logged in.
    drop(site);
    let site = serve(&home);
    first.open(&url(&site, "/account")).await;
    assert_eq!(first.sessions().await, ["Chrome on Linux"]);
    first.open(&url(&site, "/")).await;
    assert_eq!(first.text("#visits").await, "4");

    // Logging out.
    first.open(&url(&site, "/account")).await;
    first.press("Log out", "#name").await;
    assert_eq!(first.path().await, "/");
    assert_eq!(first.text("#visits").await, "1");
}
