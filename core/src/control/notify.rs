//! What systemd is told (`sd_notify(3)`). Without `NOTIFY_SOCKET` nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::log_warning;

/// The service takes traffic; also the end of a reload.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins: systemd compares the time with that of its own request (`Type=notify-reload`).
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The process lives.
pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] is to be called: twice in the time that systemd waits. `None`: never.
pub(super) fn watchdog_pause() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 2).filter(|pause| !pause.is_zero())
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log_warning!("systemd could not be notified error={error}");
    }
}
