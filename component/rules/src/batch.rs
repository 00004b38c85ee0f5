//! What an engine with transactions of many statements has to know of a batch.

use crate::id::IdHash;
use crate::types::{
    DestroyRequest, Effect, GetRequest, MergeRequest, Replies, Reply, Request, RotateRequest,
    Session, SetRequest, TouchRequest, UpdateRequest,
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

/// The replies to requests that only read, when these sessions were found.
pub fn replies_to_reads(requests: &[Request], found: &[(IdHash, Session)]) -> Replies {
    let reply = |request: &Request| {
        let wanted = hash_of(request);
        let session = found.iter().find(|(hash, _)| Some(*hash) == wanted);
        Ok(Reply::Session(session.map(|(_, session)| session.clone())))
    };
    requests.iter().map(reply).collect()
}
