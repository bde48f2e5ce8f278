//! From a destination that is allowed to a connection: look up, leave out what is not the internet, try the rest.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::outside::Outside;
use super::policy::{Denial, Destination, EgressPolicy, Verdict};
use super::reserved::Reserved;

/// Addresses of a name that are tried.
const TRIED: usize = 8;
/// How long one of several addresses is tried before the next.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NotDialled {
    /// It is not allowed.
    Denied(Denial),
    /// It is allowed and did not come about.
    Failed(io::Error),
}

/// Whose connections are made, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialler<'a, O> {
    pub(super) policy: &'a EgressPolicy,
    pub(super) outside: &'a O,
    /// How long looking up and connecting may take together.
    pub(super) within: Duration,
}

impl<O: Outside> Dialler<'_, O> {
    /// Decides, and connects.
    pub(super) async fn dial(self, destination: &Destination, port: u16) -> Result<TcpStream, NotDialled> {
        if let Verdict::Denied(denial) = self.policy.decide(destination, port) {
            return Err(NotDialled::Denied(denial));
        }
        let reach = async {
            let addresses = addresses(self.outside, self.policy, destination).await?;
            first(self.outside, &addresses, port).await.map_err(NotDialled::Failed)
        };
        let late = || NotDialled::Failed(io::ErrorKind::TimedOut.into());
        timeout(self.within, reach).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The addresses that may be tried: of a name only those that are the internet.
async fn addresses<O: Outside>(
    outside: &O,
    policy: &EgressPolicy,
    destination: &Destination,
) -> Result<Vec<IpAddr>, NotDialled> {
    let all = match destination {
        Destination::Address(address) if policy.names_address(*address) => {
            return Ok(vec![(*address).into()]);
        }
        Destination::Address(address) => vec![(*address).into()],
        Destination::Name(name) => outside.resolve(name).await.map_err(NotDialled::Failed)?,
    };
    let judge = |address: IpAddr| {
        Reserved::of(address).or_else(|| outside.is_this_machine(address).then_some(Reserved::ThisMachine))
    };
    let judged: Vec<_> = all.into_iter().map(|address| (address, judge(address))).collect();
    let open: Vec<IpAddr> =
        judged.iter().filter(|(_, reserved)| reserved.is_none()).map(|line| line.0).take(TRIED).collect();
    match judged.iter().find_map(|(_, reserved)| *reserved) {
        Some(reserved) if open.is_empty() => Err(NotDialled::Denied(Denial::Reserved(reserved))),
        _ => Ok(open),
    }
}

/// Tries one address after the other.
async fn first<O: Outside>(outside: &O, addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut why = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let connect = outside.connect(SocketAddr::new(*address, port));
        match timeout(PATIENCE, connect).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error,
            Err(_) => why = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::host_name::HostName;
    use crate::egress::policy::EgressConfig;
    use parking_lot::Mutex;

    /// Every name has these addresses; connecting is remembered, and fails or never ends.
    struct World {
        addresses: Vec<IpAddr>,
        hangs: bool,
        tried: Mutex<Vec<String>>,
    }

    impl Outside for World {
        async fn resolve(&self, _: &HostName) -> io::Result<Vec<IpAddr>> {
            Ok(self.addresses.clone())
        }

        async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
            self.tried.lock().push(address.ip().to_string());
            if self.hangs {
                std::future::pending().await
            } else {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        }

        fn is_this_machine(&self, address: IpAddr) -> bool {
            address.to_string() == "5.5.5.5"
        }
    }

    async fn try_all(addresses: &[&str], host: &str, hangs: bool) -> (Vec<String>, NotDialled) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let world = World { addresses, hangs, tried: Mutex::default() };
        let allow_host = Some(vec!["10.9.9.9".to_owned()]);
        let config = EgressConfig { insecure_allow_all: true, allow_host, allow_port: None };
        let policy = EgressPolicy::try_from(&config).unwrap();
        let destination = host
            .parse()
            .map_or_else(|_| Destination::Name(HostName::parse(host).unwrap()), Destination::Address);
        let dialler = Dialler { policy: &policy, outside: &world, within: Duration::from_secs(10) };
        let error = dialler.dial(&destination, 443).await.unwrap_err();
        (world.tried.into_inner(), error)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_leads_to_public_addresses_only() {
        let rebound =
            ["10.0.0.1", "1.1.1.1", "::ffff:169.254.169.254", "2606::1", "5.5.5.5", "10.9.9.9", "::1"];
        let (tried, why) = try_all(&rebound, "example.com", false).await;
        assert_eq!(tried, ["1.1.1.1", "2606::1"]);
        assert!(matches!(why, NotDialled::Failed(_)), "{why:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_public_is_left_it_is_denied_and_nothing_is_tried() {
        let check = async |addresses: &[&str], host: &str, expect: Reserved| {
            let (tried, why) = try_all(addresses, host, false).await;
            assert!(tried.is_empty(), "{tried:?}");
            assert!(matches!(why, NotDialled::Denied(Denial::Reserved(got)) if got == expect), "{why:?}");
        };
        check(&["169.254.169.254"], "example.com", Reserved::Metadata).await;
        check(&["10.9.9.9"], "example.com", Reserved::Private).await;
        check(&["5.5.5.5"], "example.com", Reserved::ThisMachine).await;
        check(&[], "5.5.5.5", Reserved::ThisMachine).await;
        check(&[], "10.0.0.1", Reserved::Private).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_the_profile_names_is_tried_as_it_is() {
        let (tried, _) = try_all(&[], "10.9.9.9", false).await;
        assert_eq!(tried, ["10.9.9.9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_tried_in_turn_and_not_for_ever() {
        let many: Vec<String> = (1..20).map(|n| format!("1.1.1.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(try_all(&many, "example.com", false).await.0.len(), TRIED);
        let begun = tokio::time::Instant::now();
        let (tried, why) = try_all(&many, "example.com", true).await;
        assert_eq!((tried.len(), begun.elapsed().as_secs()), (4, 10));
        assert!(matches!(why, NotDialled::Failed(error) if error.kind() == io::ErrorKind::TimedOut));
    }
}
