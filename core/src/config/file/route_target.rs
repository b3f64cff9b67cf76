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

/// Mirrors of one route: a byte of the exchange says which of them get a copy.
const MIRRORS_MAX: usize = 8;
const MIRROR: &[&str] = &["cluster", "percent"];
/// Of a million.
pub(super) const EVERY_REQUEST: u32 = 1_000_000;

/// A cluster that copies of requests go to.
#[derive(Debug)]
pub(in crate::config) struct FileMirror {
    /// The path of the name.
    pub key: String,
    pub cluster: At<String>,
    /// How many of a million requests are copied to it.
    pub share_ppm: u32,
}

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

    /// The items of `mirror: { to: [{ cluster: NAME, percent: 5 }, …] }`.
    pub(super) fn mirrors(&mut self, node: &Rc<Node>, path: &str) -> Vec<FileMirror> {
        self.each(node, path, MIRRORS_MAX, |walk, _, node, path| {
            let (mut cluster, mut share_ppm, mut key) = (None, EVERY_REQUEST, String::new());
            for (name, path, node) in walk.keys(node, path, MIRROR, &[])? {
                match name {
                    "cluster" => {
                        cluster = walk.text(&node, &path, "the name of a cluster");
                        key = path;
                    }
                    _ => share_ppm = walk.mirror_share(&node, &path).unwrap_or(EVERY_REQUEST),
                }
            }
            walk.require(cluster.is_some(), &node.at, path, "cluster", node);
            Some(FileMirror { key, cluster: cluster?, share_ppm })
        })
    }

    /// A share of requests such as `5` or `0.1%`, in millionths.
    pub(super) fn mirror_share(&mut self, node: &Node, path: &str) -> Option<u32> {
        const EXPECTED: &str = "a percentage from 0 to 100 with up to 4 decimals, such as 5 or 0.1";
        let text = self.text(node, path, EXPECTED)?;
        let share = parse_share(text.value.strip_suffix('%').unwrap_or(&text.value));
        if share.is_none() {
            let place = self.file.place(text.at);
            self.errors.push(ConfigError::mismatch(place, path, EXPECTED, quote(&text.value)));
        }
        share
    }
}

fn parse_share(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 4 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
    Some(whole * 10_000 + decimals).filter(|ppm| *ppm <= 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_up_to_four_decimals() {
        for (text, want) in [
            ("0", Some(0)),
            ("5", Some(50_000)),
            ("100", Some(1_000_000)),
            ("100.0", Some(1_000_000)),
            ("0.1", Some(1_000)),
            ("0.0001", Some(1)),
            ("12.5", Some(125_000)),
            ("100.0001", None),
            ("101", None),
            ("0.00001", None),
            (".5", None),
            ("5.", None),
            ("-1", None),
            ("", None),
            ("1e1", None),
        ] {
            assert_eq!(parse_share(text), want, "{text:?}");
        }
    }
}
