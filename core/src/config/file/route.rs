//! The routes of a file.

use std::rc::Rc;
use std::sync::Arc;

use ringway_policies::route::RouteMatch;

use super::route_target::FileTarget;
use super::{At, FilePolicy, Structure, Walk, entry};
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
    pub mirror: Option<At<String>>,
    /// How many of a million requests are copied to the mirror.
    pub mirror_ppm: Option<u32>,
    pub policies: Vec<FilePolicy>,
    pub own: Own,
    /// Something in it is wrong: what it matches is not known.
    pub(in crate::config) broken: bool,
}

const ROUTE: Structure = Structure {
    scope: Scope::Route,
    keys: &["name", "listeners", "hosts", "match", "policies", "to", "mirror.cluster", "mirror.percent"],
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
            mirror: None,
            mirror_ppm: None,
            policies: Vec::new(),
            own: Own::default(),
            broken: false,
        };
        let errors_before = self.errors.count();
        for (key, path, node) in self.section(node, path, &ROUTE, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                "listeners" => {
                    item.listeners = self.texts(&node, &path, "the name of a listener").unwrap_or_default()
                }
                "hosts" => item.hosts = self.texts(&node, &path, "a host name").unwrap_or_default(),
                "policies" => item.policies = self.policies(&node, &path),
                "match" => item.matches = self.matches(&node, &path),
                "mirror.cluster" => item.mirror = self.text(&node, &path, "the name of a cluster"),
                "mirror.percent" => item.mirror_ppm = self.mirror_share(&node, &path),
                _ => item.to = self.targets(&node, &path),
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        // What always answers needs no cluster.
        let answers = item.policies.iter().any(|policy| ANSWERING.contains(&policy.kind.name));
        self.require(answers || !item.to.is_empty(), &item.at, path, "to", node);
        if let Some(mirror) =
            entry(node, "mirror").filter(|mirror| matches!(mirror.value.content, Content::Map(_)))
        {
            let path = format!("{path}.mirror");
            self.require(item.mirror.is_some(), &mirror.key_at, &path, "cluster", &mirror.value);
        }
        item.broken = self.errors.count() > errors_before;
        Some(item)
    }
}
