//! Telling of an exchange why it went where it went, to a client that shows the token for it.
//!
//! **Invariant:** without the right token nothing of an exchange is different: the field is not passed on either way.

use ringway_policies::changes::HeaderChanges;
use ringway_policies::policy::PolicyConfig;
use ringway_protocols::message::FieldKind;

use super::Exchange;
use crate::config::{RouteConfig, TargetConfig};
use crate::error::Reason;
use crate::explain::live::{ASKED_BY, Told};
use crate::explain::routes::Spot;
use crate::secret;

impl Exchange<'_> {
    /// Whether the client may be told.
    pub(super) fn begin_explaining(&self) {
        let Some(token) = &self.view.config().process.explain_token else { return };
        let fields = self.head.fields.iter().filter(|field| field.kind == FieldKind::XRingwayExplain);
        let mut asked = fields.filter(|field| field.name.of(self.bytes).eq_ignore_ascii_case(ASKED_BY));
        // One token: with several it would not be said which of them counts.
        if let (Some(field), None) = (asked.next(), asked.next()) {
            self.explaining.set(secret::equal(field.value.of(self.bytes), token.as_bytes()));
        }
    }

    /// Adds what is told to the response. Not part of an exchange that is not explained, nor of its future.
    #[cold]
    pub(super) fn explain_in(&self, headers: &mut HeaderChanges) {
        let (config, record) = (self.view.config(), &self.record);
        let route = record.route.get();
        let routed = route.is_some() || record.reason.get() == Some(Reason::NoRoute);
        let config_of_route = route.and_then(|index| config.routes.get(index)).map(|route| &**route);
        let targets = config_of_route.map(|route| &route.targets.list);
        let target = targets.zip(record.target.get()).and_then(|(list, index)| list.get(index));
        let cluster = target.and_then(|target| self.view.clusters.get(target.cluster));
        let normal_path = self.normal_path.borrow();
        let picked = record.endpoint.borrow().as_ref().map(|(index, _)| *index);
        let passed = self.policies.borrow().as_ref().map_or(0, |state| state.passed);
        Told {
            config,
            listener: self.listener,
            client: self.client_ip.get(),
            request: self.route_request(normal_path.as_deref()),
            changed_path: normal_path.is_some(),
            spot: route.map(|route| Spot { route, item: record.matched.get() }),
            routed,
            policies: self.policy_names(config_of_route, target),
            passed,
            target,
            targets: targets.map_or(0, Vec::len),
            endpoints: cluster.map(|cluster| cluster.standings(self.worker)).unwrap_or_default(),
            picked,
            attempts: record.attempts.get(),
            refusal: record.reason.get(),
        }
        .add_to(headers);
    }

    /// The policies of the exchange in their order, each with where it stands.
    fn policy_names(
        &self,
        route: Option<&RouteConfig>,
        target: Option<&TargetConfig>,
    ) -> Vec<(&'static str, &'static str)> {
        let lists: [(&'static str, &[PolicyConfig]); 4] = [
            ("global", &self.view.config().policies),
            ("listener", &self.listener.policies),
            ("route", route.map(|route| route.policies.as_slice()).unwrap_or_default()),
            ("target", target.map(|target| target.policies.as_slice()).unwrap_or_default()),
        ];
        let named = lists.into_iter().flat_map(|(level, list)| list.iter().map(move |it| (level, it.name())));
        named.collect()
    }
}
