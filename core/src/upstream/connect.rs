//! Making a connection to an endpoint.
//!
//! An endpoint that is a name has several addresses. They are tried as in Happy Eyeballs (RFC 8305 section 5):
//! in order, the next one when an attempt failed or has been quiet for 250 ms, and the first to answer wins.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::io::{self as rt, Address, Stream, Timer};

/// RFC 8305 section 8, "Connection Attempt Delay".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Attempts under way at once; more addresses wait for one of these to fail.
const ATTEMPTS_MAX: usize = 4;

type Attempt = Pin<Box<dyn Future<Output = (Address, io::Result<Stream>)>>>;

/// Connects to the first of `addresses` that answers, starting at `addresses[first]`, until `deadline`.
///
/// # Errors
/// The error of the last attempt, or `TimedOut` at the deadline.
pub async fn connect(
    addresses: &[Address],
    first: usize,
    deadline: Instant,
) -> io::Result<(Address, Stream)> {
    match addresses {
        [] => Err(io::Error::new(io::ErrorKind::NotFound, "the endpoint has no address")),
        [only] => match rt::timeout_at(deadline, Stream::connect(only)).await {
            Ok(result) => result.map(|stream| (only.clone(), stream)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
        _ => {
            let order = (0..addresses.len()).map(|step| addresses[(first + step) % addresses.len()].clone());
            match rt::timeout_at(deadline, race(order.collect())).await {
                Ok(result) => result,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }
}

async fn race(addresses: Vec<Address>) -> io::Result<(Address, Stream)> {
    let mut waiting = addresses.into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let timer = Timer::new();
    let mut last_error = io::Error::from(io::ErrorKind::NotFound);
    let mut start_next = true;
    poll_fn(move |cx| {
        loop {
            if start_next && attempts.len() < ATTEMPTS_MAX {
                start_next = false;
                if let Some(address) = waiting.next() {
                    attempts.push(Box::pin(async move {
                        let result = Stream::connect(&address).await;
                        (address, result)
                    }));
                    timer.arm(rt::now() + ATTEMPT_DELAY);
                }
            }
            if let Some(won) = poll_attempts(&mut attempts, &mut last_error, &mut start_next, cx) {
                return Poll::Ready(Ok(won));
            }
            if attempts.is_empty() && waiting.as_slice().is_empty() {
                let error = std::mem::replace(&mut last_error, io::ErrorKind::Other.into());
                return Poll::Ready(Err(error));
            }
            if start_next && !waiting.as_slice().is_empty() && attempts.len() < ATTEMPTS_MAX {
                continue;
            }
            if timer.poll_expired(cx).is_ready() && !waiting.as_slice().is_empty() {
                timer.disarm();
                start_next = true;
                continue;
            }
            return Poll::Pending;
        }
    })
    .await
}

/// Polls every attempt once; failed ones are removed and ask for the next address at once.
fn poll_attempts(
    attempts: &mut Vec<Attempt>,
    last_error: &mut io::Error,
    start_next: &mut bool,
    cx: &mut Context<'_>,
) -> Option<(Address, Stream)> {
    let mut index = 0;
    while let Some(attempt) = attempts.get_mut(index) {
        match attempt.as_mut().poll(cx) {
            Poll::Pending => index += 1,
            Poll::Ready((address, Ok(stream))) => return Some((address, stream)),
            Poll::Ready((_, Err(error))) => {
                *last_error = error;
                *start_next = true;
                drop(attempts.swap_remove(index));
            }
        }
    }
    None
}
