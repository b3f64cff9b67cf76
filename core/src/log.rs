//! Log lines of the process, to stderr: `2026-01-02T03:04:05.678Z INFO what happened key=value`.
//!
//! For events of the process (start, reload, drain, failures of the environment), never for one request: that is the
//! access log. Deliberately without a framework: few lines, one format, no levels to configure.

use std::fmt;
use std::io::Write;
use std::time::SystemTime;

/// How much an operator should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Info => "INFO",
            Level::Warning => "WARN",
            Level::Error => "ERROR",
        })
    }
}

/// Writes one line. Failing to is ignored: there is nowhere left to say so.
pub fn line(level: Level, message: fmt::Arguments<'_>) {
    let line = render(SystemTime::now(), level, message);
    // One write per line, so that lines of several threads do not mix.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn render(now: SystemTime, level: Level, message: fmt::Arguments<'_>) -> String {
    let text = message.to_string();
    let mut line = String::with_capacity(text.len() + 40);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    crate::access_log::date::push_iso(&mut line, since.as_secs(), since.subsec_millis());
    line.push_str(&format!(" {level} "));
    // A name or an error text may come from outside: a line stays a line.
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push('\n');
    line
}

/// Logs at level INFO: `info!("listening", ...)` with the arguments of `format!`.
#[macro_export]
macro_rules! log_info {
    ($($argument:tt)*) => { $crate::log::line($crate::log::Level::Info, format_args!($($argument)*)) };
}

/// Logs at level WARN.
#[macro_export]
macro_rules! log_warning {
    ($($argument:tt)*) => { $crate::log::line($crate::log::Level::Warning, format_args!($($argument)*)) };
}

/// Logs at level ERROR.
#[macro_export]
macro_rules! log_error {
    ($($argument:tt)*) => { $crate::log::line($crate::log::Level::Error, format_args!($($argument)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_has_time_level_and_text_and_stays_one_line() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(951_782_400_007);
        let line = render(now, Level::Warning, format_args!("odd name={}", "a\nERROR b\u{1b}[0m"));
        assert_eq!(line, "2000-02-29T00:00:00.007Z WARN odd name=a ERROR b [0m\n");
    }
}
