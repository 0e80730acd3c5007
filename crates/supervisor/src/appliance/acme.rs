//! Orders of certificates: for every site that has hosts of the world's, one after the other, while the appliance runs.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::change::obeyed;
use super::{Appliance, Layout, OperationError};
use crate::api::{EventKind, Renewal};
use crate::certificates::acme::{Acme, Answer, Wanted};
use crate::certificates::{Due, Question};

impl Appliance {
    /// Orders what is missing or gets old, until the appliance ends.
    pub(super) fn watch_orders(self: &Arc<Self>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = appliance.certificates.wait_for_news() => {}
                    () = appliance.shutdown.cancelled() => return,
                }
                while let Some(due) = appliance.certificates.next_order() {
                    tokio::select! {
                        () = appliance.order(due) => {}
                        () = appliance.shutdown.cancelled() => return,
                    }
                }
                while let Some(question) = appliance.certificates.next_question() {
                    tokio::select! {
                        () = appliance.ask_about_renewal(question) => {}
                        () = appliance.shutdown.cancelled() => return,
                    }
                }
            }
        });
    }

    /// Has a site's certificate ordered now, due or not. What comes of it is an event.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such site, none is ordered for it, or the last order is too young.
    pub(crate) async fn renew_certificate(&self, site: &str) -> Result<Renewal, OperationError> {
        self.site_status(site).await?;
        let first_pause = self.settings().config.acme.retry;
        let hosts = self.certificates.wish(site, first_pause);
        hosts
            .map(|hosts| Renewal { hosts })
            .map_err(|error| OperationError::Invalid(error.to_string()))
    }

    async fn order(self: &Arc<Self>, due: Due) {
        let settings = self.settings().config.acme.clone();
        let first_pause = settings.retry;
        let Due { site, hosts, proof, replaces, folder } = &due;
        tracing::info!(site, ?hosts, ?proof, "ordering a certificate");
        self.certificates.begin_order(&due, first_pause);
        let acme = Acme::new(settings, folder.clone());
        let appliance = Arc::clone(self);
        let publish = move |answers: Vec<Answer>| -> BoxFuture<'static, ()> {
            let appliance = Arc::clone(&appliance);
            Box::pin(async move {
                appliance.certificates.set_answers(answers);
                appliance.tell_certificates().await;
            })
        };
        self.tell_certificates().await;
        let wanted = Wanted { hosts, proof: *proof, replaces: replaces.as_ref() };
        let outcome = acme.obtain(wanted, &publish).await;
        self.certificates.set_answers(Vec::new());
        let text = match &outcome {
            Ok(_) => format!("certificate obtained for {}", hosts.join(", ")),
            Err(error) => format!("no certificate for {}: {error}", hosts.join(", ")),
        };
        match &outcome {
            Ok(_) => tracing::info!(site, ?hosts, "certificate obtained"),
            Err(error) => tracing::error!(site, ?hosts, %error, "no certificate"),
        }
        self.tell(EventKind::Certificate, site, None, &text);
        let outcome = outcome.map_err(|error| error.to_string());
        self.certificates.end_order(&due, outcome, first_pause);
        self.tell_certificates().await;
    }

    /// Has the authority say when a certificate is to be renewed.
    async fn ask_about_renewal(&self, question: Question) {
        let acme = Acme::new(self.settings().config.acme.clone(), question.folder.clone());
        let (window, again) = acme.renewal(&question.certificate).await;
        self.certificates.answered(&question, window, again);
    }

    /// Tells the engines what is new, and waits until it is in force.
    async fn tell_certificates(&self) {
        let layout: Layout = self.layout();
        self.renew_certificates(&layout).await;
        if let Ok(Some((engine, sequence))) = self.publish() {
            obeyed(&engine, sequence).await.ok();
        }
    }
}
