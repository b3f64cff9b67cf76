//! `ip_access`: who may come in, by address.

use std::sync::Arc;

use crate::cidr::CidrSet;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::{Configure, Denied, Hooks, RequestContext, Scope, Verdict};

pub const HELP: &str =
    "Allows and refuses clients by their address, which is that behind trusted forwarders.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "allow",
        kind: Kind::Cidrs,
        need: Need::Optional,
        help: "Only these blocks may come in. Without it, all that are not refused.",
    },
    Field {
        name: "deny",
        kind: Kind::Cidrs,
        need: Need::Optional,
        help: "These blocks may not, whatever `allow` says.",
    },
    Field {
        name: "without_address",
        kind: Kind::Choice(&["deny", "allow"]),
        need: Need::Default("deny"),
        help: "What becomes of clients that have no address, as on a UNIX socket.",
    },
];

#[derive(Debug, PartialEq)]
pub struct IpAccessConfig {
    allow: Option<CidrSet>,
    deny: CidrSet,
    without_address: bool,
}

impl Configure for IpAccessConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let (allow, deny) = (values.cidrs("allow").cloned(), values.cidrs("deny").cloned());
        if allow.is_none() && deny.is_none() {
            return Err(vec![Problem::new("", "`allow` or `deny`", "none of them")]);
        }
        let without_address = values.text("without_address") == "allow";
        Ok(IpAccessConfig { allow, deny: deny.unwrap_or_default(), without_address })
    }
}

pub struct IpAccess(Arc<IpAccessConfig>);

impl IpAccess {
    pub fn new(config: &Arc<IpAccessConfig>) -> Self {
        IpAccess(Arc::clone(config))
    }
}

impl Hooks for IpAccess {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let allowed = match request.client {
            Some(client) => {
                !config.deny.contains(client)
                    && config.allow.as_ref().is_none_or(|allowed| allowed.contains(client))
            }
            None => config.without_address,
        };
        if allowed { Verdict::Continue } else { Verdict::Deny(Denied::Forbidden.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::Cidr;
    use crate::fields::Value;
    use crate::policy::fixture::{Request, build, text, values, wrong};

    fn cidrs(blocks: &[&str]) -> Value {
        let blocks: Vec<Cidr> = blocks.iter().map(|block| block.parse().expect("a block")).collect();
        Value::Cidrs(CidrSet::new(&blocks))
    }

    fn allowed(fields: Values, client: &str) -> bool {
        let policy = IpAccess::new(&build(&fields));
        let mut request = Request::get("/");
        request.client(client);
        match request.ask(&policy) {
            Verdict::Continue => true,
            Verdict::Deny(denial) => {
                assert_eq!(denial.kind, Denied::Forbidden);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_refused_is_refused_whatever_is_allowed() {
        let both = values([("allow", cidrs(&["10.0.0.0/8", "fd00::/8"])), ("deny", cidrs(&["10.1.0.0/16"]))]);
        let deny = values([("deny", cidrs(&["203.0.113.0/24"]))]);
        for (fields, client, expected) in [
            (&both, "10.0.0.1", true),
            (&both, "::ffff:10.0.0.1", true),
            (&both, "10.1.2.3", false),
            (&both, "::ffff:10.1.2.3", false),
            (&both, "192.0.2.1", false),
            (&both, "fd00::1", true),
            (&both, "2001:db8::1", false),
            (&deny, "203.0.113.9", false),
            (&deny, "::ffff:203.0.113.9", false),
            (&deny, "203.0.114.9", true),
            (&deny, "2001:db8::1", true),
        ] {
            assert_eq!(allowed(fields.clone(), client), expected, "{client}");
        }
    }

    #[test]
    fn an_empty_list_allows_nobody() {
        assert!(!allowed(values([("allow", cidrs(&[]))]), "10.0.0.1"));
    }

    #[test]
    fn a_client_without_an_address_is_refused_unless_said_otherwise() {
        let fields = values([("deny", cidrs(&["10.0.0.0/8"]))]);
        assert!(!allowed(fields.clone(), "none"));
        let mut fields = fields;
        fields.insert("without_address", text("allow"));
        assert!(allowed(fields, "none"));
    }

    #[test]
    fn one_of_the_lists_has_to_be_there() {
        assert_eq!(wrong::<IpAccessConfig>(&values([])), [""]);
    }
}
