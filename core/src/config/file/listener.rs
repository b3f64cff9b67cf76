//! The listeners of a file.

use std::rc::Rc;

use super::{At, FilePolicy, ITEMS_MAX, Structure, Walk, entry, join};
use crate::config::error::ConfigError;
use crate::config::layer::Own;
use crate::config::settings::Scope;
use crate::config::tree::{Mark, Node};

#[derive(Debug)]
pub(in crate::config) struct FileListener {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub bind: Option<At<String>>,
    /// `tcp.to`
    pub tcp_to: Option<At<String>>,
    /// `tcp.sni`: names and clusters.
    pub tcp_sni: Vec<(At<String>, At<String>)>,
    /// `tls.passthrough`: names and clusters.
    pub passthrough: Vec<(At<String>, At<String>)>,
    /// `None`: plain text.
    pub tls: Option<FileTls>,
    pub policies: Vec<FilePolicy>,
    pub own: Own,
}

/// What a listener's `tls` has besides settings.
#[derive(Debug)]
pub(in crate::config) struct FileTls {
    pub at: Mark,
    pub certificates: Vec<FileCertificate>,
}

#[derive(Debug)]
pub(in crate::config) struct FileCertificate {
    pub at: Mark,
    pub cert: Option<At<String>>,
    pub key: Option<At<String>>,
    pub ocsp: Option<At<String>>,
    pub hosts: Vec<At<String>>,
    pub client_auth: Option<FileClientAuth>,
}

/// What clients of one certificate are asked for; what is left out is as for the listener.
#[derive(Debug)]
pub(in crate::config) struct FileClientAuth {
    pub mode: Option<At<String>>,
    pub ca: Option<Vec<At<String>>>,
    pub crl: Option<Vec<At<String>>>,
    pub identity: Option<Vec<At<String>>>,
}

const LISTENER: Structure = Structure {
    scope: Scope::Listener,
    keys: &["name", "bind", "policies", "tcp.to", "tcp.sni", "tls.certificates", "tls.passthrough"],
    later: &[],
};
const CERTIFICATE: &[&str] = &["cert", "key", "ocsp", "hosts", "client_auth"];
const CLIENT_AUTH: &[&str] = &["mode", "ca", "crl", "identity"];
const CERTIFICATES_MAX: usize = 10_000;

impl Walk<'_> {
    pub(super) fn listener(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileListener> {
        let mut item = FileListener {
            index,
            at: node.at,
            name: None,
            bind: None,
            tls: None,
            tcp_to: None,
            tcp_sni: Vec::new(),
            passthrough: Vec::new(),
            policies: Vec::new(),
            own: Own::default(),
        };
        // A group without anything in it is there all the same.
        if let Some(tls) = entry(node, "tls") {
            item.tls = Some(FileTls { at: tls.key_at, certificates: Vec::new() });
        }
        for (key, path, node) in self.section(node, path, &LISTENER, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                "policies" => item.policies = self.policies(&node, &path),
                "tcp.to" => item.tcp_to = self.text(&node, &path, "the name of one cluster"),
                "tcp.sni" => item.tcp_sni = self.server_names(&node, &path),
                "tls.passthrough" => item.passthrough = self.server_names(&node, &path),
                "tls.certificates" => {
                    let certificates = self.each(&node, &path, CERTIFICATES_MAX, Self::certificate);
                    if let Some(tls) = &mut item.tls {
                        tls.certificates = certificates;
                    }
                }
                _ => {
                    item.bind = self.text(
                        &node,
                        &path,
                        "ADDRESS:PORT such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path",
                    )
                }
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        self.require(item.bind.is_some(), &item.at, path, "bind", node);
        Some(item)
    }

    /// Names and clusters: `{ shop.example.com: shop, "*.example.com": other }`
    fn server_names(&mut self, node: &Rc<Node>, path: &str) -> Vec<(At<String>, At<String>)> {
        let mut names = Vec::new();
        let Some(entries) = self.map(node, path) else { return names };
        if entries.len() > ITEMS_MAX {
            let (place, found) = (self.file.place(node.at), entries.len().to_string());
            self.errors.push(ConfigError::mismatch(place, path, format!("at most {ITEMS_MAX} names"), found));
            return names;
        }
        for entry in entries {
            let path = join(path, &entry.key);
            if let Some(cluster) = self.text(&entry.value, &path, "the name of one cluster") {
                names.push((At { value: entry.key.clone(), at: entry.key_at }, cluster));
            }
        }
        names
    }

    /// One item of `tls.certificates`.
    fn certificate(&mut self, _: usize, node: &Rc<Node>, path: &str) -> Option<FileCertificate> {
        let mut item = FileCertificate {
            at: node.at,
            cert: None,
            key: None,
            ocsp: None,
            hosts: Vec::new(),
            client_auth: None,
        };
        for (key, path, node) in self.keys(node, path, CERTIFICATE, &[])? {
            match key {
                "cert" => item.cert = self.path(&node, &path),
                "key" => item.key = self.path(&node, &path),
                "ocsp" => item.ocsp = self.path(&node, &path),
                "client_auth" => item.client_auth = self.client_auth(&node, &path),
                _ => item.hosts = self.texts(&node, &path, "a host name").unwrap_or_default(),
            }
        }
        self.require(item.cert.is_some(), &item.at, path, "cert", node);
        self.require(item.key.is_some(), &item.at, path, "key", node);
        Some(item)
    }

    fn client_auth(&mut self, node: &Rc<Node>, path: &str) -> Option<FileClientAuth> {
        let mut auth = FileClientAuth { mode: None, ca: None, crl: None, identity: None };
        for (key, path, node) in self.keys(node, path, CLIENT_AUTH, &[])? {
            match key {
                "mode" => auth.mode = self.text(&node, &path, "none, optional, required"),
                "ca" => auth.ca = self.texts(&node, &path, "the path of a file"),
                "crl" => auth.crl = self.texts(&node, &path, "the path of a file"),
                _ => auth.identity = self.texts(&node, &path, "a SPIFFE ID"),
            }
        }
        Some(auth)
    }
}
