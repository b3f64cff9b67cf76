//! The epoll driver (being built).
use super::runtime::Runtime;
use super::slot::Slot;
use super::socket::SockAddr;
use super::waker::Remote;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

pub(crate) struct Epoll {}

impl Epoll {
    pub(super) fn new(_remote: &Arc<Remote>) -> io::Result<Epoll> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(super) fn turn(&self, _rt: &Runtime, _timeout: Option<Duration>) {}
    pub(super) fn connect(&self, _rt: &Runtime, _key: u32, _to: SockAddr) -> io::Result<()> {
        Ok(())
    }
    pub(super) fn arm_recv(&self, _rt: &Runtime, _key: u32, _slot: &mut Slot) {}
    pub(super) fn cancel_recv(&self, _rt: &Runtime, _key: u32, _slot: &mut Slot) -> bool {
        false
    }
    pub(super) fn start_send(&self, _rt: &Runtime, _key: u32, _slot: &mut Slot) -> Option<Waker> {
        None
    }
    pub(super) fn close(&self, _rt: &Runtime, _key: u32, _slot: &mut Slot) -> bool {
        true
    }
    pub(super) fn release(&self, _slot: &mut Slot) {}
    pub(super) fn arm_accept(&self, _rt: &Runtime, _key: u32) {}
    pub(super) fn close_listener(&self, _rt: &Runtime, _key: u32) -> bool {
        true
    }
    pub(super) fn poll_ready(&self, _rt: &Runtime, _key: u32, _slot: &mut Slot, _events: u32) {}
    pub(super) fn shut_down(&self, _rt: &Runtime) {}
}
