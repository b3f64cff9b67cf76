//! The routes of a file.

use std::rc::Rc;

use super::route_target::FileTarget;
use super::{At, FilePolicy, ITEMS_MAX, Structure, Walk};
use crate::config::layer::Own;
use crate::config::settings::Scope;
use crate::config::tree::{Mark, Node};

#[derive(Debug)]
pub(in crate::config) struct FileRoute {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub listeners: Vec<At<String>>,
    pub hosts: Vec<At<String>>,
    /// Empty: every path.
    pub prefixes: Vec<At<String>>,
    pub to: Vec<FileTarget>,
    pub policies: Vec<FilePolicy>,
    pub own: Own,
    /// Something in it is wrong: what it matches is not known.
    pub(in crate::config) broken: bool,
}

const ROUTE: Structure = Structure {
    scope: Scope::Route,
    keys: &["name", "listeners", "hosts", "match", "policies", "to"],
    later: &[("mirror", ""), ("rewrite", ""), ("redirect", "")],
};
/// Policies that let no request pass.
const ANSWERING: &[&str] = &["fixed_response", "redirect"];
const MATCH: (&[&str], &[(&str, &str)]) = (
    &["path"],
    &[
        ("methods", ""),
        ("headers", ""),
        ("query", ""),
        ("grpc", ""),
        ("host", "hosts are listed in the route: `hosts:`"),
    ],
);
const PATH: (&[&str], &[(&str, &str)]) =
    (&["prefix"], &[("exact", "only `prefix`"), ("regex", "only `prefix`")]);

impl Walk<'_> {
    pub(super) fn route(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileRoute> {
        let mut item = FileRoute {
            index,
            at: node.at,
            name: None,
            listeners: Vec::new(),
            hosts: Vec::new(),
            prefixes: Vec::new(),
            to: Vec::new(),
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
                "match" => item.prefixes = self.matches(&node, &path),
                _ => item.to = self.targets(&node, &path),
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        // What always answers needs no cluster.
        let answers = item.policies.iter().any(|policy| ANSWERING.contains(&policy.kind.name));
        self.require(answers || !item.to.is_empty(), &item.at, path, "to", node);
        item.broken = self.errors.count() > errors_before;
        Some(item)
    }

    /// `match: [{ path: { prefix: /x } }]`
    fn matches(&mut self, node: &Rc<Node>, path: &str) -> Vec<At<String>> {
        self.each(node, path, ITEMS_MAX, |walk, _, node, path| {
            let mut prefix = None;
            for (key, path, node) in walk.keys(node, path, MATCH.0, MATCH.1)? {
                if key != "path" {
                    continue;
                }
                for (_, path, node) in walk.keys(&node, &path, PATH.0, PATH.1)? {
                    prefix = walk.text(&node, &path, "a path such as /checkout");
                }
            }
            // A match without a path is any path.
            Some(prefix.unwrap_or(At { value: "/".to_owned(), at: node.at }))
        })
    }
}
