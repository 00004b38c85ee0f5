//! The payloads of the story's sessions: JSON as of a web shop, about 500 bytes.

use serde_json::json;

/// The life of a session, set in its payload, in milliseconds: a day.
const MAX_AGE: u64 = 24 * 60 * 60 * 1000;

/// The payload with this number; always the same for a number, and different for others.
pub fn payload(number: u64, user: &str) -> String {
    // Any multiplier works that makes tokens of adjacent numbers look different.
    let token = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    json!({
        "cookie": {
            "originalMaxAge": MAX_AGE,
            "maxAge": MAX_AGE,
            "httpOnly": true,
            "secure": true,
            "sameSite": "lax",
            "path": "/",
        },
        "csrf": format!("{token:016x}{:016x}", !token),
        "passport": { "user": user },
        "visit": number,
        "locale": "en-GB",
        "returnTo": format!("/account/orders?page={}&sort=newest", token % 90 + 10),
        "lastSeen": ["/", "/books", format!("/books/{}", token % 9_000 + 1_000)],
        "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "cart": [
            { "sku": format!("B-{:05}", token % 90_000), "quantity": 1, "cents": 1295 },
            { "sku": format!("C-{:05}", token % 80_000), "quantity": 2, "cents": 480 },
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_about_500_bytes_and_differ() {
        for number in [0, 1, 9_999, u64::MAX] {
            let length = payload(number, "user-1").len();
            assert!((450..550).contains(&length), "{length}");
        }
        assert_ne!(payload(0, "user-1"), payload(1, "user-1"));
        assert_eq!(payload(1, "user-1"), payload(1, "user-1"));
    }
}
