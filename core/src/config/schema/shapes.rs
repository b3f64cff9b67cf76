//! What a file has besides settings and policies.

use ringway_policies::fields::Kind as FieldKind;

use super::super::settings::Scope;
use super::super::value::Kind;

/// A key of a mapping, with dots where it is in a group.
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// A sentence or two; may be empty where the name says it.
    pub help: &'static str,
}

pub(super) enum Shape {
    /// A value as settings have it.
    Setting(Kind),
    /// A value as policies have it.
    Field(FieldKind),
    AnyOf(&'static [Shape]),
    List(&'static Shape),
    /// A mapping from any name.
    MapOf(&'static Shape),
    Object(&'static [Key]),
    Policies,
}

use Shape::{AnyOf, Field, List, MapOf, Object, Policies, Setting};

const TEXT: Shape = Setting(Kind::Text);
const TEXTS: Shape = Field(FieldKind::Texts);

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, zero: None }
}

const fn key(name: &'static str, shape: Shape, help: &'static str) -> Key {
    Key { name, shape, required: false, help }
}

const fn needed(name: &'static str, shape: Shape, help: &'static str) -> Key {
    Key { name, shape, required: true, help }
}

/// Groups that may be written as the value of one of their settings.
pub(super) const SHORT_FORMS: &[(Scope, &str, &str)] = &[
    (Scope::Process, "admin", "admin.bind"),
    (Scope::Process, "access_log", "access_log.target"),
    (Scope::Cluster, "tls", "tls.enabled"),
];

pub(super) const TOP: &[Key] = &[
    key(
        "include",
        TEXTS,
        "A directory of *.yaml files, or a file, or several of them, that are a part of this configuration.",
    ),
    key("policies", Policies, "For every request, before those of listeners and routes."),
];

pub(super) const LISTENER: &[Key] = &[
    needed("name", TEXT, "For logs, statistics and `routes[].listeners`."),
    needed("bind", TEXT, "ADDRESS:PORT, :PORT for every address, or unix:/path."),
    key("policies", Policies, "For the requests of this listener."),
    key("tcp.to", TEXT, "The cluster of a listener of TCP."),
    key("tcp.sni", MapOf(&TEXT), "Clusters by the server name of TLS."),
    key("tls.certificates", List(&Object(CERTIFICATE)), "Chosen by the server name."),
    key(
        "tls.passthrough",
        MapOf(&TEXT),
        "Clusters by server names whose connections are passed on as they are.",
    ),
];

const CERTIFICATE: &[Key] = &[
    needed("cert", TEXT, "A file (PEM) of a certificate with its chain."),
    needed("key", TEXT, "The file of its key."),
    key("ocsp", TEXT, "The file of an OCSP response to staple."),
    key("hosts", TEXTS, "The hosts that it is for, instead of those that it names."),
    key("client_auth", Object(CLIENT_AUTH), "What clients of these hosts are asked for, where it differs."),
];

const CLIENT_AUTH: &[Key] = &[
    key("mode", Field(FieldKind::Choice(&["none", "optional", "required"])), ""),
    key("ca", TEXTS, ""),
    key("crl", TEXTS, ""),
    key("identity", TEXTS, ""),
];

pub(super) const CLUSTER: &[Key] = &[
    needed("name", TEXT, "What `to` of routes names."),
    key(
        "endpoints",
        AnyOf(&[TEXT, List(&AnyOf(&[TEXT, Object(ENDPOINT)]))]),
        "HOST:PORT with an address or a name, or unix:/path. A cluster has either this key or one of the next three.",
    ),
    key("dns", TEXT, "NAME:PORT: each address of the name is an endpoint."),
    key("srv", TEXT, "The name of a service (DNS SRV): each host and port that it has is an endpoint."),
    key("endpoints_file", TEXT, "A file with a list `endpoints`, which is watched."),
];

const ENDPOINT: &[Key] = &[
    needed("address", TEXT, "HOST:PORT or unix:/path."),
    key("weight", Setting(count(1, 10_000)), "Its share of requests."),
    key("priority", Setting(count(0, 127)), "0 is used before 1, and so on."),
    key("zone", TEXT, "Where it is."),
];

pub(super) const ROUTE: &[Key] = &[
    needed("name", TEXT, "For logs and statistics."),
    key(
        "to",
        AnyOf(&[TEXT, Object(TARGET), List(&AnyOf(&[TEXT, Object(TARGET)]))]),
        "A cluster, or several with their weights.",
    ),
    key("mirror.cluster", TEXT, "The cluster that copies of requests go to."),
    key(
        "mirror.percent",
        Field(FieldKind::Percent),
        "The share of requests that is copied; all without this key.",
    ),
    key("mirror.to", List(&Object(MIRROR)), "Several clusters that copies of requests go to."),
    key("policies", Policies, "For the requests of this route."),
    key("listeners", TEXTS, "The listeners that it is on; all without this key."),
    key(
        "hosts",
        TEXTS,
        "shop.example.com, or *.example.com for every host below; every host without this key.",
    ),
    key("match", List(&Object(MATCH)), "Any of these; everything without this key."),
];

const MIRROR: &[Key] = &[
    needed("cluster", TEXT, ""),
    key(
        "percent",
        Field(FieldKind::Percent),
        "The share of requests that is copied to it; all without this key.",
    ),
];

const TARGET: &[Key] = &[
    needed("cluster", TEXT, ""),
    key("weight", Setting(count(0, 1_000_000)), "Its share of the sum of all weights."),
    key("policies", Policies, "For the requests that go there."),
];

const MATCH: &[Key] = &[
    key("path", Object(PATH), "Every path without this key."),
    key("methods", TEXTS, "Any of these; every method without this key."),
    key("headers", MapOf(&VALUE), "Each of these headers."),
    key("query", MapOf(&VALUE), "Each of these parameters of the query."),
    key("cookies", MapOf(&VALUE), "Each of these cookies."),
    key("clients", TEXTS, "Blocks of client addresses."),
    key("time", Object(TIME), "When the match holds."),
    key("percent", TEXT, "A share of the requests that fit otherwise, such as 5%."),
    key("grpc", Object(GRPC), "Calls of gRPC, instead of a path."),
];
const PATH: &[Key] = &[
    key("prefix", TEXT, "Whole segments."),
    key("exact", TEXT, "The whole path."),
    key("template", TEXT, "Segments with variables: /users/{id}, and {+rest} at the end."),
    key("regex", TEXT, "A regular expression that the whole path matches."),
];
const VALUE: Shape = AnyOf(&[
    TEXT,
    Object(&[
        key("exact", TEXT, "The whole value."),
        key("regex", TEXT, "A regular expression that the whole value matches."),
        key("present", Setting(Kind::Bool), "Whether it has to be there, or not."),
    ]),
]);
const TIME: &[Key] = &[
    key("days", TEXTS, "mon to sun."),
    key("from", TEXT, "A time of the day such as 09:30."),
    key("to", TEXT, "The time of the day at which it ends."),
    key("utc_offset", TEXT, "Of days and times of the day, such as +02:00."),
    key("start", TEXT, "A moment such as 2026-11-27T18:00:00Z."),
    key("end", TEXT, "The moment at which it ends."),
];
const GRPC: &[Key] =
    &[key("service", TEXT, "Such as shop.v1.Payments."), key("method", TEXT, "Of that service, or of any.")];
