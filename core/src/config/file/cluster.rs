//! The clusters of a file.

use std::rc::Rc;

use super::{At, ITEMS_MAX, Structure, Walk, entry};
use crate::config::EndpointTraits;
use crate::config::error::ConfigError;
use crate::config::layer::Own;
use crate::config::settings::{Id, Scope};
use crate::config::tree::{Content, Mark, Node};
use crate::config::value::Value;

#[derive(Debug)]
pub(in crate::config) struct FileCluster {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub endpoints: Option<Vec<FileEndpoint>>,
    /// Where they come from otherwise.
    pub discovery: Option<FileDiscovery>,
    pub own: Own,
}

/// One item of `endpoints`: an address, or a mapping that says more.
#[derive(Debug)]
pub(in crate::config) struct FileEndpoint {
    pub index: usize,
    pub address: At<String>,
    pub traits: EndpointTraits,
}

/// Where endpoints come from: the key that says so, and its value.
#[derive(Debug)]
pub(in crate::config) struct FileDiscovery {
    pub key: &'static str,
    pub value: At<String>,
}

/// Each says where the endpoints are; a cluster has one of them.
const SOURCES: &[&str] = &["endpoints", "dns", "srv", "endpoints_file"];
const ENDPOINT: &str = "HOST:PORT or unix:/path";
const ENDPOINT_KEYS: &[&str] = &["address", "weight", "priority", "zone"];
const WEIGHT_MAX: u32 = 10_000;
const PRIORITY_MAX: u32 = 127;

const CLUSTER: Structure = Structure {
    scope: Scope::Cluster,
    keys: &["name", "endpoints", "dns", "srv", "endpoints_file"],
    later: &[],
};

impl Walk<'_> {
    pub(super) fn cluster(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileCluster> {
        let mut item = FileCluster {
            index,
            at: node.at,
            name: None,
            endpoints: None,
            discovery: None,
            own: Own::default(),
        };
        // `tls: {}` says that there is TLS.
        if let Some(tls) = entry(node, "tls").filter(|tls| matches!(tls.value.content, Content::Map(_)))
            && entry(&tls.value, "enabled").is_none()
        {
            item.own.set(Id::UpstreamTls, Value::Bool(true), tls.key_at);
        }
        for (key, path, node) in self.section(node, path, &CLUSTER, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                "endpoints" => item.endpoints = self.endpoints(&node, &path),
                "endpoints_file" => {
                    let value = self.path(&node, &path);
                    item.discovery = value.map(|value| FileDiscovery { key, value });
                }
                _ => {
                    let value = self.text(&node, &path, "a name");
                    item.discovery = value.map(|value| FileDiscovery { key, value });
                }
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        let mut sources = SOURCES.iter().filter_map(|key| entry(node, key));
        self.require(sources.next().is_some(), &item.at, path, "endpoints", node);
        for more in sources {
            let problem =
                "only one of `endpoints`, `dns`, `srv` and `endpoints_file` says where endpoints are";
            let path = format!("{path}.{}", more.key);
            self.errors.push(ConfigError::new(self.file.place(more.key_at), path, problem));
        }
        Some(item)
    }

    /// A file that lists the endpoints of a cluster.
    pub(in crate::config) fn endpoints_file(&mut self, root: &Rc<Node>) -> Vec<FileEndpoint> {
        let keys = self.keys(root, "", &["endpoints"], &[]).unwrap_or_default();
        self.require(!keys.is_empty(), &root.at, "", "endpoints", root);
        keys.iter().filter_map(|(_, path, node)| self.endpoints(node, path)).flatten().collect()
    }

    /// A list of endpoints; one alone is a list of one.
    pub(in crate::config) fn endpoints(&mut self, node: &Rc<Node>, path: &str) -> Option<Vec<FileEndpoint>> {
        match &node.content {
            Content::Scalar(_) => Some(self.endpoint(0, node, path).into_iter().collect()),
            Content::List(_) => Some(self.each(node, path, ITEMS_MAX, Self::endpoint)),
            _ => {
                let error = ConfigError::mismatch(self.file.place(node.at), path, "a list", node.describe());
                self.errors.push(error);
                None
            }
        }
    }

    fn endpoint(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileEndpoint> {
        let mut traits = EndpointTraits::default();
        if !matches!(node.content, Content::Map(_)) {
            return self.text(node, path, ENDPOINT).map(|address| FileEndpoint { index, address, traits });
        }
        let mut address = None;
        for (key, path, node) in self.keys(node, path, ENDPOINT_KEYS, &[])? {
            match key {
                "address" => address = self.text(&node, &path, ENDPOINT),
                "weight" => traits.weight = self.whole(&node, &path, 1, WEIGHT_MAX).unwrap_or(1),
                "priority" => traits.priority = self.whole(&node, &path, 0, PRIORITY_MAX).unwrap_or(0),
                _ => traits.zone = self.name(&node, &path).map(|zone| zone.value.into()),
            }
        }
        self.require(address.is_some(), &node.at, path, "address", node);
        address.map(|address| FileEndpoint { index, address, traits })
    }

    fn whole(&mut self, node: &Node, path: &str, min: u32, max: u32) -> Option<u32> {
        let number = match &node.content {
            Content::Scalar(text) => text.parse().ok().filter(|number| (min..=max).contains(number)),
            _ => None,
        };
        if number.is_none() {
            let expected = format!("a whole number from {min} to {max}");
            self.errors.push(ConfigError::mismatch(
                self.file.place(node.at),
                path,
                expected,
                node.describe(),
            ));
        }
        number
    }
}
