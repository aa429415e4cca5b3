//! A Unix socket that also passes descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// One end of a socket pair. Descriptors that come are kept in their order until somebody takes them.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: UnixStream,
    /// `None` for one that came and found no place: this process has as many as it may have.
    descriptors: VecDeque<Option<OwnedFd>>,
    /// Whether nothing more had come when it was read last.
    drained: bool,
    /// Whether reading a drained socket says that it would have to be waited for, without asking the system.
    lazy: bool,
}

impl Socket {
    pub(crate) fn new(stream: UnixStream) -> Socket {
        Socket { stream, descriptors: VecDeque::new(), drained: false, lazy: false }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next descriptor that came; `None` where it got lost, or none is due.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front().flatten()
    }

    /// Once drained, it is asked again only after it was told to: for one that somebody polls.
    pub(crate) fn set_lazy(&mut self, lazy: bool) {
        self.lazy = lazy;
    }

    /// Notes that something may have come since it was drained.
    pub(crate) fn rouse(&mut self) {
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
        // Every descriptor is sent in a message of its own, and the system never joins two of those.
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let most = buffer.len();
        let got = recvmsg(&self.stream, &mut [IoSliceMut::new(buffer)], &mut control, FLAGS)?;
        // A descriptor ends a message: more may be waiting behind it.
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

/// A child of this process must not inherit what comes.
#[cfg(target_os = "linux")]
const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const FLAGS: RecvFlags = RecvFlags::empty();

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
