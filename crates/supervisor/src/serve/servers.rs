//! The servers of the admin API: the control socket, and the dashboard on each of its addresses.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{AdminState, control_router, public_router};
use crate::appliance::Appliance;
use crate::control::{ControlListener, PeerUid};
use crate::listeners::BoundListener;

/// How long they may take to end after everything else did.
const END: Duration = Duration::from_secs(2);

/// The servers of the admin API.
pub(super) struct Servers {
    state: AdminState,
    tasks: TaskTracker,
    /// The addresses of the dashboard, each with what ends its server.
    admin: Vec<(Arc<BoundListener>, CancellationToken)>,
}

impl Servers {
    /// Starts them all. Needs a runtime.
    ///
    /// # Errors
    /// Where a socket can't be watched.
    pub(super) fn start(appliance: &Arc<Appliance>, control: UnixListener) -> io::Result<Self> {
        let state = AdminState::new(Arc::clone(appliance));
        let (tasks, until) = (TaskTracker::new(), appliance.shutdown.clone());
        tasks.spawn(serve_control(control_router(state.clone()), control, until)?);
        let mut servers = Self { state, tasks, admin: Vec::new() };
        servers.serve_admin()?;
        Ok(servers)
    }

    /// Serves the dashboard on the addresses of now, and no others. What is open on others is served to its end.
    ///
    /// # Errors
    /// Where a socket can't be watched.
    pub(super) fn serve_admin(&mut self) -> io::Result<()> {
        let appliance = &self.state.appliance;
        let wanted = appliance.settings().admin;
        let is_wanted =
            |listener: &Arc<BoundListener>| wanted.iter().any(|other| Arc::ptr_eq(other, listener));
        self.admin.retain(|(listener, until)| {
            let stays = is_wanted(listener);
            if !stays {
                until.cancel();
            }
            stays
        });
        for listener in wanted.iter() {
            if self.admin.iter().any(|(other, _)| Arc::ptr_eq(other, listener)) {
                continue;
            }
            let until = appliance.shutdown.child_token();
            let server = serve_dashboard(&self.state, listener, until.clone())?;
            self.tasks.spawn(server);
            self.admin.push((Arc::clone(listener), until));
        }
        Ok(())
    }

    /// Waits for answers that are being sent.
    pub(super) async fn end(self) {
        self.tasks.close();
        // Whoever still reads then reads too slowly.
        tokio::time::timeout(END, self.tasks.wait()).await.ok();
    }
}

fn serve_dashboard(
    state: &AdminState,
    listener: &BoundListener,
    until: CancellationToken,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let listener = TcpListener::from_std(listener.socket.try_clone()?)?;
    let service = public_router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(until.cancelled_owned());
    Ok(async move {
        server.await.ok();
    })
}

fn serve_control(
    router: Router,
    listener: UnixListener,
    until: CancellationToken,
) -> io::Result<impl Future<Output = ()>> {
    let service = router.into_make_service_with_connect_info::<PeerUid>();
    let server = axum::serve(ControlListener::new(listener)?, service);
    let server = server.with_graceful_shutdown(until.cancelled_owned());
    Ok(async move {
        server.await.ok();
    })
}
