//! Rules for addresses: asked for or in box.toml, in force within a second, over by themselves.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use onebox_config::{AccessLists, parse_network};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::change::OBEDIENCE;
use super::layout::Layout;
use super::{Appliance, OperationError};
use crate::address_rules::{LOOK_BACK_MS, RuleBook, Tried, shown, suggestions, trial};
use crate::api::{
    AddedAddressRule, AddressRule, NewAddressRule, RuleAction, RuleSource, RuleSuggestions,
    RuleTrial, RuleTrialQuery,
};
use crate::clock::now_ms;
use crate::engine::Generation;
use crate::engine::protocol::AccessData;
use crate::logs::Logs;
use crate::store::StoreError;

/// How often it is looked whether a rule is over, at least: the clock may be set.
const LOOKS: Duration = Duration::from_secs(60);
/// Longer reasons are refused.
const LONGEST_REASON: usize = 200;

/// The rules that hold now.
#[derive(Debug, Default)]
pub(super) struct HeldRules {
    book: Mutex<RuleBook>,
    /// Told when there are others.
    changed: Notify,
    /// Held from the database to the engine, so that what is older never comes later.
    taking_in: tokio::sync::Mutex<()>,
    /// Held by who reads an hour of access logs.
    reading: tokio::sync::Mutex<()>,
}

impl HeldRules {
    /// As they are at the start.
    pub(super) fn new(book: RuleBook) -> Self {
        Self { book: Mutex::new(book), ..Self::default() }
    }
}

/// Who asks for something.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// The user.
    pub(crate) who: String,
    /// Where that is an address.
    pub(crate) address: Option<IpAddr>,
}

impl Appliance {
    /// What engines go by.
    pub(super) fn access_data(&self, layout: &Layout) -> AccessData {
        let book = self.rules.book.lock();
        let names = layout.sites().map(|placed| &placed.release.site);
        let sites = names.map(|site| (site.clone(), book.lists(Some(site))));
        AccessData { everywhere: book.lists(None), sites: sites.collect() }
    }

    /// Every rule: those that were asked for, the newest first, then those of box.toml.
    pub(crate) fn address_rules(&self) -> Vec<AddressRule> {
        self.rules.book.lock().rules().cloned().collect()
    }

    /// Makes a rule. When this returns, requests go by it.
    ///
    /// # Errors
    /// [`OperationError`] where it names no network or no site.
    pub(crate) async fn add_address_rule(
        &self,
        new: NewAddressRule,
        asking: &Asking,
    ) -> Result<AddedAddressRule, OperationError> {
        let NewAddressRule { action, network, site, reason, lasts_s } = new;
        let network = parse(&network)?;
        if let Some(site) = &site {
            self.row(site).await?;
        }
        let reason = reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if reason.as_ref().is_some_and(|text| {
            text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control)
        }) {
            return Err(OperationError::Invalid(format!(
                "a reason is one line of at most {LONGEST_REASON} characters"
            )));
        }
        if lasts_s == Some(0) {
            return Err(OperationError::Invalid("a rule lasts a second at least".to_owned()));
        }
        let created_ms = now_ms();
        let rule = AddressRule {
            id: None,
            source: RuleSource::Live,
            action,
            network: shown(&network),
            site,
            reason,
            who: asking.who.clone(),
            created_ms,
            expires_ms: lasts_s.map(|seconds| created_ms.saturating_add(i64::from(seconds) * 1000)),
        };
        let id = self.store.put_address_rule(&rule).await?;
        self.take_in_rules().await?;
        let warnings =
            if action == RuleAction::Deny { about(&network, asking) } else { Vec::new() };
        Ok(AddedAddressRule { rule: AddressRule { id: Some(id), ..rule }, warnings })
    }

    /// Removes a rule; returns it. When this returns, requests go without it.
    ///
    /// # Errors
    /// [`OperationError`] where there is none with this id.
    pub(crate) async fn remove_address_rule(
        &self,
        id: i64,
    ) -> Result<Option<AddressRule>, OperationError> {
        let removed = self.address_rules().into_iter().find(|rule| rule.id == Some(id));
        self.store.remove_address_rule(id).await?;
        self.take_in_rules().await?;
        Ok(removed)
    }

    /// What a rule would have done within the last hour, from the access logs.
    ///
    /// # Errors
    /// [`OperationError`] where it names no network or no site, or a log can't be read.
    pub(crate) async fn try_address_rule(
        &self,
        query: &RuleTrialQuery,
        asking: &Asking,
    ) -> Result<RuleTrial, OperationError> {
        let network = parse(&query.network)?;
        let sites = match &query.site {
            Some(site) => vec![self.row(site).await?.name],
            None => self.site_names(),
        };
        let (action, from_ms) = (query.action, now_ms() - LOOK_BACK_MS);
        let tried = Tried { action, network, sites, from_ms, asking: asking.address };
        self.read_logs(move |logs, book| trial(logs, book, &tried)).await
    }

    /// Who looked for holes within the last hour, from the access logs.
    ///
    /// # Errors
    /// [`OperationError`] where a log can't be read.
    pub(crate) async fn suggest_address_rules(&self) -> Result<RuleSuggestions, OperationError> {
        let (sites, from_ms) = (self.site_names(), now_ms() - LOOK_BACK_MS);
        self.read_logs(move |logs, book| suggestions(logs, book, &sites, from_ms)).await
    }

    /// One at a time: an hour of a busy box takes a core for a while.
    async fn read_logs<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Logs, &RuleBook) -> io::Result<T> + Send + 'static,
    ) -> Result<T, OperationError> {
        let _one_at_a_time = self.rules.reading.lock().await;
        let (logs, book) = (Arc::clone(&self.logs), self.rules.book.lock().clone());
        let read = tokio::task::spawn_blocking(move || read(&logs, &book));
        Ok(read.await.map_err(io::Error::other)??)
    }

    fn site_names(&self) -> Vec<String> {
        self.layout().sites().map(|placed| placed.release.site.clone()).collect()
    }

    /// Takes in what box.toml says of addresses, and has the engines go by it. Returns whether that is something new.
    pub(crate) async fn set_access_lists(&self, access: AccessLists) -> Result<bool, StoreError> {
        {
            let mut settings = self.settings.lock();
            if settings.config.access == access {
                return Ok(false);
            }
            Arc::make_mut(&mut settings.config).access = access;
        }
        self.take_in_rules().await?;
        Ok(true)
    }

    /// Reads the rules that hold, and waits until every engine goes by them.
    pub(super) async fn take_in_rules(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.rules.taking_in.lock().await;
        let live = self.store.address_rules(now_ms()).await?;
        *self.rules.book.lock() = RuleBook::new(live, &self.settings().config.access);
        self.rules.changed.notify_one();
        let told = self.tell_access();
        let obeyed = async {
            for (engine, sequence) in told {
                engine.configured(sequence).await;
            }
        };
        // An engine that is stuck is seen to elsewhere.
        timeout(OBEDIENCE, obeyed).await.ok();
        self.announce();
        Ok(())
    }

    /// Tells every engine whom to refuse, those that drain too: they still answer on open connections. With the numbers of the
    /// orders.
    fn tell_access(&self) -> Vec<(Arc<Generation>, u64)> {
        // Held from the rules to the orders, so that what is older never comes later.
        let running = self.running.lock();
        let access = self.access_data(&running.layout);
        let told = running.engines().filter_map(|engine| {
            // What goes wrong is told there.
            let sequence = engine.set_access(access.clone()).ok()?;
            Some((Arc::clone(engine), sequence))
        });
        told.collect()
    }

    /// Sees to it that a rule ends when it is over.
    pub(super) fn watch_address_rules(self: &Arc<Self>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                let end_ms = appliance.rules.book.lock().next_end_ms();
                let left = end_ms.map(|end_ms| end_ms.saturating_sub(now_ms()));
                let pause = left.map_or(LOOKS, |ms| {
                    Duration::from_millis(ms.try_into().unwrap_or(0)).min(LOOKS)
                });
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = appliance.rules.changed.notified() => continue,
                    () = appliance.shutdown.cancelled() => return,
                }
                if end_ms.is_none_or(|end_ms| end_ms > now_ms()) {
                    continue;
                }
                if let Err(error) = appliance.take_in_rules().await {
                    tracing::warn!(%error, "a rule for an address is over and could not be ended");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }
}

/// What whoever refuses a network should know.
fn about(network: &IpNet, asking: &Asking) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(address) = asking.address.filter(|address| network.contains(address)) {
        warnings.push(format!(
            "it names your own address, {address}: sites refuse you now, the dashboard does not"
        ));
    }
    if network.prefix_len() == 0 {
        warnings.push("it names every address: nobody gets to a site".to_owned());
    } else if network.addr().is_loopback() {
        warnings.push("it names this machine: its own requests are refused too".to_owned());
    }
    warnings
}

fn parse(network: &str) -> Result<IpNet, OperationError> {
    let parsed = parse_network(network);
    parsed.map(|network| network.trunc()).map_err(|invalid| {
        let hint = invalid.hint.map(|hint| format!(": {hint}")).unwrap_or_default();
        OperationError::Invalid(format!("{}{hint}", invalid.message))
    })
}
