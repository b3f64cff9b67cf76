//! Where a configuration comes from, so that a reload can read it again.

use std::path::PathBuf;

use super::layer::Origin;
use super::reference::Variables;
use super::settings::{Id, SETTINGS};

/// What `ringway run` listens on when nothing else is said.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// The arguments and variables of this process that make its configuration.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The file, if there is one: it is read again on a reload.
    pub path: Option<PathBuf>,
    /// Whether `path` comes from the environment.
    pub path_from_env: bool,
    /// Addresses of `--listen`.
    pub listen: Vec<Given>,
    /// Origins of `--upstream`; none with no file either means the embedded demo origin.
    pub upstream: Vec<Given>,
    /// Settings given as flags, not read yet.
    pub flags: Vec<(Id, String)>,
    /// Settings given as variables, not read yet.
    pub env: Vec<(Id, String)>,
    /// What `${NAME}` in the file stands for.
    pub variables: Variables,
    /// `/` outside of tests: where `/proc` and `/sys` are.
    pub root: PathBuf,
}

/// A text with where it was given.
#[derive(Debug, Clone)]
pub struct Given {
    pub text: String,
    pub origin: Origin,
    /// The flag with its dashes, or the variable.
    pub name: &'static str,
}

impl Default for ConfigSource {
    fn default() -> Self {
        ConfigSource {
            path: None,
            path_from_env: false,
            listen: Vec::new(),
            upstream: Vec::new(),
            flags: Vec::new(),
            env: Vec::new(),
            variables: Variables::Process,
            root: PathBuf::from("/"),
        }
    }
}

impl ConfigSource {
    /// Whether this source asks for the embedded demo origin as its only upstream.
    pub fn wants_demo_origin(&self) -> bool {
        self.path.is_none() && self.upstream.is_empty()
    }

    /// A source of these addresses and origins, for tests and embedding.
    pub fn simple(listen: &[&str], upstream: &[&str]) -> Self {
        let given = |texts: &[&str], name: &'static str| {
            texts.iter().map(|text| Given { text: (*text).to_owned(), origin: Origin::Flag, name }).collect()
        };
        ConfigSource {
            listen: given(listen, "--listen"),
            upstream: given(upstream, "--upstream"),
            ..Self::default()
        }
    }

    /// A source of one file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        ConfigSource { path: Some(path.into()), ..Self::default() }
    }

    /// Takes what the environment sets and flags do not. Variables that nobody knows are returned.
    pub fn take_env(&mut self, vars: impl Iterator<Item = (String, String)>) -> Vec<String> {
        let (listen_given, upstream_given) = (!self.listen.is_empty(), !self.upstream.is_empty());
        let mut unknown = Vec::new();
        for (name, value) in vars.filter(|(name, value)| name.starts_with("RINGWAY_") && !value.is_empty()) {
            let list = |name: &'static str| {
                let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
                items
                    .map(|text| Given { text: text.to_owned(), origin: Origin::Env, name })
                    .collect::<Vec<_>>()
            };
            match name.as_str() {
                "RINGWAY_CONFIG" if self.path.is_none() => {
                    self.path = Some(PathBuf::from(&value));
                    self.path_from_env = true;
                }
                "RINGWAY_LISTEN" if !listen_given => self.listen = list("RINGWAY_LISTEN"),
                "RINGWAY_UPSTREAM" if !upstream_given => self.upstream = list("RINGWAY_UPSTREAM"),
                "RINGWAY_CONFIG" | "RINGWAY_LISTEN" | "RINGWAY_UPSTREAM" => {}
                _ => match SETTINGS.iter().find(|setting| setting.env() == name) {
                    Some(setting) => self.env.push((setting.id, value)),
                    None => unknown.push(name),
                },
            }
        }
        unknown
    }

    pub(super) fn listen_or_default(&self) -> Vec<Given> {
        if self.listen.is_empty() {
            return vec![Given {
                text: LISTEN_DEFAULT.to_owned(),
                origin: Origin::Default,
                name: "--listen",
            }];
        }
        self.listen.clone()
    }

    pub(super) fn path_place(&self) -> &'static str {
        if self.path_from_env { "RINGWAY_CONFIG" } else { "--config" }
    }
}
