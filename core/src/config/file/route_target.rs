//! Where a route of a file leads: `to`.

use std::rc::Rc;

use super::{At, FilePolicy, Walk};
use crate::config::error::{ConfigError, quote};
use crate::config::target::WEIGHT_MAX;
use crate::config::tree::{Content, Mark, Node};

/// Clusters that one route may lead to.
const TARGETS_MAX: usize = 64;
const TARGET: &[&str] = &["cluster", "weight", "policies"];
const EXPECTED: &str = "the name of a cluster, or a list of { cluster: NAME, weight: NUMBER }";

/// One item of `to`.
#[derive(Debug)]
pub(in crate::config) struct FileTarget {
    /// The path of the name.
    pub key: String,
    pub at: Mark,
    pub cluster: At<String>,
    pub weight: u32,
    pub policies: Vec<FilePolicy>,
}

impl Walk<'_> {
    /// `to: NAME`, `to: [NAME, NAME]` or `to: [{ cluster: NAME, weight: 90 }, …]`.
    pub(super) fn targets(&mut self, node: &Rc<Node>, path: &str) -> Vec<FileTarget> {
        match &node.content {
            Content::List(items) if items.is_empty() => {
                let place = self.file.place(node.at);
                self.errors.push(ConfigError::mismatch(place, path, "at least one cluster", "none"));
                Vec::new()
            }
            Content::List(_) => {
                self.each(node, path, TARGETS_MAX, |walk, _, node, path| walk.target(node, path))
            }
            _ => self.target(node, path).into_iter().collect(),
        }
    }

    fn target(&mut self, node: &Rc<Node>, path: &str) -> Option<FileTarget> {
        if !matches!(node.content, Content::Map(_)) {
            let cluster = self.text(node, path, EXPECTED)?;
            return Some(FileTarget {
                key: path.to_owned(),
                at: node.at,
                cluster,
                weight: 1,
                policies: Vec::new(),
            });
        }
        let (mut cluster, mut weight, mut key, mut policies) = (None, 1, String::new(), Vec::new());
        for (name, path, node) in self.keys(node, path, TARGET, &[])? {
            match name {
                "cluster" => {
                    cluster = self.text(&node, &path, "the name of a cluster");
                    key = path;
                }
                "policies" => policies = self.policies(&node, &path),
                _ => weight = self.weight(&node, &path).unwrap_or(1),
            }
        }
        self.require(cluster.is_some(), &node.at, path, "cluster", node);
        Some(FileTarget { key, at: node.at, cluster: cluster?, weight, policies })
    }

    fn weight(&mut self, node: &Node, path: &str) -> Option<u32> {
        let expected = format!("a whole number from 0 to {WEIGHT_MAX}");
        let text = self.text(node, path, &expected)?;
        let number = text.value.parse::<u32>().ok().filter(|weight| *weight <= WEIGHT_MAX);
        if number.is_none() {
            let hint =
                text.value.ends_with('%').then(|| "weights are shares of their sum: write `90`".to_owned());
            let error = ConfigError::mismatch(self.file.place(text.at), path, expected, quote(&text.value));
            self.errors.push(error.hint(hint));
        }
        number
    }
}
