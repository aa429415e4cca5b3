//! A Unix socket that also passes descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use anyhow::Context;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::data::segment;

/// One end of a socket pair. Received descriptors are kept in their order until they are taken.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: UnixStream,
    /// `None` for one that got lost because this process has reached its limit of descriptors.
    descriptors: VecDeque<Option<OwnedFd>>,
    /// Whether the last read found nothing more to read.
    drained: bool,
    /// Whether reading a drained socket fails with `WouldBlock` without a system call.
    lazy: bool,
}

impl Socket {
    pub(crate) fn new(stream: UnixStream) -> Socket {
        Socket { stream, descriptors: VecDeque::new(), drained: false, lazy: false }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Takes the next received descriptor; `None` if it got lost, or none has been received.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front().flatten()
    }

    /// For a socket that is polled: once drained, it is read again only after [`Socket::mark_readable`].
    pub(crate) fn set_lazy(&mut self, lazy: bool) {
        self.lazy = lazy;
    }

    /// Notes that there may be something to read since it was drained.
    pub(crate) fn mark_readable(&mut self) {
        self.drained = false;
    }

    /// Sends bytes, and a descriptor with the first of them; returns how many were sent.
    pub(crate) fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let Some(descriptor) = descriptor else { return (&self.stream).write(bytes) };
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room for one");
        Ok(sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())?)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.lazy && self.drained {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Each descriptor is sent in a message of its own, and the system never merges two such messages.
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let most = buffer.len();
        let got = recvmsg(&self.stream, &mut [IoSliceMut::new(buffer)], &mut control, FLAGS)?;
        // A descriptor ends a message: there may be more to read behind it.
        self.drained = got.bytes < most && !got.flags.contains(ReturnFlags::CTRUNC);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors.map(Some));
                self.drained = false;
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            self.descriptors.push_back(None);
        }
        Ok(got.bytes)
    }
}

/// A child of this process must not inherit received descriptors.
#[cfg(target_os = "linux")]
const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const FLAGS: RecvFlags = RecvFlags::empty();

/// Whether a descriptor can be passed here. If not, the first call says why on stderr, and arrays are copied.
pub(crate) fn passes_descriptors() -> bool {
    static PASSES: OnceLock<bool> = OnceLock::new();
    let test = || {
        let (ours, theirs) = UnixStream::pair()?;
        Socket::new(ours.try_clone()?).send(b"?", Some(ours.as_fd())).context("cannot pass a descriptor")?;
        let mut theirs = Socket::new(theirs);
        theirs.read_exact(&mut [0]).context("cannot pass a descriptor")?;
        theirs.descriptor().context("a descriptor got lost").map(drop)
    };
    *PASSES.get_or_init(|| segment::works(test))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
