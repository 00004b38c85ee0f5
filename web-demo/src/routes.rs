//! The routes: what each method does at each path.

#![forbid(unsafe_code)]

use http::Method;

/// The action that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The start page, which counts visits.
    Home,
    /// The stylesheet of all pages.
    Style,
    /// Logging in with a name.
    LogIn,
    /// Logging out of this session.
    LogOut,
    /// The sessions of the user who is logged in.
    Account,
    /// Ending one of them.
    End,
    /// Ending all of them but this one.
    EndOthers,
    /// The operator's page.
    Operator,
    /// Showing the operator's token.
    OperatorToken,
    /// Collecting what has expired.
    Collect,
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// There is no such path.
    NotFound,
    /// The path has other methods: the value of `Allow`.
    MethodNotAllowed(&'static str),
}

/// The route of `method` at `path`. `HEAD` has the same as `GET`.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let (get, post) = match path {
        "/" => (Some(Route::Home), None),
        "/style.css" => (Some(Route::Style), None),
        "/login" => (None, Some(Route::LogIn)),
        "/logout" => (None, Some(Route::LogOut)),
        "/account" => (Some(Route::Account), None),
        "/sessions/end" => (None, Some(Route::End)),
        "/sessions/end-others" => (None, Some(Route::EndOthers)),
        "/operator" => (Some(Route::Operator), Some(Route::OperatorToken)),
        "/operator/collect" => (None, Some(Route::Collect)),
        _ => return Err(NoRoute::NotFound),
    };
    let allowed = match (get, post) {
        (Some(_), Some(_)) => "GET, HEAD, POST",
        (Some(_), None) => "GET, HEAD",
        _ => "POST",
    };
    let asked = match *method {
        Method::GET | Method::HEAD => get,
        Method::POST => post,
        _ => None,
    };
    asked.ok_or(NoRoute::MethodNotAllowed(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_may_have_two_routes() {
        assert_eq!(route(&Method::GET, "/operator"), Ok(Route::Operator));
        assert_eq!(route(&Method::POST, "/operator"), Ok(Route::OperatorToken));
    }

    #[test]
    fn head_has_the_route_of_get() {
        assert_eq!(route(&Method::HEAD, "/"), Ok(Route::Home));
        let refused = Err(NoRoute::MethodNotAllowed("POST"));
        assert_eq!(route(&Method::HEAD, "/login"), refused);
    }

    #[test]
    fn a_refusal_lists_the_methods_of_the_path() {
        for (method, path, allowed) in [
            (Method::DELETE, "/", "GET, HEAD"),
            (Method::POST, "/account", "GET, HEAD"),
            (Method::GET, "/logout", "POST"),
            (Method::OPTIONS, "/operator", "GET, HEAD, POST"),
        ] {
            let refused = Err(NoRoute::MethodNotAllowed(allowed));
            assert_eq!(route(&method, path), refused, "{method} {path}");
        }
    }

    #[test]
    fn a_path_is_compared_as_a_whole() {
        for path in ["", "//", "/Account", "/account/", "/sessions"] {
            let refused = Err(NoRoute::NotFound);
            assert_eq!(route(&Method::GET, path), refused, "{path}");
        }
    }
}
