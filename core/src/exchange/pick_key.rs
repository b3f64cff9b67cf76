//! What an endpoint is picked by: a key of the request, or a cookie that names the endpoint.

use std::num::NonZeroU64;

use ringway_policies::balance::hash::{hash, of_ip};
use ringway_protocols::message::FieldKind;

use super::Exchange;
use crate::config::{ClusterConfig, HashKey};
use crate::upstream::PickKey;

impl Exchange<'_> {
    /// What decides among the endpoints of a cluster; nothing where its balancer does not ask.
    pub(super) fn pick_key(&self, config: &ClusterConfig) -> PickKey {
        let spread = &config.spread;
        let endpoint = spread.sticky.as_ref().and_then(|sticky| self.endpoint_of_cookie(&sticky.cookie));
        let hash = spread.balance.is_hash().then(|| self.hash_of(&spread.hash_key)).flatten();
        PickKey { hash: hash.and_then(NonZeroU64::new), endpoint: endpoint.and_then(NonZeroU64::new) }
    }

    fn hash_of(&self, key: &HashKey) -> Option<u64> {
        match key {
            HashKey::Client => self.client_ip.get().map(of_ip),
            HashKey::Path => {
                let normal = self.normal_path.borrow();
                Some(hash(normal.as_deref().unwrap_or_else(|| self.head.path_of(self.bytes))))
            }
            HashKey::Header(name) => {
                let named = |name_bytes: &[u8]| name_bytes.eq_ignore_ascii_case(name.as_bytes());
                let mut fields = self.head.fields.iter();
                fields
                    .find(|field| named(field.name.of(self.bytes)))
                    .map(|field| hash(field.value.of(self.bytes)))
            }
            HashKey::Cookie(name) => self.cookie(name).map(hash),
        }
    }

    /// The value of a cookie (RFC 6265 5.4): the first of that name, which is the one with the longest path.
    fn cookie(&self, name: &str) -> Option<&[u8]> {
        let lines = self.head.fields.iter().filter(|field| field.kind == FieldKind::Cookie);
        let pairs = lines.flat_map(|line| line.value.of(self.bytes).split(|byte| *byte == b';'));
        pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    fn endpoint_of_cookie(&self, name: &str) -> Option<u64> {
        let value = std::str::from_utf8(self.cookie(name)?).ok()?;
        u64::from_str_radix(value, 16).ok().filter(|_| value.len() == 16)
    }

    /// The line of the cookie that brings the client back, where the one it has does not name the endpoint that answered. It
    /// holds a hash: the addresses of endpoints are nobody's business.
    pub(super) fn sticky_line(&self) -> Option<String> {
        let cluster = self.view.clusters.get(self.record.cluster.get()?)?;
        let sticky = cluster.config.spread.sticky.as_ref()?;
        let id = self.record.endpoint.borrow().as_ref()?.1.id();
        if self.endpoint_of_cookie(&sticky.cookie) == Some(id) {
            return None;
        }
        let age = match sticky.ttl.as_secs() {
            0 => String::new(),
            seconds => format!("; Max-Age={seconds}"),
        };
        let secure = if self.client.tls().is_some() { "; Secure" } else { "" };
        let name = &sticky.cookie;
        Some(format!("set-cookie: {name}={id:016x}; Path=/; HttpOnly; SameSite=Lax{age}{secure}\r\n"))
    }
}
