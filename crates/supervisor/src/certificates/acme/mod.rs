//! Certificates from an authority that asks for proof: ACME (RFC 8555), over HTTP (§8.3) or TLS (RFC 8737).
//!
//! The protocol is instant-acme's. rustls-acme would bring a second runtime (async-io), tells nothing of a refusal but its text, does
//! not try again where a nonce is refused, and knows no renewal information.

mod client;
mod ledger;
mod renewal;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use onebox_config::AcmeSettings;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use sha2::{Digest, Sha256};

use super::authority::write_whole;
use super::pair::{Pair, PairError};
use crate::engine::tls::CertificateData;

use client::Client;
use ledger::millis;
pub(crate) use ledger::{Ledger, Proof};
pub(crate) use renewal::{Predecessor, Window};

/// How long an authority may take for its questions, and then for the certificate.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often an authority is asked about a renewal: within these (RFC 9773 §4.3.3), and so often where it does not say.
const ASKS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(86_400);
const ASKS_USUALLY: Duration = Duration::from_secs(6 * 3600);
/// How often an order begins again because a nonce was refused, which is nobody's fault (RFC 8555 §6.5).
const NONCES: usize = 8;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeError {
    /// The authority's refusal, or the way to it.
    #[error(transparent)]
    Protocol(#[from] Error),
    /// It asks in no way that can be answered.
    #[error("the authority offers no {0} for {1}")]
    NoChallenge(&'static str, String),
    /// It did not believe.
    #[error("{host} is not proven: {reason}")]
    Unproven {
        /// The name.
        host: String,
        /// In the authority's words.
        reason: String,
    },
    /// What came is no certificate for the key.
    #[error("what the authority sent can't be used: {0}")]
    Pair(#[from] PairError),
    /// A key or a request for a certificate.
    #[error("no request could be made: {0}")]
    Crypto(#[from] rcgen::Error),
    /// The account, or what this machine trusts.
    #[error("{0}")]
    Local(String),
}

/// What a listener is to say while an authority asks.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Token { token: String, text: String },
    Handshake { host: String, certificate: CertificateData },
}

/// What is ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) hosts: &'a [String],
    pub(crate) proof: Proof,
    pub(crate) replaces: Option<&'a Predecessor>,
}

/// Puts answers in force.
pub(crate) type Publish = dyn Fn(Vec<Answer>) -> BoxFuture<'static, ()> + Send + Sync;

/// One authority and our account there.
pub(crate) struct Acme {
    settings: AcmeSettings,
    folder: PathBuf,
}

impl Acme {
    /// With an account that lies in `folder`.
    pub(crate) fn new(settings: AcmeSettings, folder: PathBuf) -> Self {
        Self { settings, folder }
    }

    /// A certificate for hosts. `publish` puts answers in force before the authority asks.
    ///
    /// # Errors
    /// [`AcmeError`]
    pub(crate) async fn obtain(
        &self,
        wanted: Wanted<'_>,
        publish: &Publish,
    ) -> Result<Pair, AcmeError> {
        let mut tries = 0;
        let mut has_new_account = false;
        loop {
            let account = self.account().await?;
            match self.order(&account, wanted, publish).await {
                Err(AcmeError::Protocol(Error::Api(problem)))
                    if is(&problem, "badNonce") && tries < NONCES =>
                {
                    tries += 1;
                }
                // It has forgotten us: we introduce ourselves again, once.
                Err(AcmeError::Protocol(Error::Api(problem)))
                    if is(&problem, "accountDoesNotExist") && !has_new_account =>
                {
                    tracing::warn!(
                        "the authority does not know the account any more; a new one is made"
                    );
                    has_new_account = true;
                    std::fs::remove_file(self.account_file()).map_err(local)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// When the authority wants a certificate to be renewed, and in how long it wants to be asked again; `None`: it has no opinion,
    /// or can't be asked.
    pub(crate) async fn renewal(&self, certificate: &Predecessor) -> (Option<Window>, Duration) {
        // Who tries orders more often than usual, as tests do, asks more often too.
        let shortest = self.settings.retry.min(*ASKS.start());
        match self.renewal_info(certificate).await {
            Ok((window, again)) => (Some(window), again.clamp(shortest, *ASKS.end())),
            Err(error) => {
                tracing::debug!(%error, "the authority says nothing about a renewal");
                (None, ASKS_USUALLY)
            }
        }
    }

    async fn renewal_info(
        &self,
        certificate: &Predecessor,
    ) -> Result<(Window, Duration), AcmeError> {
        let account = self.account().await?;
        let (info, again) = account.renewal_info(&certificate.identifier()).await?;
        let in_ms =
            |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).map_or(0, millis);
        let (start, end) = (info.suggested_window.start, info.suggested_window.end);
        Ok((Window { start_ms: in_ms(start.into()), end_ms: in_ms(end.into()) }, again))
    }

    fn account_file(&self) -> PathBuf {
        self.folder.join("account.json")
    }

    /// The account that is kept, else a new one.
    async fn account(&self) -> Result<Account, AcmeError> {
        let ca_file = self.settings.ca_file.clone();
        let client = tokio::task::spawn_blocking(move || Client::new(ca_file.as_deref()));
        let client = client.await.map_err(local)?.map_err(local)?;
        let builder = Account::builder_with_http(Box::new(client));
        let file = self.account_file();
        if let Ok(kept) = std::fs::read(&file) {
            let credentials = serde_json::from_slice(&kept).map_err(local)?;
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact: Vec<String> =
            self.settings.email.iter().map(|email| format!("mailto:{email}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory.clone().unwrap_or_default();
        let (account, credentials) = builder.create(&account, directory, None).await?;
        let text = serde_json::to_vec(&credentials).map_err(local)?;
        write_whole(&file, &text).map_err(local)?;
        Ok(account)
    }

    async fn order(
        &self,
        account: &Account,
        wanted: Wanted<'_>,
        publish: &Publish,
    ) -> Result<Pair, AcmeError> {
        let Wanted { hosts, proof, .. } = wanted;
        let mut order = begin(account, wanted).await?;
        publish(answers(&mut order, proof).await?).await;
        let mut asked = order.authorizations();
        while let Some(authorization) = asked.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Pending
                && let Some(mut challenge) = authorization.challenge(proof.into())
            {
                challenge.set_ready().await?;
            }
        }
        let patience = RetryPolicy::new().timeout(PATIENCE);
        let status = match order.poll_ready(&patience).await {
            Ok(status) => status,
            Err(error) => return Err(refusal(&mut order).await.unwrap_or(error.into())),
        };
        if status != OrderStatus::Ready {
            let unknown = || AcmeError::Local("the authority gives no reason".to_owned());
            return Err(refusal(&mut order).await.unwrap_or_else(unknown));
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        order.finalize_csr(params.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&patience).await?;
        Ok(Pair::new(chain, key.serialize_pem())?)
    }
}

/// RFC 9773 §5: an order that says what it replaces is free of some limits. It is a courtesy: refused, the order goes without.
async fn begin(account: &Account, wanted: Wanted<'_>) -> Result<Order, Error> {
    let identifiers: Vec<_> = wanted.hosts.iter().cloned().map(Identifier::Dns).collect();
    if let Some(replaces) = wanted.replaces {
        let order = NewOrder::new(&identifiers).replaces(replaces.identifier());
        match account.new_order(&order).await {
            Err(Error::Api(problem)) if is(&problem, "badNonce") => {
                return Err(Error::Api(problem));
            }
            Err(error) => tracing::debug!(%error, "the authority does not take it as a renewal"),
            Ok(order) => return Ok(order),
        }
    }
    account.new_order(&NewOrder::new(&identifiers)).await
}

/// What is to be said for every host that is not proven yet.
async fn answers(order: &mut Order, proof: Proof) -> Result<Vec<Answer>, AcmeError> {
    let mut answers = Vec::new();
    let mut asked = order.authorizations();
    while let Some(authorization) = asked.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let host = authorization.identifier().to_string();
        let Some(challenge) = authorization.challenge(proof.into()) else {
            return Err(AcmeError::NoChallenge(proof.name(), host));
        };
        let key = challenge.key_authorization();
        answers.push(match proof {
            Proof::Http => {
                Answer::Token { token: challenge.token.clone(), text: key.as_str().to_owned() }
            }
            Proof::Tls => {
                let mut params = CertificateParams::new(vec![host.clone()])?;
                let digest = CustomExtension::new_acme_identifier(key.digest().as_ref());
                params.custom_extensions = vec![digest];
                let key = KeyPair::generate()?;
                let chain = params.self_signed(&key)?.pem();
                let certificate = CertificateData { chain, key: key.serialize_pem() };
                Answer::Handshake { host, certificate }
            }
        });
    }
    Ok(answers)
}

/// Which host was not believed, and why.
async fn refusal(order: &mut Order) -> Option<AcmeError> {
    let mut asked = order.authorizations();
    while let Some(Ok(mut authorization)) = asked.next().await {
        authorization.refresh().await.ok()?;
        let problem =
            authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let host = authorization.identifier().to_string();
            return Some(AcmeError::Unproven { host, reason: problem.to_string() });
        }
    }
    None
}

impl From<Proof> for ChallengeType {
    fn from(proof: Proof) -> Self {
        match proof {
            Proof::Tls => Self::TlsAlpn01,
            Proof::Http => Self::Http01,
        }
    }
}

fn is(problem: &instant_acme::Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|full| full.rsplit(':').next()) == Some(kind)
}

fn local(error: impl ToString) -> AcmeError {
    AcmeError::Local(error.to_string())
}

/// The folder of a directory below that of all certificates: what one authority gave says nothing about another.
pub(crate) fn folder_name(directory: &str) -> String {
    let hash = Sha256::digest(directory.as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
