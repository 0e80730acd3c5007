//! The signals of the supervisor, as orders.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// SIGTERM, SIGINT: drain and end.
    End,
    /// SIGHUP: take in the configuration anew.
    Reload,
    /// SIGUSR2: become the program that this one's file holds now.
    Upgrade,
}

/// Those that concern the supervisor. None is lost from when this was made, however late it is asked for.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    upgrade: Signal,
    /// Taken so that it does not end the process: scripts that rotate logs send it.
    _harmless: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where a handler can't be set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
            _harmless: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next order.
    pub(crate) async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::End,
            _ = self.interrupt.recv() => Order::End,
            _ = self.hangup.recv() => Order::Reload,
            _ = self.upgrade.recv() => Order::Upgrade,
        }
    }

    /// The order to end; others are left for [`Self::next`].
    pub(crate) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
