//! Calls of the file system that fail on demand.

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no space to write or to create a file; half of the bytes may be written.
    NoSpace,
    /// Any call fails; half of the bytes of a write may be written.
    Io,
    /// A read returns half of the bytes.
    ShortRead,
    /// A write writes half of the bytes, and returns their number.
    ShortWrite,
    /// A sync fails, and the data that it did not write is lost; see
    /// [`Operation::FailedSync`](crate::disk::Operation::FailedSync).
    Sync,
    /// The process is killed before the call.
    Kill,
}

/// All kinds of faults of a disk.
pub const FAULTS: [Fault; 5] = [
    Fault::NoSpace,
    Fault::Io,
    Fault::ShortRead,
    Fault::ShortWrite,
    Fault::Sync,
];

/// The kind of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It reads a file.
    Read,
    /// It writes to a file.
    Write,
    /// It creates a file or directory, or extends a file.
    Make,
    /// It syncs.
    Sync,
    /// It reads metadata, removes something, or does anything else.
    Other,
}

impl Fault {
    fn concerns(self, call: Call) -> bool {
        match self {
            Self::NoSpace => matches!(call, Call::Write | Call::Make),
            Self::Io => true,
            Self::ShortRead => call == Call::Read,
            Self::ShortWrite => call == Call::Write,
            Self::Sync => call == Call::Sync,
            Self::Kill => false,
        }
    }
}

/// The faults of a run.
#[derive(Clone, Default)]
pub struct Faults {
    /// The kind; `None` for no faults.
    pub kind: Option<Fault>,
    /// How many of the calls that the fault concerns succeed first.
    pub after: u64,
    /// Whether all later calls fail, too.
    pub stays: bool,
    /// How many calls the fault concerned so far.
    pub calls: u64,
}

impl Faults {
    /// Faults of one kind, after a number of calls.
    pub fn new(kind: Fault, after: u64, stays: bool) -> Self {
        Self {
            kind: Some(kind),
            after,
            stays,
            calls: 0,
        }
    }

    /// Whether a call has failed.
    pub fn were_met(&self) -> bool {
        self.kind.is_some() && self.calls > self.after
    }

    /// Whether the process is killed now.
    pub fn kills(&mut self) -> bool {
        if self.kind != Some(Fault::Kill) {
            return false;
        }
        self.calls += 1;
        self.calls > self.after
    }

    /// How this call fails, if it does.
    pub fn meet(&mut self, call: Call) -> Option<Fault> {
        let kind = self.kind.filter(|kind| kind.concerns(call))?;
        let number = self.calls;
        self.calls += 1;
        let fails = number == self.after || self.stays && number > self.after;
        fails.then_some(kind)
    }
}
