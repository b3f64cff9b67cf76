//! Address blocks.

use std::net::IpAddr;

/// A block of addresses such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub network: IpAddr,
    pub prefix_length: u8,
}
