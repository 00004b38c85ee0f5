//! What an engine with transactions of many statements has to know of a batch.

use std::collections::HashMap;
use std::mem;

use crate::error::Error;
use crate::id::IdHash;
use crate::types::{
    Created, DestroyRequest, Effect, GetRequest, MergeRequest, Replies, Reply, Request,
    RotateRequest, Session, SetRequest, TouchRequest, UpdateRequest,
};

/// The hash of the session that a request names; `None` if none can have that id.
pub fn hash_of(request: &Request) -> Option<IdHash> {
    match request {
        Request::Create(_) => None,
        Request::Get(GetRequest { id })
        | Request::Set(SetRequest { id, .. })
        | Request::Update(UpdateRequest { id, .. })
        | Request::Merge(MergeRequest { id, .. })
        | Request::Touch(TouchRequest { id, .. })
        | Request::Rotate(RotateRequest { id, .. })
        | Request::Destroy(DestroyRequest { id }) => IdHash::of(id),
    }
}

/// The sessions that a batch may change, in the order in which all batches lock them: in
/// different orders they would deadlock.
pub fn hashes_to_lock(requests: &[Request]) -> Vec<IdHash> {
    let writes = requests.iter().filter(|one| one.effect() != Effect::Reads);
    let mut hashes: Vec<IdHash> = writes.filter_map(hash_of).collect();
    hashes.sort_unstable_by_key(|hash| hash.0);
    hashes.dedup();
    hashes
}

/// The reply to a `create`.
pub fn created(reply: Reply) -> Result<Created, Error> {
    match reply {
        Reply::Created(created) => Ok(created),
        other => Err(mismatch(&other)),
    }
}

/// The reply to a `rotate`.
pub fn rotated(reply: Reply) -> Result<Option<Created>, Error> {
    match reply {
        Reply::Rotated(rotated) => Ok(rotated),
        other => Err(mismatch(&other)),
    }
}

fn mismatch(reply: &Reply) -> Error {
    let kind = mem::discriminant(reply);
    Error::Other(format!("a request has a reply of another kind: {kind:?}"))
}

/// The replies to requests that only read, when these sessions were found. Copies a session
/// only if several requests read it, since together they can take most of the memory.
pub fn replies_to_reads(requests: &[Request], found: Vec<(IdHash, Session)>) -> Replies {
    let wanted: Vec<Option<[u8; 32]>> = requests
        .iter()
        .map(|request| hash_of(request).map(|hash| hash.0))
        .collect();
    let mut left: HashMap<[u8; 32], usize> = HashMap::new();
    for hash in wanted.iter().flatten() {
        *left.entry(*hash).or_default() += 1;
    }
    let found = found.into_iter();
    let mut found: HashMap<[u8; 32], Session> =
        found.map(|(hash, session)| (hash.0, session)).collect();
    let mut take = |hash: [u8; 32]| {
        let left = left.get_mut(&hash)?;
        *left -= 1;
        match left {
            0 => found.remove(&hash),
            _ => found.get(&hash).cloned(),
        }
    };
    let wanted = wanted.into_iter();
    wanted
        .map(|hash| Ok(Reply::Session(hash.and_then(&mut take))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::GetRequest;

    #[test]
    fn each_read_of_a_session_gets_it_and_any_other_gets_none() {
        let session = Session {
            data: b"found".to_vec(),
            version: 1,
            created: 1,
            updated: 1,
            expires: 2,
            subject: None,
        };
        let ids = ["a", "missing", "a", "", "a"];
        let requests = ids.map(|id| Request::Get(GetRequest { id: id.into() }));
        let found = vec![(IdHash::of("a").unwrap(), session.clone())];
        let replies = replies_to_reads(&requests, found);
        let is_found = |reply: &Result<Reply, _>| match reply {
            Ok(Reply::Session(Some(found))) => {
                assert_eq!(found.data, session.data);
                true
            }
            Ok(Reply::Session(None)) => false,
            _ => panic!("another kind of reply"),
        };
        let found: Vec<bool> = replies.iter().map(is_found).collect();
        assert_eq!(found, [true, false, true, false, true]);
    }
}
