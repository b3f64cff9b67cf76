//! The routes of a file.

use std::rc::Rc;
use std::sync::Arc;

use ringway_policies::route::RouteMatch;

use super::route_target::{EVERY_REQUEST, FileMirror, FileTarget};
use super::{At, FilePolicy, Structure, Walk, entry};
use crate::config::error::ConfigError;
use crate::config::layer::Own;
use crate::config::settings::Scope;
use crate::config::tree::{Content, Mark, Node};

#[derive(Debug)]
pub(in crate::config) struct FileRoute {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub listeners: Vec<At<String>>,
    pub hosts: Vec<At<String>>,
    /// Empty: every request.
    pub matches: Vec<Arc<RouteMatch>>,
    pub to: Vec<FileTarget>,
    pub mirrors: Vec<FileMirror>,
    pub policies: Vec<FilePolicy>,
    pub own: Own,
    /// Something in it is wrong: what it matches is not known.
    pub(in crate::config) broken: bool,
}

const ROUTE: Structure = Structure {
    scope: Scope::Route,
    keys: &[
        "name",
        "listeners",
        "hosts",
        "match",
        "policies",
        "to",
        "mirror.cluster",
        "mirror.percent",
        "mirror.to",
    ],
    later: &[("rewrite", ""), ("redirect", "")],
};
/// Policies that let no request pass.
const ANSWERING: &[&str] = &["fixed_response", "redirect"];

impl Walk<'_> {
    pub(super) fn route(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileRoute> {
        let mut item = FileRoute {
            index,
            at: node.at,
            name: None,
            listeners: Vec::new(),
            hosts: Vec::new(),
            matches: Vec::new(),
            to: Vec::new(),
            mirrors: Vec::new(),
            policies: Vec::new(),
            own: Own::default(),
            broken: false,
        };
        let errors_before = self.errors.count();
        let (mut mirror, mut mirror_ppm) = (None, None);
        for (key, path, node) in self.section(node, path, &ROUTE, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                "listeners" => {
                    item.listeners = self.texts(&node, &path, "the name of a listener").unwrap_or_default()
                }
                "hosts" => item.hosts = self.texts(&node, &path, "a host name").unwrap_or_default(),
                "policies" => item.policies = self.policies(&node, &path),
                "match" => item.matches = self.matches(&node, &path),
                "mirror.cluster" => {
                    let cluster = self.text(&node, &path, "the name of a cluster");
                    mirror = cluster.map(|cluster| (path, cluster));
                }
                "mirror.percent" => mirror_ppm = self.mirror_share(&node, &path),
                "mirror.to" => item.mirrors = self.mirrors(&node, &path),
                _ => item.to = self.targets(&node, &path),
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        // What always answers needs no cluster.
        let answers = item.policies.iter().any(|policy| ANSWERING.contains(&policy.kind.name));
        self.require(answers || !item.to.is_empty(), &item.at, path, "to", node);
        let group = entry(node, "mirror").filter(|group| matches!(group.value.content, Content::Map(_)));
        if let Some(group) = group {
            let (path, several) = (format!("{path}.mirror"), entry(&group.value, "to"));
            self.require(
                mirror.is_some() || several.is_some(),
                &group.key_at,
                &path,
                "cluster",
                &group.value,
            );
            if let Some(alone) =
                several.and(entry(&group.value, "cluster").or(entry(&group.value, "percent")))
            {
                let problem = "either `cluster` for one mirror, or `to` for several";
                let path = format!("{path}.{}", alone.key);
                self.errors.push(ConfigError::new(self.file.place(alone.key_at), path, problem));
            }
        }
        if let Some((key, cluster)) = mirror.filter(|_| item.mirrors.is_empty()) {
            item.mirrors.push(FileMirror { key, cluster, share_ppm: mirror_ppm.unwrap_or(EVERY_REQUEST) });
        }
        item.broken = self.errors.count() > errors_before;
        Some(item)
    }
}
