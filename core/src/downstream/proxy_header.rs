//! The PROXY protocol header that comes before anything else where the listener asks for it.

use ringway_protocols::proxy_protocol;

use super::Downstream;
use crate::io as rt;
use crate::worker::Worker;

pub(super) fn owes_proxy_header(conn: &Downstream, worker: &Worker) -> bool {
    let view = worker.view();
    let Some((_, config)) = conn.listener(&view) else { return false };
    conn.owner
        .peer
        .is_some_and(|peer| config.proxy_protocol_from.iter().any(|block| block.contains(peer.ip())))
}

/// Reads the PROXY protocol header that must come first. `false`: there was none that can be believed.
pub(super) async fn receive_proxy_header(worker: &Worker, conn: &mut Downstream) -> bool {
    let Some(limits) = conn.limits(worker) else { return false };
    let deadline = rt::now() + limits.header_timeout;
    let mut bytes = Vec::new();
    loop {
        let Ok(Ok(chunk)) = rt::timeout_at(deadline, conn.stream.recv()).await else { return false };
        if chunk.is_empty() {
            return false;
        }
        bytes.extend_from_slice(&chunk);
        match proxy_protocol::parse(&bytes) {
            Ok(proxy_protocol::Parsed::Complete(header)) => {
                // The header was incomplete without this chunk, so what follows it lies inside the chunk.
                let beyond = bytes.len().saturating_sub(header.bytes);
                let rest = chunk.slice(chunk.len().saturating_sub(beyond)..chunk.len());
                conn.unread = (!rest.is_empty()).then_some(rest);
                conn.owner.named = header.addresses.map(|addresses| Box::new(addresses.source));
                return true;
            }
            Ok(proxy_protocol::Parsed::NeedMore) => {}
            Err(_) => return false,
        }
    }
}
