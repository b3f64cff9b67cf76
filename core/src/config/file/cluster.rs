//! The clusters of a file.

use std::rc::Rc;

use super::{At, Structure, Walk, entry};
use crate::config::layer::Own;
use crate::config::settings::{Id, Scope};
use crate::config::tree::{Content, Mark, Node};
use crate::config::value::Value;

#[derive(Debug)]
pub(in crate::config) struct FileCluster {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub endpoints: Option<Vec<At<String>>>,
    pub own: Own,
}

const CLUSTER: Structure = Structure {
    scope: Scope::Cluster,
    keys: &["name", "endpoints"],
    later: &[
        ("dns", "list the name as an endpoint: `endpoints: [\"name:port\"]`"),
        ("outlier", ""),
        ("limits", "`pool.connections` bounds the connections of an endpoint"),
    ],
};

impl Walk<'_> {
    pub(super) fn cluster(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileCluster> {
        let mut item = FileCluster { index, at: node.at, name: None, endpoints: None, own: Own::default() };
        // `tls: {}` says that there is TLS.
        if let Some(tls) = entry(node, "tls").filter(|tls| matches!(tls.value.content, Content::Map(_)))
            && entry(&tls.value, "enabled").is_none()
        {
            item.own.set(Id::UpstreamTls, Value::Bool(true), tls.key_at);
        }
        for (key, path, node) in self.section(node, path, &CLUSTER, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                _ => item.endpoints = self.texts(&node, &path, "HOST:PORT or unix:/path"),
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        self.require(item.endpoints.is_some(), &item.at, path, "endpoints", node);
        Some(item)
    }
}
