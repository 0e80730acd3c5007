//! How an engine comes by the uwsgi sockets of sites while it runs: descriptors over a socket pair of their own.
//!
//! The supervisor gives each socket once to each engine; which of them are served, and for which site, says the configuration
//! ([`super::protocol::SiteData::sockets`]). Must not know how sockets are opened.
//!
//! Source: unix(7), `SCM_RIGHTS`.

use std::collections::{HashMap, HashSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use onebox_config::site::SocketAddress;
use onebox_proxy::{Proxy, UwsgiListener, UwsgiListening};
use parking_lot::Mutex;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::protocol::{EngineConfig, SiteData, SocketData, SocketName};
use crate::site_sockets::SiteSocket;
use crate::takeover::Luggage;

/// The largest note beside a descriptor, in bytes: a site's name and a path.
const NOTE_BYTES: usize = 8 << 10;

/// What comes with a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    name: SocketName,
    /// The first configuration that knows of it: earlier ones, which may still be on their way, don't close it.
    since: u64,
}

impl SocketName {
    fn of(site: &SiteData, data: &SocketData) -> Self {
        Self { site: site.name.clone(), address: data.address.clone() }
    }
}

impl From<&SiteSocket> for SocketName {
    fn from(socket: &SiteSocket) -> Self {
        Self { site: socket.site.clone(), address: shown(&socket.address) }
    }
}

/// An address as configurations of engines name it.
pub(crate) fn shown(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Unix(path) => path.to_string_lossy().into_owned(),
        SocketAddress::Tcp(address) => address.to_string(),
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Giver {
    channel: OwnedFd,
    given: Mutex<HashSet<u64>>,
}

impl Giver {
    /// With the engine's end.
    ///
    /// # Errors
    /// Where the system has no more descriptors.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (channel, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { channel, given: Mutex::default() }, theirs))
    }

    /// The one of the supervisor before this one. What was given before is given again, and replaced by itself.
    pub(super) fn adopt(channel: OwnedFd) -> Self {
        Self { channel, given: Mutex::default() }
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(super) fn pack(&self, luggage: &mut Luggage) -> io::Result<RawFd> {
        luggage.pack(&self.channel)
    }

    /// Gives those that `config` names and that were not given yet. One that can't be is told and tried again the next time.
    pub(super) fn give(&self, sockets: &[Arc<SiteSocket>], config: &EngineConfig, since: u64) {
        let mut given = self.given.lock();
        let named: HashSet<SocketName> =
            config.sockets().map(|(site, data)| SocketName::of(site, data)).collect();
        for socket in sockets {
            if given.contains(&socket.id) || !named.contains(&SocketName::from(socket.as_ref())) {
                continue;
            }
            match self.send(socket, since) {
                Ok(()) => {
                    given.insert(socket.id);
                }
                Err(error) => {
                    tracing::error!(site = socket.site, %error, "an engine does not take a uwsgi socket");
                }
            }
        }
    }

    fn send(&self, socket: &SiteSocket, since: u64) -> io::Result<()> {
        let offer = Offer { name: SocketName::from(socket), since };
        let offer = serde_json::to_vec(&offer)?;
        let descriptors = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&self.channel, &[IoSlice::new(&offer)], &mut control, flags)?;
        Ok(())
    }
}

/// Takes what the supervisor gives, on a thread of its own that ends with the supervisor.
pub(super) fn take_all(channel: OwnedFd, taken: mpsc::Sender<(Offer, OwnedFd)>) -> io::Result<()> {
    std::thread::Builder::new().name("sockets".to_owned()).spawn(move || {
        while let Ok(Some(offer)) = take(&channel) {
            if taken.blocking_send(offer).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// The next one; `None` at the end.
fn take(channel: &OwnedFd) -> io::Result<Option<(Offer, OwnedFd)>> {
    let mut bytes = vec![0; NOTE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        channel,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let Some(descriptor) = descriptor else { return Ok(None) };
    let offer = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok(Some((offer, descriptor)))
}

/// The engine's sockets: what it was given, and what it accepts on.
#[derive(Default)]
pub(super) struct Doors {
    given: HashMap<SocketName, (u64, OwnedFd)>,
    wanted: Vec<(SocketName, SocketData)>,
    open: HashMap<SocketName, (SocketData, UwsgiListening)>,
    accepts: bool,
}

impl Doors {
    /// A socket came; it replaces one that was at the same address before.
    pub(super) fn take(&mut self, proxy: &Proxy, (offer, descriptor): (Offer, OwnedFd)) {
        self.open.remove(&offer.name);
        self.given.insert(offer.name, (offer.since, descriptor));
        self.apply(proxy);
    }

    /// These sites are served now; what neither they nor candidates have is closed.
    pub(super) fn configure(&mut self, proxy: &Proxy, config: &EngineConfig, sequence: u64) {
        let named: HashSet<SocketName> =
            config.sockets().map(|(site, data)| SocketName::of(site, data)).collect();
        self.given.retain(|name, (since, _)| *since > sequence || named.contains(name));
        let live = config.sites.iter();
        let sockets = live.flat_map(|site| {
            site.sockets.iter().map(|data| (SocketName::of(site, data), data.clone()))
        });
        self.wanted = sockets.collect();
        self.apply(proxy);
    }

    /// From now on it accepts.
    pub(super) fn accept(&mut self, proxy: &Proxy) {
        self.accepts = true;
        self.apply(proxy);
    }

    /// Nobody has these any more: whoever waits there is answered, and they are closed.
    pub(super) fn give_up(&mut self, names: &[SocketName]) {
        for name in names {
            self.given.remove(name);
            if let Some((_, listening)) = self.open.remove(name) {
                listening.give_up();
            }
        }
    }

    fn apply(&mut self, proxy: &Proxy) {
        let open: Vec<SocketName> = self.open.keys().cloned().collect();
        let is_wanted = |name: &SocketName| self.wanted.iter().any(|(other, _)| other == name);
        let unwanted: Vec<SocketName> = open.into_iter().filter(|name| !is_wanted(name)).collect();
        self.give_up(&unwanted);
        // One that lets others in from now on is opened again below.
        let wanted = &self.wanted;
        self.open.retain(|name, (data, _)| {
            wanted.iter().any(|(other, wanted)| other == name && wanted == data)
        });
        if !self.accepts {
            return;
        }
        for (name, data) in &self.wanted {
            if self.open.contains_key(name) {
                continue;
            }
            let Some((_, descriptor)) = self.given.get(name) else { continue };
            match listener(descriptor, data).and_then(|it| proxy.serve_uwsgi(it, &name.site)) {
                Ok(listening) => {
                    self.open.insert(name.clone(), (data.clone(), listening));
                }
                Err(error) => {
                    tracing::error!(site = name.site, %error, "a uwsgi socket can't be used")
                }
            }
        }
    }
}

fn listener(descriptor: &OwnedFd, data: &SocketData) -> io::Result<UwsgiListener> {
    let descriptor = descriptor.as_fd().try_clone_to_owned()?;
    Ok(match data.is_tcp {
        true => UwsgiListener::Tcp { listener: descriptor.into(), allow: data.allow.clone() },
        false => UwsgiListener::Unix(descriptor.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onebox_config::Paths;
    use onebox_config::site::UwsgiSockets;

    use super::super::protocol::BackendData;
    use super::*;
    use crate::site_sockets::{SiteSockets, Wanted};

    fn site(name: &str, address: &SocketAddress) -> SiteData {
        let data = SocketData { address: shown(address), is_tcp: false, allow: Vec::new() };
        SiteData {
            name: name.to_owned(),
            release: "r1".to_owned(),
            hosts: Vec::new(),
            path: String::new(),
            catch_all: true,
            statics: Vec::new(),
            sendfile: Vec::new(),
            index: false,
            routing: onebox_config::site::Routing::default(),
            upstreams: Vec::new(),
            backend: BackendData::None,
            sockets: vec![data],
            redirect: None,
            hsts: None,
            harakiri: Duration::from_secs(1),
            reload_mercy: Duration::from_secs(1),
            queue_size: 1,
            buffer_size: 4096,
            post_buffering: 4096,
            max_body: 4096,
            response_buffering: 4096,
            max_temp_file: 0,
            log: onebox_config::site::SiteLog::default(),
        }
    }

    #[test]
    fn a_socket_is_given_once_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddress::Unix(folder.path().join("a.sock"));
        let config = UwsgiSockets { addresses: vec![address.clone()], ..UwsgiSockets::default() };
        let sockets = SiteSockets::new(Paths::new(folder.path()));
        sockets.open(&Wanted { site: "blog", sockets: &config, folder: None }).unwrap();
        let (giver, channel) = Giver::new().unwrap();
        giver.give(&sockets.all(), &EngineConfig::default(), 1);
        let sites = vec![site("blog", &address)];
        let named = EngineConfig { sites, ..EngineConfig::default() };
        giver.give(&sockets.all(), &named, 2);
        giver.give(&sockets.all(), &named, 3);
        drop(giver);
        let (offer, descriptor) = take(&channel).unwrap().unwrap();
        assert_eq!(
            (offer.name, offer.since),
            (SocketName { site: "blog".to_owned(), address: shown(&address) }, 2)
        );
        let listener = std::os::unix::net::UnixListener::from(descriptor);
        assert_eq!(
            listener.local_addr().unwrap().as_pathname(),
            Some(folder.path().join("a.sock").as_path())
        );
        assert!(take(&channel).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_order_that_was_overtaken_by_a_socket_does_not_close_it() {
        let limits = onebox_config::Limits::default();
        let settings = onebox_proxy::ProxySettings {
            limits,
            temp_dir: None,
            clients: Default::default(),
            admin_hosts: Vec::new(),
        };
        let log = onebox_proxy::AccessLog::disabled();
        let proxy = Proxy::new(settings, Arc::default(), log).unwrap();
        let address = SocketAddress::Tcp("127.0.0.1:1".parse().unwrap());
        let name = SocketName { site: "blog".to_owned(), address: shown(&address) };
        let descriptor = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        let mut doors = Doors::default();
        doors.take(&proxy, (Offer { name: name.clone(), since: 2 }, descriptor));
        doors.configure(&proxy, &EngineConfig::default(), 1);
        assert!(doors.given.contains_key(&name));
        doors.configure(&proxy, &EngineConfig::default(), 2);
        assert!(doors.given.is_empty());
    }
}
