//! Who may come in, and what they may do.

use super::ca_bundle;
use super::section::{Reader, Section};

/// `incomingAuth`.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// How callers show who they are.
    pub kind: IncomingKind,
    /// What decides what they may do; nothing: they may do everything.
    pub authorization: Option<Authorization>,
}

/// How callers show who they are.
#[derive(Clone, Debug)]
pub enum IncomingKind {
    /// They do not.
    Anonymous,
    /// As the user of this machine.
    Local,
    /// With a token.
    Oidc(Box<Oidc>),
}

/// Whose tokens are believed.
#[derive(Clone, Debug, Default)]
pub struct Oidc {
    /// Who makes them.
    pub issuer: String,
    /// For whom.
    pub audience: String,
    /// Who we are to the issuer.
    pub client_id: Option<String>,
    /// The variable that holds our secret.
    pub client_secret_env: Option<String>,
    /// What is protected, as its metadata says.
    pub resource: Option<String>,
    /// Where its keys are, if not where discovery says.
    pub jwks_url: Option<String>,
    /// Where opaque tokens are looked up.
    pub introspection_url: Option<String>,
    /// What a token must allow.
    pub scopes: Vec<String>,
    /// Whether it may be at a private address. One of two settings suffices.
    pub allows_private_address: bool,
    /// Whether it may be without TLS.
    pub allows_http: bool,
    /// Certificates that it may show besides the usual ones.
    pub ca_bundle: Option<String>,
}

/// Cedar policies.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// The policies.
    pub policies: Vec<String>,
    /// The entities, as JSON.
    pub entities: String,
    /// Whose token's claims are used, if not the caller's own.
    pub primary_upstream_provider: Option<String>,
    /// The claim that holds groups.
    pub group_claim: Option<String>,
    /// The claim that holds roles.
    pub role_claim: Option<String>,
    /// What a group is to the policies.
    pub group_entity_type: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Oidc,
    Local,
    Anonymous,
}

pub(super) fn read(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Incoming {
    let mut incoming = Incoming { kind: IncomingKind::Anonymous, authorization: None };
    let Some(mut section) = root.required_section(reader, "incomingAuth") else { return incoming };
    let kinds = [("oidc", Kind::Oidc), ("local", Kind::Local), ("anonymous", Kind::Anonymous)];
    let kind = section.required_word(reader, "type", &kinds);
    let oidc = section.section(reader, "oidc").map(|oidc| read_oidc(oidc, reader));
    match (kind, oidc) {
        (Some(Kind::Oidc), Some(oidc)) => incoming.kind = IncomingKind::Oidc(Box::new(oidc)),
        (Some(Kind::Oidc), None) if !section.has("oidc") => {
            section.say(reader, "oidc", "is required when type is 'oidc'");
        }
        (Some(Kind::Local), _) => incoming.kind = IncomingKind::Local,
        _ => {}
    }
    if let Some(authorization) = section.section(reader, "authz") {
        incoming.authorization = read_authorization(authorization, reader);
    }
    section.finish(reader);
    incoming
}

fn read_oidc(mut section: Section<'_>, reader: &mut Reader<'_>) -> Oidc {
    let mut flag = |section: &mut Section<'_>, name| section.flag(reader, name).unwrap_or_default();
    let private =
        ["protectedResourceAllowPrivateIp", "jwksAllowPrivateIp"].map(|name| flag(&mut section, name));
    let allows_http = flag(&mut section, "insecureAllowHttp");
    let oidc = Oidc {
        issuer: section.required(reader, "issuer"),
        audience: section.required(reader, "audience"),
        client_id: section.text(reader, "clientId"),
        client_secret_env: section.text(reader, "clientSecretEnv"),
        resource: section.text(reader, "resource"),
        jwks_url: section.text(reader, "jwksUrl"),
        introspection_url: section.text(reader, "introspectionUrl"),
        scopes: section.texts(reader, "scopes"),
        allows_private_address: private.contains(&true),
        allows_http,
        ca_bundle: ca_bundle(&mut section, reader),
    };
    section.finish(reader);
    oidc
}

fn read_authorization(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<Authorization> {
    let is_cedar = section.required_word(reader, "type", &[("cedar", true), ("none", false)])?;
    let text = |section: &mut Section<'_>, reader: &mut Reader<'_>, name, default: &str| {
        section.text(reader, name).unwrap_or_else(|| default.to_owned())
    };
    let authorization = Authorization {
        policies: section.texts(reader, "policies"),
        entities: text(&mut section, reader, "entitiesJson", "[]"),
        primary_upstream_provider: section.text(reader, "primaryUpstreamProvider"),
        group_claim: section.text(reader, "groupClaimName"),
        role_claim: section.text(reader, "roleClaimName"),
        group_entity_type: text(&mut section, reader, "groupEntityType", "THVGroup"),
    };
    if is_cedar && authorization.policies.is_empty() {
        section.say(reader, "policies", "are required when type is 'cedar'");
    }
    section.finish(reader);
    is_cedar.then_some(authorization)
}
