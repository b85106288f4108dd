//! Addresses of pods. As in real networks, the address that was freed last is assigned first.

use std::net::Ipv4Addr;

#[derive(Debug, Default)]
pub(super) struct Addresses {
    freed: Vec<Ipv4Addr>,
    given: u32,
}

impl Addresses {
    pub(super) fn take(&mut self) -> Ipv4Addr {
        self.freed.pop().unwrap_or_else(|| {
            self.given += 1;
            Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + self.given)
        })
    }

    pub(super) fn free(&mut self, address: Ipv4Addr) {
        self.freed.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_freed_address_is_assigned_first() {
        let mut addresses = Addresses::default();
        let all: Vec<_> = (0..3).map(|_| addresses.take()).collect();
        assert_eq!(all[0], Ipv4Addr::new(10, 64, 0, 1));
        addresses.free(all[0]);
        addresses.free(all[2]);
        assert_eq!([addresses.take(), addresses.take()], [all[2], all[0]]);
        assert_eq!(addresses.take(), Ipv4Addr::new(10, 64, 0, 4));
    }
}
