//! Waiting with an end: every wait of a test has a deadline and says what it waited for.

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Generous: machines that run tests are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with `what` when patience ends.
///
/// For what can only be asked for (a counter of another process, an exit status). What can be waited for, is.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        pause(Duration::from_millis(5));
    }
}

/// Lets time pass where time itself is the stimulus: a slow writer, a slow reader, an idle connection.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
