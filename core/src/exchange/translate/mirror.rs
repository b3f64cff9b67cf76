//! A copy of a request for another cluster, whose answer nobody waits for.
//!
//! **Invariant:** the request itself never waits for its copy and never fails with it. The copy is made of what was sent, when
//! all of it was, and is a task of its own with a time of its own. Of these there are only so many, and none holds more
//! than the kept part of a body.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use ringway_protocols::http1::{self, HeadLimits, Parsed, RequestEdits};
use ringway_protocols::message::{BodyLength, Method, RequestHead};

use super::answer::{Answer, body_of, final_answer};
use super::request_body::RequestBody;
use super::sink::Sink;
use super::{Exchange, framing};
use crate::config::{FOREVER, MirrorConfig, RouteConfig};
use crate::exchange::forwarding;
use crate::http2::BodyPiece;
use crate::io::{self as rt, Timer};
use crate::upstream::{Asked, Cluster, Dial, Origin, Place, Source};
use crate::worker::{View, Worker};

/// Bounds of a copied head. It has passed those of its listener; the fields that are added are ours.
const COPY_LIMITS: HeadLimits =
    HeadLimits { bytes_max: 4 << 20, fields_max: 20_000, target_bytes_max: 2 << 20 };
/// Bytes of an answer that are read so that its connection can be used again; where there is more, it closes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A request that is sent a second time.
struct Copy {
    worker: Rc<Worker>,
    view: Rc<View>,
    cluster: usize,
    timeout: Duration,
    /// The head as an origin of HTTP/1.1 gets it.
    head: Vec<u8>,
    body: Vec<BodyPiece>,
    /// The PROXY protocol header, where the cluster wants one.
    greeting: Vec<u8>,
}

/// Counts the copies under way on a worker.
struct Running(Rc<Worker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

impl<'a> Exchange<'a> {
    /// Decides which mirrors get a copy, each for itself, and makes these where the request has no body.
    pub(in crate::exchange) fn begin_mirror(&self, route: &'a RouteConfig) {
        let Some(config) = &route.mirror else { return };
        // What becomes a tunnel is a conversation: it cannot be held with two.
        let tunnel = self.head.method == Method::Connect
            || self.head.extended_connect
            || self.wanted_protocol(route).is_some();
        if tunnel {
            return;
        }
        let mut drawn = 0;
        for (index, target) in config.targets.iter().enumerate() {
            let wins = (u128::from(self.worker.random()) * 1_000_000) >> 64 < u128::from(target.share_ppm);
            drawn |= u8::from(wins) << index;
        }
        if drawn == 0 {
            return;
        }
        if self.head.body == BodyLength::Empty {
            self.send_copies(route, config, drawn, Vec::new);
        } else {
            self.mirrored.set(Some(route));
            self.mirrored_to.set(drawn);
        }
    }

    /// All of the request body was sent.
    pub(super) fn mirror_body(&self, body: &RequestBody<'_>) {
        let Some(route) = self.mirrored.take() else { return };
        let Some(config) = &route.mirror else { return };
        let translated = self.call.as_ref().is_some_and(|call| call.is_translated());
        let drawn = self.mirrored_to.get();
        if translated || !body.is_whole(config.body_bytes_max) {
            self.worker.stats.exchanges.mirrors_skipped.add(u64::from(drawn.count_ones()));
            return;
        }
        self.send_copies(route, config, drawn, || body.replayed());
    }

    /// Sends a copy to each of the mirrors that were drawn, a bit for each.
    fn send_copies(
        &self,
        route: &RouteConfig,
        config: &MirrorConfig,
        drawn: u8,
        body: impl Fn() -> Vec<BodyPiece>,
    ) {
        let targets = config.targets.iter().enumerate();
        for (_, target) in targets.filter(|(index, _)| drawn >> index & 1 == 1) {
            self.send_copy(route, config, target.cluster, body());
        }
    }

    fn send_copy(&self, route: &RouteConfig, config: &MirrorConfig, to: usize, body: Vec<BodyPiece>) {
        let (worker, stats) = (self.worker, &self.worker.stats.exchanges);
        let Some(cluster) = self.view.clusters.get(to) else { return };
        if worker.mirrors.get() >= config.requests_max {
            stats.mirrors_skipped.increment();
            return;
        }
        worker.mirrors.set(worker.mirrors.get() + 1);
        let running = Running(Rc::clone(worker));
        stats.mirrors.increment();
        let (mut head, mut greeting) = (Vec::new(), Vec::new());
        self.write_request(&mut head, route);
        self.write_proxy_header(&mut greeting, &cluster.config);
        let copy = Copy {
            worker: Rc::clone(worker),
            view: Rc::clone(self.view),
            cluster: to,
            timeout: config.timeout,
            head,
            body,
            greeting,
        };
        // The task runs after this one has done what it can do at once.
        rt::spawn(async move {
            let running = running;
            if !copy.run().await {
                running.0.stats.exchanges.mirror_failures.increment();
            }
        });
    }
}

impl Copy {
    /// Sends the copy and reads its answer away. `false`: there was none.
    async fn run(mut self) -> bool {
        let until = rt::now() + self.timeout;
        let view = Rc::clone(&self.view);
        let Some(cluster) = view.clusters.get(self.cluster) else { return false };
        let mut head = RequestHead::default();
        if !matches!(http1::parse_request(&self.head, &COPY_LIMITS, &mut head), Ok(Parsed::Complete)) {
            return false;
        }
        let work = async {
            let origin = self.origin(cluster, &head).await?;
            self.send(&origin, &head).await?;
            let answer = final_answer(&origin, &cluster.config, head.method).await.ok()?;
            discard(origin, cluster, answer).await
        };
        rt::timeout_at(until, Box::pin(work)).await.ok().flatten().is_some()
    }

    async fn origin(&self, cluster: &Cluster, head: &RequestHead) -> Option<Origin> {
        let greeting = (!self.greeting.is_empty()).then_some(&self.greeting[..]);
        let asked = Asked::plain(head.method, greeting);
        let place = Place { revision: self.view.config().revision, cluster: self.cluster };
        let poolable = forwarding::is_poolable(&cluster.config);
        let source = if poolable { Source::Any } else { Source::Fresh };
        let picked = match source {
            Source::Any => match cluster.take_pooled(&self.worker, asked) {
                Ok(origin) => return Some(origin),
                Err(picked) => picked,
            },
            Source::Fresh => cluster.pick_first(&self.worker, &asked),
        };
        let dial = Dial { worker: &self.worker, place, deadline: rt::now() + FOREVER, asked };
        cluster.checkout(dial, source, picked).await.ok()
    }

    async fn send(&mut self, origin: &Origin, head: &RequestHead) -> Option<()> {
        let bytes = std::mem::take(&mut self.head);
        let sink = match origin {
            Origin::Http1(upstream) => {
                upstream.stream.send(bytes).ok()?;
                Sink::Http1 {
                    stream: &upstream.stream,
                    framing: framing(head.body),
                    window: self.worker.window(),
                }
            }
            Origin::Http2(origin) => {
                let scheme = if origin.stream.tls().is_some() { "https" } else { "http" };
                let edits = RequestEdits { te_trailers: head.te_trailers, ..RequestEdits::default() };
                let end = self.body.is_empty();
                origin.stream.send_request(&bytes, head, &edits, scheme, end).ok()?;
                Sink::Http2(&origin.stream)
            }
        };
        let timer = Timer::new();
        for piece in std::mem::take(&mut self.body) {
            let (mut data, end) = match piece {
                BodyPiece::Data(data, end) => (data, end),
                BodyPiece::Trailers(lines) => return sink.finish(&lines).ok().map(drop),
                BodyPiece::End => return sink.finish(b"").ok().map(drop),
            };
            while !data.is_empty() {
                let room = sink.room(&timer, data.len(), FOREVER, None).await.ok()?;
                let part = data.split_to(room.min(data.len()));
                sink.send(part, end && data.is_empty()).ok()?;
            }
        }
        Some(())
    }
}

/// Reads an answer to its end, where that is not far, and gives its connection back.
async fn discard(origin: Origin, cluster: &Cluster, answer: Answer) -> Option<()> {
    let Answer { response, end, rest, .. } = answer;
    let mut left_over = rest.is_some();
    if !end {
        let mut source = body_of(&origin, &cluster.config, response.body, rest);
        let mut read = 0;
        while let BodyPiece::Data(data, last) = poll_fn(|cx| source.poll_piece(cx)).await.ok()? {
            source.consumed(data.len());
            read += data.len();
            if read > ANSWER_BYTES_MAX {
                return Some(());
            }
            if last {
                break;
            }
        }
        left_over = source.take_rest().0.is_some();
    }
    if let Origin::Http1(upstream) = origin
        && !left_over
        && response.keep_alive
        && response.body != BodyLength::UntilClose
        && forwarding::is_poolable(&cluster.config)
    {
        upstream.release(cluster, rt::now());
    }
    Some(())
}
