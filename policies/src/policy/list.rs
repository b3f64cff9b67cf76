//! The one list of policies. To add a policy: its file, a line here, a test file and a section of `docs/policies.md`.

use std::sync::Arc;

use super::{Configure, EndContext, Hooks, RequestContext, ResponseContext, Scope, Verdict};
use crate::fields::{Field, Problem, Values};
use crate::watched::WatchedFile;

#[derive(Debug)]
/// What is known of a kind of policy before one is built.
pub struct PolicyKind {
    /// The key in a file, and the name of the policy's own file and section.
    pub name: &'static str,
    pub fields: &'static [Field],
    /// One or two sentences.
    pub help: &'static str,
    build: fn(&Values, Scope<'_>) -> Result<PolicyConfig, Vec<Problem>>,
}

impl PolicyKind {
    /// # Errors
    /// All that is wrong with the values.
    pub fn build(&self, values: &Values, scope: Scope<'_>) -> Result<PolicyConfig, Vec<Problem>> {
        (self.build)(values, scope)
    }
}

macro_rules! policies {
    ($($name:ident: $policy:ident, $config:ident;)*) => {
        /// Every kind of policy, in the order of their names.
        pub const KINDS: &[PolicyKind] = &[$(PolicyKind {
            name: stringify!($name),
            fields: crate::$name::FIELDS,
            help: crate::$name::HELP,
            build: |values, scope| {
                let config = <crate::$name::$config as Configure>::build(values, scope)?;
                Ok(PolicyConfig::$policy(Arc::new(config)))
            },
        }),*];

        /// A policy of the configuration: immutable, shared by all workers.
        #[derive(Debug, Clone)]
        pub enum PolicyConfig {
            $($policy(Arc<crate::$name::$config>),)*
        }

        /// A policy of one worker.
        pub enum Policy {
            $($policy(crate::$name::$policy),)*
        }

        impl PolicyConfig {
            /// The key in a file.
            pub fn name(&self) -> &'static str {
                match self { $(PolicyConfig::$policy(_) => stringify!($name),)* }
            }

            /// Takes over what `old` has counted, where it is the same policy with parameters that allow it.
            pub fn adopt(&mut self, old: &PolicyConfig) {
                match (self, old) {
                    $((PolicyConfig::$policy(new), PolicyConfig::$policy(old)) => {
                        // Not yet shared: a configuration is put together by one thread.
                        if let Some(new) = Arc::get_mut(new) {
                            new.adopt(old);
                        }
                    })*
                    #[allow(unreachable_patterns, reason = "with a single policy there are no others")]
                    _ => {}
                }
            }

            /// The file that it was built from, if it is to be followed.
            pub fn watched(&self) -> Option<&dyn WatchedFile> {
                match self { $(PolicyConfig::$policy(config) => config.watched(),)* }
            }

            /// The worker's own.
            pub fn instance(&self) -> Policy {
                match self { $(PolicyConfig::$policy(config) => Policy::$policy(crate::$name::$policy::new(config)),)* }
            }
        }

        impl Policy {
            /// The key in a file.
            pub fn name(&self) -> &'static str {
                match self { $(Policy::$policy(_) => stringify!($name),)* }
            }

            pub fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
                match self { $(Policy::$policy(policy) => policy.on_request(request),)* }
            }

            pub fn on_response(&self, response: &mut ResponseContext<'_>) {
                match self { $(Policy::$policy(policy) => policy.on_response(response),)* }
            }

            /// Once for each policy whose `on_request` ran.
            pub fn on_end(&self, end: &EndContext) {
                match self { $(Policy::$policy(policy) => policy.on_end(end),)* }
            }
        }
    };
}

policies! {
    api_key: ApiKey, ApiKeyConfig;
    api_version: ApiVersion, ApiVersionConfig;
    body_size: BodySize, BodySizeConfig;
    compress: Compress, CompressConfig;
    concurrency_limit: ConcurrencyLimit, ConcurrencyLimitConfig;
    basic_auth: BasicAuth, BasicAuthConfig;
    cors: Cors, CorsConfig;
    fault: Fault, FaultConfig;
    fixed_response: FixedResponse, FixedResponseConfig;
    ip_access: IpAccess, IpAccessConfig;
    rate_limit: RateLimit, RateLimitConfig;
    redirect: Redirect, RedirectConfig;
    request_headers: RequestHeaders, RequestHeadersConfig;
    response_headers: ResponseHeaders, ResponseHeadersConfig;
    rewrite: Rewrite, RewriteConfig;
}
