//! Which frames an interface hands over: the built-in filter, and what a filter does not let through.
//!
//! *In*: a link type, ports. *Out*: a text for libpcap. *Bound*: none. *Spec*: pcap-filter(7).

use super::LinkType;
use pcap::{Capture, Linktype};

/// Tunnels that may carry mail: IP in IP, GRE (ERSPAN too), VXLAN with its older port, VXLAN-GPE, Geneve.
const TUNNELS: &str = "(ip proto 4 or ip proto 41 or ip proto 47 or ip6 proto 4 or ip6 proto 41 or ip6 proto 47 or \
     udp port 4789 or udp port 8472 or udp port 4790 or udp port 6081)";
/// Labels and PPPoE, with up to one VLAN tag before them; libpcap's own words for them would shift what follows.
const LABELS: &str = "(ether[12:2] = 0x8847 or ether[12:2] = 0x8848 or ether[12:2] = 0x8864 or ether[12:2] = 0x88e7 or \
     ether[16:2] = 0x8847 or ether[16:2] = 0x8848 or ether[16:2] = 0x8864)";

/// The built-in filter of a link type.
///
/// `tcp port 25` alone sees no VLAN tags, no IPv6 behind extension headers, no later fragments and nothing inside a
/// tunnel; and `vlan` is an error on links that have no tags. So the form depends on the link.
pub fn default_filter(link: LinkType, ports: &[u16]) -> String {
    let ports = ports.iter().map(|port| format!("tcp port {port}")).collect::<Vec<_>>().join(" or ");
    if ports.is_empty() {
        return String::new();
    }
    // Fragments, and IPv6 with hop-by-hop, routing, destination or fragment headers: decoded by us.
    let ip = format!(
        "({ports} or (ip and ip[6:2] & 0x1fff != 0) or \
         (ip6 and (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 60)) or {TUNNELS})"
    );
    if link == LinkType::ETHERNET {
        // Each `vlan` shifts the offsets of what follows, so the order matters.
        return format!("{LABELS} or {ip} or (vlan and ({ip} or (vlan and {ip})))");
    }
    ip
}

/// Frames in which mail may come by an Ethernet link: what to call each, what stands between the addresses of the frame and
/// the IP header, the protocol of that, and what it begins with.
const WRAPPINGS: &[(&str, &[u8], u8, &[u8])] = &[
    ("VLAN tags", &[0x81, 0, 0, 5, 8, 0], 6, &[]),
    ("two VLAN tags", &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0], 6, &[]),
    ("MPLS", &[0x88, 0x47, 0, 1, 1, 64], 6, &[]),
    ("PPPoE", &[0x88, 0x64, 0x11, 0, 0, 1, 0, 62, 0, 0x21], 6, &[]),
    ("GRE and ERSPAN", &[8, 0], 47, &[0, 0, 8, 0]),
    ("IP in IP", &[8, 0], 4, &[0x45]),
    ("VXLAN", &[8, 0], 17, &[0x9c, 0x40, 0x12, 0xb5, 0, 40, 0, 0]),
    ("Geneve", &[8, 0], 17, &[0x9c, 0x40, 0x17, 0xc1, 0, 40, 0, 0]),
];

/// In which wrappings a filter hides mail to a port that the built-in filter lets through, on Ethernet.
pub fn hidden_wrappings(filter: &str, port: u16) -> Vec<&'static str> {
    let program = Capture::dead(Linktype::ETHERNET).and_then(|dead| dead.compile(filter, true));
    let Ok(program) = program else { return Vec::new() };
    let frame = |between: &[u8], protocol: u8, begins: &[u8]| {
        let [high, low] = port.to_be_bytes();
        let segment = [0x9c, 0x40, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 9];
        let mut datagram = vec![0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
        datagram.extend_from_slice(if begins.is_empty() { &segment } else { begins });
        datagram.resize(60, 0);
        [&[2; 12], between, &datagram].concat()
    };
    let hides = |(_, between, protocol, begins): &&(&str, &[u8], u8, &[u8])| {
        !program.filter(&frame(between, *protocol, begins))
    };
    WRAPPINGS.iter().filter(hides).map(|(name, ..)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_on_their_link() {
        for link in [1, 12, 113, 276, 0, 108] {
            let dead = Capture::dead(Linktype(link)).unwrap();
            let filter = default_filter(LinkType(link), &[25, 465, 587, 2525]);
            assert!(dead.compile(&filter, true).is_ok(), "link {link}: {filter}");
        }
    }

    #[test]
    fn mail_passes_in_every_wrapping_and_other_traffic_does_not() {
        let dead = Capture::dead(Linktype(1)).unwrap();
        let program = dead.compile(&default_filter(LinkType::ETHERNET, &[25]), true).unwrap();
        let ip = |protocol: u8, rest: &[u8]| {
            let mut out = vec![0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
            out.extend_from_slice(rest);
            out.resize(60, 0);
            out
        };
        let tcp = |port: u8| ip(6, &[0x9c, 0x40, 0, port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 9]);
        let frame = |tags: &[u8], datagram: &[u8]| [&[2u8; 12][..], tags, datagram].concat();
        for (name, bytes) in [
            ("plain", frame(&[8, 0], &tcp(25))),
            ("VLAN", frame(&[0x81, 0, 0, 5, 8, 0], &tcp(25))),
            ("QinQ", frame(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0], &tcp(25))),
            ("MPLS", frame(&[0x88, 0x47, 0, 1, 1, 64], &tcp(25))),
            ("MPLS in VLAN", frame(&[0x81, 0, 0, 5, 0x88, 0x47, 0, 1, 1, 64], &tcp(25))),
            ("PPPoE", frame(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 62, 0, 0x21], &tcp(25))),
            ("GRE", frame(&[8, 0], &ip(47, &[0, 0, 8, 0]))),
            ("6in4", frame(&[8, 0], &ip(41, &[0x60]))),
            ("VXLAN", frame(&[8, 0], &ip(17, &[0x9c, 0x40, 0x12, 0xb5, 0, 40, 0, 0]))),
            (
                "Geneve in VLAN",
                frame(&[0x81, 0, 0, 5, 8, 0], &ip(17, &[0x9c, 0x40, 0x17, 0xc1, 0, 40, 0, 0])),
            ),
        ] {
            assert!(program.filter(&bytes), "{name}");
        }
        for bytes in [
            frame(&[8, 0], &tcp(80)),
            frame(&[8, 0], &ip(17, &[0x9c, 0x40, 0, 53])),
            frame(&[8, 6], &[0; 46]),
        ] {
            assert!(!program.filter(&bytes));
        }
    }

    #[test]
    fn what_a_filter_hides_is_named() {
        assert_eq!(hidden_wrappings(&default_filter(LinkType::ETHERNET, &[25]), 25), [""; 0]);
        assert_eq!(hidden_wrappings("", 25), [""; 0]);
        let all: Vec<&str> = WRAPPINGS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(hidden_wrappings("tcp port 25", 25), all);
        let tagged = hidden_wrappings("tcp port 25 or (vlan and tcp port 25)", 25);
        assert_eq!(tagged, all[1..]);
    }
}
