//! One stream: its state (RFC 9113 5.1), its windows, and where its message is.

use crate::message::Method;

/// The name of a stream: a place in a dense table and, as places are used again, the stream's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    pub(super) slot: u32,
    pub(super) id: u32,
}

impl StreamKey {
    /// The place in the table: smaller than twice `streams_max`, used again after the release.
    #[inline]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The stream identifier of the RFC.
    #[inline]
    pub fn id(self) -> u32 {
        self.id
    }
}

/// Where a stream is, seen from this end (RFC 9113 5.1, without the two reserved states: nobody pushes here).
///
/// ```text
///            +--------+
///            |  idle  |  an identifier that is not used yet: not in the table
///            +--------+
///                | HEADERS sent or received
///                v
///            +--------+
///  END_STREAM|  open  |END_STREAM
///    received+--------+sent
///      +---------+ +---------+
///      v                     v
/// +-------------+     +-------------+
/// | half-closed |     | half-closed |
/// |  (remote)   |     |   (local)   |
/// +-------------+     +-------------+
///      |  END_STREAM sent    |  END_STREAM received
///      +--------+   +--------+
///               v   v              RST_STREAM, from any of the above, ends in
///            +--------+            `ResetByUs` or `ResetByPeer`, which are closed too
///            | closed |
///            +--------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    HalfClosedRemote,
    HalfClosedLocal,
    /// Closed by END_STREAM from both ends: whatever comes for it is an error.
    Ended,
    /// Closed by our RST_STREAM: what was under way is ignored.
    ResetByUs,
    /// Closed by the peer's RST_STREAM: what comes after it is an error.
    ResetByPeer,
}

/// What moves a stream from state to state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    EndSent,
    EndReceived,
    ResetSent,
    ResetReceived,
}

impl State {
    /// The transition function. What a state has no arrow for leaves it as it is.
    pub(super) fn after(self, transition: Transition) -> State {
        match (self, transition) {
            (State::Open, Transition::EndSent) => State::HalfClosedLocal,
            (State::Open, Transition::EndReceived) => State::HalfClosedRemote,
            (State::HalfClosedRemote, Transition::EndSent) => State::Ended,
            (State::HalfClosedLocal, Transition::EndReceived) => State::Ended,
            (State::Ended | State::ResetByUs | State::ResetByPeer, _) => self,
            (_, Transition::ResetSent) => State::ResetByUs,
            (_, Transition::ResetReceived) => State::ResetByPeer,
            (_, Transition::EndSent | Transition::EndReceived) => self,
        }
    }

    #[inline]
    pub(super) fn can_receive(self) -> bool {
        matches!(self, State::Open | State::HalfClosedLocal)
    }

    #[inline]
    pub(super) fn can_send(self) -> bool {
        matches!(self, State::Open | State::HalfClosedRemote)
    }

    #[inline]
    pub(super) fn is_closed(self) -> bool {
        matches!(self, State::Ended | State::ResetByUs | State::ResetByPeer)
    }
}

/// What the peer's message has to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Client: a response, after as many interim ones as there may be.
    Head,
    /// DATA, trailers or the end.
    Body,
    /// Nothing that anybody wants: the head was refused.
    Nothing,
}

/// The length of a body that nobody declared.
pub(super) const LENGTH_UNKNOWN: u64 = u64::MAX;

/// One stream that is not released.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// 0: the place is free.
    pub(super) id: u32,
    /// The next free place, while this one is.
    pub(super) next_free: u32,
    /// What we may send; negative after the peer has made its windows smaller (RFC 9113 6.9.2).
    pub(super) send_window: i32,
    /// What the peer may send; negative for the same reason.
    pub(super) receive_window: i32,
    /// What the reader has passed on and the peer does not know of yet.
    pub(super) unannounced: u32,
    /// How far the window has grown beyond the initial one.
    pub(super) grown: u32,
    /// What the declared length still lacks.
    pub(super) length_left: u64,
    pub(super) state: State,
    pub(super) expect: Expect,
    /// Client: the method of the request, which says what the response may have.
    pub(super) method: Method,
    /// Our head has been sent; for a response, the final one.
    pub(super) head_sent: bool,
    /// Interim responses that have come.
    pub(super) interims: u8,
}

impl Stream {
    /// The window that the peer has if all it sent was passed on.
    #[inline]
    pub(super) fn full_window(&self, initial: u32) -> u32 {
        initial.saturating_add(self.grown)
    }

    /// Takes `bytes` of content from the declared length; false: it is longer, or with `end` shorter than declared
    /// (RFC 9113 8.1.1).
    #[inline]
    pub(super) fn take_length(&mut self, bytes: u32, end: bool) -> bool {
        if self.length_left == LENGTH_UNKNOWN {
            return true;
        }
        match self.length_left.checked_sub(u64::from(bytes)) {
            Some(left) => {
                self.length_left = left;
                !end || left == 0
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::Transition::*;

    #[test]
    fn states_follow_the_diagram() {
        let cases = [
            (Open, EndSent, HalfClosedLocal),
            (Open, EndReceived, HalfClosedRemote),
            (Open, ResetSent, ResetByUs),
            (Open, ResetReceived, ResetByPeer),
            (HalfClosedLocal, EndSent, HalfClosedLocal),
            (HalfClosedLocal, EndReceived, Ended),
            (HalfClosedLocal, ResetSent, ResetByUs),
            (HalfClosedLocal, ResetReceived, ResetByPeer),
            (HalfClosedRemote, EndSent, Ended),
            (HalfClosedRemote, EndReceived, HalfClosedRemote),
            (HalfClosedRemote, ResetSent, ResetByUs),
            (HalfClosedRemote, ResetReceived, ResetByPeer),
        ];
        for (from, transition, to) in cases {
            assert_eq!(from.after(transition), to, "{from:?} {transition:?}");
        }
        for closed in [Ended, ResetByUs, ResetByPeer] {
            for transition in [EndSent, EndReceived, ResetSent, ResetReceived] {
                assert_eq!(closed.after(transition), closed, "closed is closed");
            }
        }
    }
}
